"""One set of detections is read from every form, and nothing in a file is executed."""

import json
import os
import pickle

import numpy as np
import pytest
import torch

from mmdet_lla.evaluation.annotations import CrowdDetections
from mmdet_lla.evaluation.crowd_metric import CrowdMetric
from mmdet_lla.evaluation.detection_files import (
    DetectionFileError,
    read_detections,
    to_crowdhuman_record,
)

BOXES = np.array([[10.0, 20.0, 30.0, 60.0], [5.0, 5.0, 15.5, 25.0]])
SCORES = np.array([0.75, 0.5])


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture(params=['pkl', 'numpy pkl', 'odgt', 'json', 'coco'])
def file(request, tmp_path):
    """The same two detections in one image, none in another where the form can say so."""
    found = CrowdDetections.create('a', BOXES, SCORES, 100, 200)
    empty = CrowdDetections.create('b', [], [], 100, 200)
    if 'pkl' in request.param:
        of = torch.as_tensor if request.param == 'pkl' else np.asarray
        samples = [
            dict(
                img_id=one.img_id,
                ori_shape=(100, 200),
                pred_instances=dict(bboxes=of(one.boxes), scores=of(one.scores)),
            )
            for one in (found, empty)
        ]
        path = tmp_path / 'found.pkl'
        path.write_bytes(pickle.dumps(samples))
        return path
    records = [to_crowdhuman_record(one) for one in (found, empty)]
    if request.param == 'odgt':
        return write(tmp_path / 'found.odgt', '\n'.join(map(json.dumps, records)))
    if request.param == 'json':
        return write(tmp_path / 'found.json', records)
    xywh = found.xywh().tolist()
    return write(
        tmp_path / 'coco.json',
        [
            dict(image_id='a', category_id=1, bbox=box, score=score)
            for box, score in zip(xywh, SCORES.tolist(), strict=True)
        ],
    )


def test_every_format_has_the_same_detections(file):
    found = {one.img_id: one for one in read_detections(file)}
    np.testing.assert_allclose(found['a'].boxes, BOXES)
    np.testing.assert_allclose(found['a'].scores, SCORES)
    if file.name != 'coco.json':
        assert len(found['b'].boxes) == 0


def test_sizes_come_from_the_file_or_the_arguments_or_are_unbounded(tmp_path):
    record = to_crowdhuman_record(CrowdDetections.create('a', BOXES, SCORES, 100, 200))
    (own,) = read_detections(write(tmp_path / 'a.json', [record]))
    assert (own.height, own.width) == (100, 200)
    plain = write(tmp_path / 'b.json', [dict(image_id='a', bbox=[1, 2, 3, 4], score=0.5)])
    (given,) = read_detections(plain, {'a': (30, 40)})
    assert (given.height, given.width) == (30, 40)
    (unknown,) = read_detections(plain)
    assert min(unknown.height, unknown.width) >= 10**6


def test_files_of_the_metric_are_read(tmp_path):
    metric = CrowdMetric.__new__(CrowdMetric)
    found = [CrowdDetections.create('a', BOXES, SCORES, 100, 200)]
    for name in ('out.odgt', 'out.coco.json', 'out'):
        path = metric.dump_detections(found, str(tmp_path / name))
        np.testing.assert_allclose(read_detections(path)[0].boxes, BOXES)


class Evil:
    def __reduce__(self):
        return os.system, ('touch executed',)


def test_a_pickle_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(DetectionFileError, match='system, which no dump'):
        read_detections('evil.pkl')
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.txt', '', r"ends in '.txt', expected .pkl"),
        ('a.json', '{}', 'dict, expected a list'),
        ('a.json', '[{"image_id": 1}]', 'record 0: expected image_id, bbox and score'),
        ('a.json', '[', 'not JSON'),
        ('a.odgt', '{"ID": 1}', 'record 0: expected ID and dtboxes'),
        ('a.odgt', '{"ID": 1,', 'line 1: not JSON'),
        ('a.json', '[{"image_id": 1, "bbox": [1, 2, 3], "score": 1}]', 'a.json: '),
        ('a.json', '[{"image_id": 1, "bbox": [1, 2, 3, NaN], "score": 1}]', 'finite'),
        ('a.pkl', 'nothing', 'not a dump of test results'),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    with pytest.raises(DetectionFileError, match=message):
        read_detections(write(tmp_path / name, content))
