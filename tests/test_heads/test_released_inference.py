"""The recipe's inference against a whole model of the reference, from its raw outputs on."""

from pathlib import Path

import pytest
import torch
from golden import DATA, assert_same_detections, load
from mmcv.transforms import Compose
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

RECIPE = 'lla/lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py'
GOLDEN = 'released/golden_detections'


@pytest.fixture(scope='module')
def recipe() -> Config:
    return Config.fromfile(Path(__file__).parents[2] / 'configs' / RECIPE)


@pytest.fixture(scope='module')
def head(recipe):
    model = recipe.model
    return MODELS.build({**model.bbox_head, 'test_cfg': model.test_cfg})


def case_of(name):
    """Arrays of one case and what mmdet's pipeline would say of its image."""
    case = {k.split('/')[1]: v for k, v in load(GOLDEN).items() if k.startswith(f'{name}/')}
    (height, width), img_shape = case['ori_shape'].tolist(), case['img_shape'].tolist()
    return case, dict(
        ori_shape=(height, width),
        img_shape=tuple(img_shape),
        batch_input_shape=tuple(case['input_shape'].tolist()[-2:]),
        scale_factor=(img_shape[1] / width, img_shape[0] / height),
    )


@pytest.mark.parametrize('name', ['street_small', 'synthetic_small'])
def test_raw_outputs_give_the_reference_detections(head, name):
    case, meta = case_of(name)
    outs = [[case[f'{kind}_{i}'] for i in range(5)] for kind in ('cls', 'box', 'iou')]
    (found,) = head.predict_by_feat(*outs, batch_img_metas=[meta], rescale=True)
    assert_same_detections(found, case)


def test_the_cut_at_300_comes_before_the_empty_are_dropped(head):
    """Of a crowded image 300 are left by NMS and the cut, of which 9 lie outside it."""
    case, meta = case_of('street_full')
    results = InstanceData(
        bboxes=case['pre_nms_boxes'],
        scores=case['pre_nms_scores'],
        score_factors=case['pre_nms_scores'],
        labels=case['pre_nms_classes'],
    )
    found = head._bbox_post_process(results.clone(), head.test_cfg, rescale=True, img_meta=meta)
    assert_same_detections(found, case)
    assert len(found) == 291
    # Without the step, mmdet's: all 300, some of them outside the image.
    cfg = {**head.test_cfg, 'clip_detections': False}
    unclipped = head._bbox_post_process(results.clone(), Config(cfg), rescale=True, img_meta=meta)
    assert len(unclipped) == 300 and unclipped.bboxes.min() < 0
    # What is not rescaled is clipped to the resized image; what is merged later, not at all.
    resized = head._bbox_post_process(results.clone(), head.test_cfg, img_meta=meta)
    assert len(resized) == 291 and resized.bboxes[:, 2].max() == meta['img_shape'][1]
    merged = head._bbox_post_process(results.clone(), head.test_cfg, with_nms=False, img_meta=meta)
    assert torch.equal(merged.bboxes, case['pre_nms_boxes'])
    plain = Config({**head.test_cfg, 'sqrt_score': False})
    plain = head._bbox_post_process(results.clone(), plain, with_nms=False, img_meta=meta)
    assert torch.equal(plain.scores, results.scores * results.score_factors)
    assert torch.equal(merged.scores, plain.scores.sqrt())
    calibrated = Config({**head.test_cfg, 'score_calibration': (1.5, -0.5)})
    calibrated = head._bbox_post_process(results.clone(), calibrated, with_nms=False, img_meta=meta)
    expected = (1.5 * merged.scores.clamp(1e-6, 1 - 1e-6).logit() - 0.5).sigmoid()
    torch.testing.assert_close(calibrated.scores, expected)


def test_images_are_resized_as_the_references(recipe):
    init_default_scope('mmdet')
    pipeline = [dict(t) for t in recipe.test_pipeline if t['type'] != 'LoadAnnotations']
    for step in pipeline:
        if step['type'] == 'Resize':
            step['scale'] = (448, 256)
    path = DATA / 'released' / 'synthetic.png'
    data = Compose(pipeline)(dict(img_path=str(path), img_id=0))
    case, meta = case_of('synthetic_small')
    assert torch.equal(data['inputs'], case['image'])
    sample = data['data_samples']
    assert sample.ori_shape == meta['ori_shape'] and sample.img_shape == meta['img_shape']
    assert sample.scale_factor == pytest.approx(meta['scale_factor'])
