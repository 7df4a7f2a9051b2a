"""One pass evaluates many NMS settings, each exactly as a test with this setting."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from tiny_crowd import make_crowd, tiny_config

from mmdet_lla.analysis.inputs import read_aligned_detections
from mmdet_lla.analysis.nms import (
    collect_raw_predictions,
    plan_settings,
)
from mmdet_lla.analysis.nms.sweep import ALL, group_by_density
from mmdet_lla.analysis.test_sets import TestSet
from mmdet_lla.cli import sweep_nms
from mmdet_lla.evaluation.annotations import CrowdAnnotation

ROOT = Path(__file__).resolve().parents[2]
OVERLAP = dict(nms=dict(type='nms', iou_threshold=0.3), max_per_img=20)
LINEAR = dict(nms=dict(type='soft_nms', iou_threshold=0.5, method='linear'))
GAUSSIAN = dict(nms=dict(type='soft_nms', iou_threshold=0.5, method='gaussian'))


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    directory = tmp_path_factory.mktemp('sweep')
    make_crowd(directory, train=1, val=3)
    return directory


def config(directory, head):
    """Return an untrained detector with scores around 0.5."""
    cfg = tiny_config(directory, head)
    cfg.model.test_cfg = ConfigDict(
        nms_pre=300,
        min_bbox_size=0,
        score_thr=0.1,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=1000,
    )
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    for name, parameter in model.bbox_head.named_parameters():
        if 'cls' in name or 'score' in name:
            torch.nn.init.normal_(parameter, std=0.3)
    path = directory / f'{head}.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return cfg, str(path)


def runner_of_a_test(cfg, checkpoint):
    """Return the runner of tools/test.py, which writes detections as with --out."""
    cfg = copy.deepcopy(cfg)
    cfg.test_evaluator = [dict(type='DumpDetResults', out_file_path=f'{checkpoint}.pkl')]
    cfg.load_from = checkpoint
    cfg.log_level = 'ERROR'
    return Runner.from_cfg(cfg)


@pytest.mark.parametrize(
    ('head', 'others'),
    [('lla', [{}, GAUSSIAN, dict(sqrt_score=False)]), ('atss', []), ('yolox', [])],
)
def test_settings_give_exactly_the_detections_of_a_test(crowd, head, others):
    cfg, checkpoint = config(crowd, head)
    raw = collect_raw_predictions(cfg, checkpoint)
    runner = runner_of_a_test(cfg, checkpoint)
    annotations = TestSet(cfg).annotations.values()
    middle = float(raw.images[0].fields['scores'].median())
    seen = set()
    for changes in [OVERLAP, LINEAR, dict(score_thr=middle), *others]:
        runner.model.bbox_head.test_cfg = ConfigDict({**cfg.model.test_cfg, **changes})
        runner.test()
        expected = read_aligned_detections(annotations, f'{checkpoint}.pkl')
        found = {one.img_id: one for one in raw.postprocess(changes)}
        for one in expected:
            np.testing.assert_array_equal(found[one.img_id].boxes, one.boxes)
            np.testing.assert_array_equal(found[one.img_id].scores, one.scores)
        seen.add(sum(float(one.scores.sum()) for one in expected))
    assert len(seen) == 3 + len(others) and 0 not in seen  # settings differ, and leave something


def test_a_lower_score_threshold_needs_another_pass(crowd):
    cfg, checkpoint = config(crowd, 'lla')
    raw = collect_raw_predictions(cfg, checkpoint)
    with pytest.raises(ValueError, match='score_thr is 0.05, but predictions below 0.1'):
        raw.postprocess(dict(score_thr=0.05))
    with pytest.raises(ValueError, match='nms_pre'):
        raw.postprocess(dict(nms_pre=5))
    lower = collect_raw_predictions(cfg, checkpoint, score_thr=0.05)
    np.testing.assert_array_equal(
        lower.postprocess(dict(score_thr=0.1))[0].boxes, raw.postprocess({})[0].boxes
    )


def test_models_without_nms_and_wrong_settings_are_rejected(crowd):
    cfg, checkpoint = config(crowd, 'lla')
    cfg.model.bbox_head.one_to_one = dict(stacked_convs=1)
    with pytest.raises(ValueError, match='predicts without NMS'):
        collect_raw_predictions(cfg, checkpoint)
    for options, message in (
        (dict(thresholds=[1.5]), 'threshold of NMS is 1.5'),
        (dict(caps=[0]), 'cap is 0'),
        (dict(soft=['naive']), "soft is 'naive'"),
        (dict(score_thrs=[-1]), 'score_thr is -1'),
    ):
        with pytest.raises(ValueError, match=message):
            plan_settings(cfg.model.test_cfg, **options)
    with pytest.raises(ValueError, match='expected one with an iou_threshold'):
        plan_settings(ConfigDict(nms=None))


def test_settings_without_effect_are_skipped(crowd):
    cfg, _ = config(crowd, 'lla')
    planned = plan_settings(
        cfg.model.test_cfg, [0.5, 0.6], ['linear'], [100, 300, 1000], [0.1, 0.2], plain_product=True
    )
    assert [one.name for one in planned] == [
        'as configured: NMS 0.6',
        'NMS 0.5',
        'soft-NMS, linear',
        'at most 100 detections',
        'at most 300 detections',
        'class score above 0.2',
        'score cls * iou',
    ]


def test_density_divides_the_images_with_people():
    def image(img_id, step, count=4):
        left = step * np.arange(count)
        return CrowdAnnotation.create(
            img_id, np.stack([left, 0 * left, left + 10, 30 + 0 * left], 1)
        )

    images = [image(i, step) for i, step in enumerate((5, 20, 9, 20, 8, 2))]
    groups = group_by_density([*images, CrowdAnnotation.create('empty', [])])
    assert [name.split()[0] for name in groups] == ['sparse', 'medium', 'dense']
    assert [counts.tolist() for counts in groups.values()] == [
        [0, 1, 0, 1, 0, 0, 0],
        [0, 0, 1, 0, 1, 0, 0],
        [1, 0, 0, 0, 0, 1, 0],
    ]
    assert list(group_by_density(images[:1])) == ['sparse (0.33 to 0.33)']


def test_the_tool_from_a_config_to_the_page(crowd, tmp_path, monkeypatch, capsys):
    cfg, checkpoint = config(crowd, 'lla')
    cfg.dump(tmp_path / 'detector.py')
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    out = tmp_path / 'out'

    def run(*arguments):
        command = [tmp_path / 'detector.py', *arguments, '--out-dir', out]
        return sweep_nms.main([str(word) for word in command])

    assert run(checkpoint, '--plain-product', '--draws', 5, '--raw-out', tmp_path / 'raw.pkl') == 0
    text = capsys.readouterr().out
    found = json.loads((out / 'sweep.json').read_text())
    page = (out / 'report.html').read_text()
    assert len(found['trials']) == 12 and 'http' not in page and 'image/svg+xml' in page
    for one in found['trials']:
        assert one['name'] in text and one['name'] in page
    numbers = {one['name']: one['metrics'][ALL] for one in found['trials']}
    assert numbers['NMS 0.8']['recall'] >= numbers['NMS 0.3']['recall']
    assert found['best']['recall']['delta'] == pytest.approx(
        max(one['recall'] for one in numbers.values()) - numbers['as configured: NMS 0.6']['recall']
    )
    before = read_aligned_detections(TestSet(cfg).annotations.values(), str(tmp_path / 'raw.pkl'))
    assert all(len(one.scores) > 100 for one in before)

    assert run('nowhere.pth') == 2
    assert 'checkpoint not found: nowhere.pth' in capsys.readouterr().err
