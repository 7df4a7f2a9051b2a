"""Boxes that mmdet's transforms do not move must end where they would have moved them."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmdet_lla.datasets import CrowdDataset
from mmdet_lla.datasets.transforms import LoadCrowdBoxes


def load(tmp_path, box, *extra):
    init_default_scope('mmdet')
    return CrowdDataset(
        data_root=str(tmp_path),
        ann_file='annotation_train.odgt',
        box=box,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(133, 50), keep_ratio=False),
            dict(type='RandomFlip', prob=1.0),
            *extra,
        ],
    )


def test_follows_resize_and_flip(write_crowd, tmp_path):
    write_crowd()
    body = load(tmp_path, 'body', dict(type='LoadCrowdBoxes', keys=('fbox', 'vbox', 'hbox')))
    visible, head = load(tmp_path, 'visible'), load(tmp_path, 'head')
    for index in range(len(body)):
        ours = body[index]
        for key, expected in (
            ('gt_fboxes', ours['gt_bboxes']),
            ('gt_vboxes', visible[index]['gt_bboxes']),
            ('gt_hboxes', head[index]['gt_bboxes']),
        ):
            assert ours[key].shape == (6, 4)
            np.testing.assert_allclose(ours[key], expected.numpy(), atol=1e-3)


def test_image_without_boxes():
    results = LoadCrowdBoxes()(dict(instances=[], img_shape=(5, 5)))
    assert results['gt_vboxes'].shape == results['gt_hboxes'].shape == (0, 4)


def test_dropped_boxes_and_unknown_keys_are_rejected(write_crowd, tmp_path):
    with pytest.raises(ValueError, match='mask'):
        LoadCrowdBoxes(keys=('mask',))
    with pytest.raises(ValueError, match='2 instances but 1 gt_bboxes'):
        LoadCrowdBoxes()(dict(instances=[{}, {}], gt_bboxes=[0], img_shape=(5, 5)))
