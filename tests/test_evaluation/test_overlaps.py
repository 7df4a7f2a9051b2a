import numpy as np
import pytest
from mmdet.evaluation import bbox_overlaps

from mmdet_lla.evaluation.overlaps import max_ioa
from mmdet_lla.utils.boxes import box_ioa, box_iou


@pytest.mark.parametrize('shape', [(5, 9), (9, 5), (7, 7), (0, 3), (3, 0)])
def test_bit_for_bit_as_mmdet(shape):
    rng = np.random.default_rng(0)
    # some of no area and some inside out, as clipping makes them
    rows, cols = (rng.uniform(0, 50, (n, 4)).astype(np.float32) for n in shape)
    rows[::3, 2:] = rows[::3, :2]
    assert np.array_equal(box_iou(rows, cols), bbox_overlaps(rows, cols, mode='iou'))
    assert np.array_equal(box_ioa(rows, cols), bbox_overlaps(rows, cols, mode='iof'))


def test_max_ioa():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], dtype=np.float32)
    regions = np.array([[0, 0, 5, 10], [-10, 0, 8, 10]], dtype=np.float32)
    assert max_ioa(boxes, regions).tolist() == pytest.approx([0.8, 0.0])
    assert max_ioa(boxes, regions[:0]).tolist() == [0.0, 0.0]
