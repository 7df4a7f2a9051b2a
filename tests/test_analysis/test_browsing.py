"""Assigners are drawn side by side under any head, and failures are listed."""

import cv2
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from tiny_crowd import ROOT, make_crowd, tiny_config

from mmdet_lla.analysis.browsing import browse, describe, get_assigner_cfg, read_assigner
from mmdet_lla.analysis.samples import build_plain_dataset, find_indices


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp('browsing')
    make_crowd(directory)
    return directory


def test_assigners_are_drawn_side_by_side_and_failures_are_listed(directory):
    browsed = browse(
        tiny_config(directory),
        assigners=[
            "dict(type='ATSSAssigner', topk=5)",
            'LLAAssigner',
            'NoAssigner',
            'MaxIoUAssigner',
        ],
        number=2,
        out_dir=directory / 'out',
        columns=2,
        width=640,
    )
    assert list(browsed.summaries) == ['LLAAssigner', 'ATSSAssigner(topk=5)']
    assert browsed.failures.keys() == {'NoAssigner', 'MaxIoUAssigner'}
    assert 'pos_iou_thr' in browsed.failures['MaxIoUAssigner']
    assert len(browsed.paths) == 2
    assert all(cv2.imread(str(path)).shape[1] >= 2 * 640 + 6 for path in browsed.paths)
    lla, atss = browsed.summaries.values()
    assert 0 < lla['priors_per_gt'] <= 10 and atss['outside'] == 0
    assert 'agreement' not in lla and 0 <= atss['agreement'] <= 1


@pytest.mark.parametrize(
    'head, other',
    [
        ('atss', "dict(type='ATSSAssigner', topk=5)"),
        ('yolox', 'SimOTAAssigner'),
        ('tood', "dict(type='TaskAlignedAssigner', topk=5)"),
    ],
)
def test_any_head_is_drawn_with_other_assigners(directory, head, other):
    unfit = "dict(type='RegionAssigner', center_ratio=0.2)"
    browsed = browse(
        tiny_config(directory, head), assigners=[other, unfit], number=1, out_dir=directory / head
    )
    own = describe(tiny_config(directory, head).model.train_cfg.assigner)
    assert list(browsed.summaries) == [own, describe(read_assigner(other))]
    assert list(browsed.failures) == ['RegionAssigner(center_ratio=0.2)']


def test_weights_of_the_checkpoint_are_shown(directory):
    cfg = tiny_config(directory)
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = directory / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    one, other = (
        browse(cfg, weights, number=1, out_dir=directory / 'weights').summaries
        for weights in (str(path), None)
    )
    assert one['LLAAssigner'] != other['LLAAssigner']
    weights = dict(list(model.state_dict().items())[:3])
    torch.save(dict(state_dict=weights), path)
    with pytest.raises(ValueError, match='[0-9]+ of [0-9]+ tensors are missing'):
        browse(cfg, str(path), out_dir=directory / 'weights')


def test_images_are_found_by_id_and_boxes_follow_the_resize(directory):
    cfg = tiny_config(directory)
    cfg.train_dataloader.dataset = dict(
        type='MultiImageMixDataset', dataset=cfg.train_dataloader.dataset, pipeline=[]
    )
    for pipeline in (
        cfg.train_dataloader.dataset.dataset.pipeline,
        cfg.val_dataloader.dataset.pipeline,
    ):
        next(step for step in pipeline if step['type'] == 'Resize')['scale'] = (80, 60)
    dataset = build_plain_dataset(cfg, 'train')
    assert len(dataset) == 6
    info = dataset.get_data_info(4)
    assert find_indices(dataset, [str(info['img_id'])]) == [4]
    sample = dataset[4]
    assert sample['inputs'].shape == (3, 60, 80)
    boxes = torch.tensor([one['bbox'] for one in info['instances'] if not one['ignore_flag']])
    shown = sample['data_samples'].gt_instances.bboxes.tensor
    inside = (boxes / 2).clamp(min=0).minimum(torch.tensor([80.0, 60.0, 80.0, 60.0]))
    assert torch.allclose(shown, inside.float(), atol=0.6)
    with pytest.raises(ValueError, match='no image nobody'):
        find_indices(dataset, ['nobody'])


def test_assigners_are_read_from_words_dicts_and_configs():
    assert read_assigner('LLAAssigner') == dict(type='LLAAssigner')
    assert read_assigner("dict(type='A', cost=dict(type='B', w=2))") == dict(
        type='A', cost=dict(type='B', w=2)
    )
    config = f'{ROOT}/configs/demo/atss_mobilenetv2_fpn_1xb4-12e_crowd.py'
    assert describe(read_assigner(config)) == 'ATSSAssigner(topk=9)'
    for text in ('dict(topk=5)', '3', 'dict(', 'No thing'):
        with pytest.raises(ValueError, match='not an assigner'):
            read_assigner(text)


def test_the_assigner_of_a_two_stage_detector_is_the_rpn_assigner():
    rpn = dict(assigner=dict(type='MaxIoUAssigner'))
    model = ConfigDict(type='FasterRCNN', train_cfg=dict(rpn=rpn, rcnn={}))
    assert get_assigner_cfg(model) is model.train_cfg.rpn
    with pytest.raises(ValueError, match='FCOS has no assigner'):
        get_assigner_cfg(ConfigDict(type='FCOS'))


@pytest.mark.parametrize('name', ['number', 'width'])
def test_bad_arguments_are_named(directory, name):
    with pytest.raises(ValueError, match=name):
        browse(tiny_config(directory), **{name: 0})
