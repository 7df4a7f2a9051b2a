"""The identity of candidates.py: a run of columns meets a run of rows, found exactly."""

import pytest
import torch

from mmdet_lla.assigners.candidates import (
    INSIDE_MARGIN,
    find_grids,
    inside_rectangles,
    is_inside,
    list_pairs,
)

from .scenes import PRIORS, centres, make_scene


def listed(boxes, points):
    rectangles = inside_rectangles(boxes, find_grids(points))
    rows, cols = rectangles.rows, rectangles.cols
    return list_pairs(rectangles, int(rows.sum()), int((rows * cols).sum()))


def one_by_one(boxes, points):
    """All pairs, tested one by one, ordered by box and then by prior."""
    return is_inside(boxes.T.unsqueeze(-1), points.T).nonzero(as_tuple=True)


@pytest.mark.parametrize('kind', PRIORS)
@pytest.mark.parametrize('size', [3., 20., 60.])
def test_listed_pairs_are_those_inside_in_order(kind, size):
    for seed in range(5):
        scene = make_scene(seed, kind, 15, 1, 1., size)
        points = centres(scene['priors'], kind)
        for ours, plain in zip(listed(scene['boxes'], points), one_by_one(scene['boxes'], points)):
            assert torch.equal(ours, plain)


def test_borders_fall_as_the_very_test_does():
    """Boxes whose sides lie a rounding error from the margin, at coordinates of any size."""
    x = torch.tensor([0., 0.01, 8., 1e3, 1e3, 65536., 1e7])
    points = torch.stack(torch.meshgrid(x, x, indexing='xy'), -1).view(-1, 2)
    boxes = []
    for value in (0., 8., 1e3, 65536.):
        side = torch.tensor(value)
        for _ in range(3):
            side = torch.nextafter(side, torch.tensor(-torch.inf))
        for margin in (-INSIDE_MARGIN, 0., INSIDE_MARGIN):
            at = torch.tensor(value) + margin
            for _ in range(4):
                boxes += [torch.stack([at, at, at + 9., at + 2e4]),
                          torch.stack([at - 9., at - 2e4, at, at])]
                at = torch.nextafter(at, torch.tensor(torch.inf))
    boxes = torch.stack(boxes)
    for ours, plain in zip(listed(boxes, points), one_by_one(boxes, points)):
        assert torch.equal(ours, plain)


def test_levels_are_grids():
    scene = make_scene(0, 'points', 1, 1, 1., 20.)
    grids = find_grids(scene['points'])
    assert grids.first.tolist() == [0, 192, 240]  # 16 x 12, 8 x 6, 4 x 3
    assert (grids.end - grids.begin).tolist() == [[16, 12], [8, 6], [4, 3]]
    assert grids.longest == 16


def test_boxes_without_area_hold_nothing():
    points = make_scene(0, 'points', 1, 1, 1., 20.)['points']
    boxes = torch.tensor([[50., 50., 50., 50.], [60., 60., 20., 20.], [-9., -9., -1., -1.]])
    assert all(not len(index) for index in listed(boxes, points))
