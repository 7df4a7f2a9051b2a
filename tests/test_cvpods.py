"""Checkpoints of cvpods through the converter and the shipped recipe, against the reference."""

import copy
import json
import os
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest
import reference_network
import torch
from golden import DATA, assert_same_detections, load
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmdet_lla.cvpods import (
    adapt_config,
    build_model,
    to_cvpods,
    to_cvpods_name,
    to_mmdet,
)
from mmdet_lla.plain_checkpoints import read_weights

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'
RECIPE = 'lla/lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py'
FCOS = 'baselines/fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py'
SHARED = ROOT.parent / 'shared'
CHECKPOINT = SHARED / 'golden' / 'released' / 'reference_checkpoint.pth'
STREET = SHARED / 'data' / 'street' / 'Images' / 'adl_000486.jpg'
THIN = {
    'model.backbone.base_channels': 8,
    'model.backbone.stem_channels': 8,
    'model.neck.in_channels': [32, 64, 128, 256],
    'model.neck.out_channels': 64,
    'model.bbox_head.in_channels': 64,
    'model.bbox_head.feat_channels': 64,
}
released = pytest.mark.skipif(
    not (CHECKPOINT.is_file() and STREET.is_file()), reason='needs the directory shared'
)


@cache
def from_file(path) -> Config:
    return Config.fromfile(CONFIGS / path)


def read(path=RECIPE, **options) -> Config:
    cfg = copy.deepcopy(from_file(path))
    cfg.merge_from_dict(options)
    return cfg


def keys(name) -> dict[str, torch.Tensor]:
    """Tensors of the full-size models, without their values."""
    shapes = json.loads((DATA / 'released' / f'keys_{name}_r50.json').read_text())
    return {key: torch.empty(shape, device='meta') for key, shape in shapes.items()}


def random_weights(cfg) -> dict[str, torch.Tensor]:
    """Weights under cvpods' names that leave no layer without a say."""
    torch.manual_seed(0)
    model = build_model(cfg)
    state = {
        name: torch.rand_like(value) + 0.5
        if value.dim() < 2
        else torch.randn_like(value) * (2 / value[0].numel()) ** 0.5
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    return to_cvpods(state, model).state_dict


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line, in this process since importing mmdet takes seconds."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['cvpods.py', *map(str, args)])
        monkeypatch.setattr(sys, 'path', list(sys.path))
        try:
            tool = ROOT / 'tools' / 'model_converters' / 'cvpods.py'
            runpy.run_path(str(tool), run_name='__main__')
        except SystemExit as error:
            printed = capsys.readouterr()
            return error.code, printed.err if error.code else printed.out

    return run


def detect(cfg, model, path, scale):
    """As tools/test.py does: through the config's pipeline, pre-processor and head."""
    loader = cfg.test_dataloader.dataset
    pipeline = [dict(step) for step in loader.pipeline if step['type'] != 'LoadAnnotations']
    for step in pipeline:
        if step['type'] == 'Resize':
            step['scale'] = scale or step['scale']
    dataset = DATASETS.build(
        dict(type='BaseDetDataset', lazy_init=True, pipeline=pipeline, serialize_data=False)
    )
    data = dataset.pipeline(dict(img_path=str(path), img_id=0))
    (sample,) = model.test_step(pseudo_collate([data]))
    return sample.pred_instances


@released
@pytest.mark.parametrize(
    'name, image, scale',
    [
        ('street_full', STREET, None),
        ('street_small', STREET, (448, 256)),
        ('synthetic_small', DATA / 'released' / 'synthetic.png', (448, 256)),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_reference_checkpoint_gives_the_reference_detections(name, image, scale):
    weights = read_weights(CHECKPOINT, 'model')['model']
    cfg, changes = adapt_config(read(**THIN), weights)
    assert not changes
    model = build_model(cfg)
    model.load_state_dict(to_mmdet(weights, model).state_dict)
    model.eval()
    golden = load('released/golden_detections')
    case = {key: golden[f'{name}/{key}'] for key in ('boxes', 'scores', 'classes')}
    assert_same_detections(detect(cfg, model, image, scale), case)


@released
def test_plain_network_equals_the_reference():
    """So that what is tested against it without the checkpoint is tested against the reference."""
    weights = read_weights(CHECKPOINT, 'model')['model']
    golden = load('released/golden_detections')
    image = golden['synthetic_small/image'][None].float()
    height, width = golden['synthetic_small/input_shape'][-2:].tolist()
    assert_same_outputs(weights, image, (height, width), golden)


def assert_same_outputs(weights, image, size, golden):
    mean = torch.tensor([103.53, 116.28, 123.675]).view(1, 3, 1, 1)
    padding = (0, size[1] - image.shape[-1], 0, size[0] - image.shape[-2])
    padded = torch.nn.functional.pad(image - mean, padding) + mean  # 0 after normalisation
    ours = reference_network.forward(weights, padded)
    for kind in ('cls', 'box', 'iou'):
        for i, level in enumerate(ours[kind]):
            expected = golden[f'synthetic_small/{kind}_{i}']
            torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('p6', ['on_output', 'on_input'])
@pytest.mark.parametrize('path, offset', [(RECIPE, None), (FCOS, 0.5)], ids=['LLAHead', 'FCOSHead'])
def test_converted_weights_give_the_same_outputs(path, offset, p6):
    weights = random_weights(read(path, **THIN, **{'model.neck.add_extra_convs': p6}))
    assert weights['backbone.top_block.p6.weight'].shape[1] == (64 if p6 == 'on_output' else 256)
    cfg, changes = adapt_config(read(path, **THIN), weights, offset)
    assert cfg.model.neck.add_extra_convs == p6
    assert [change.split('=')[0] for change in changes] == (
        [] if p6 == 'on_output' else ['model.neck.add_extra_convs']
    )
    model = build_model(cfg)
    model.load_state_dict(to_mmdet(weights, model).state_dict)
    model.eval()
    image = torch.randint(0, 256, (1, 3, 96, 160), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference_network.forward(weights, image.float())
        inputs = model.data_preprocessor(dict(inputs=list(image.to(torch.uint8))))['inputs']
        outs = model.bbox_head(model.extract_feat(inputs))
    for kind, levels in zip(('cls', 'box', 'iou'), outs, strict=True):
        for level, value in zip(levels, expected[kind], strict=True):
            scale = value.abs().max().clamp(min=1)
            torch.testing.assert_close(level / scale, value / scale, rtol=0, atol=1e-5)
    assert all((value > 0).any() for value in expected['box'])


@pytest.mark.parametrize(
    'path, name, offset',
    [
        (RECIPE, 'lla', None),
        (RECIPE, 'fcos_atss', 0),
        (RECIPE, 'fcos_atss', 0.5),
        (FCOS, 'fcos_atss', 0.5),
        (FCOS, 'lla', 0.5),
    ],
)
def test_full_size_models_fit_the_shipped_configs(path, name, offset):
    weights = keys(name)
    cfg, _ = adapt_config(read(path), weights, offset)
    model = build_model(cfg)
    found = to_mmdet(weights, model)
    assert found.renamed.keys() == weights.keys() and len(weights) == 324
    assert {n: t.shape for n, t in found.state_dict.items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }
    assert len(found.reshaped) == 5 and len(found.added) == 53 and not found.dropped
    assert model.bbox_head.prior_generator.offset == (offset or 0)
    # And back; the branch is then called after the head.
    back = to_cvpods(found.state_dict, model)
    assert sorted(found.added) == sorted(back.dropped)
    branch = keys('lla' if 'LLA' in type(model.bbox_head).__name__ else 'fcos_atss')
    assert {n: t.shape for n, t in back.state_dict.items()} == {
        n: t.shape for n, t in branch.items()
    }


def test_conversion_back_gives_the_same_bits(tmp_path, run):
    weights = random_weights(read(**THIN))
    there, here, back = tmp_path / 'model_final.pth', tmp_path / 'lla.pth', tmp_path / 'back.pth'
    parallel = {f'module.{name}': tensor for name, tensor in weights.items()}
    torch.save(dict(model=parallel, optimizer=dict(state={}), iteration=28124), there)
    options = [f'{key}={value}'.replace(' ', '') for key, value in THIN.items()]
    status, printed = run(there, here, '--config', CONFIGS / RECIPE, '--cfg-options', *options)
    assert status == 0, printed
    assert '324 tensors' in printed and '5 of them reshaped' in printed
    assert 'dropped: optimizer, iteration' in printed
    checkpoint = torch.load(here, weights_only=True)
    assert checkpoint['meta']['dataset_meta']['classes'] == ('person',)
    # The config beside it is whole, and is all that mmdet needs.
    model = build_model(Config.fromfile(here.with_suffix('.py')))
    model.load_state_dict(checkpoint['state_dict'])
    status, printed = run(here, back, '--config', here.with_suffix('.py'), '--to-cvpods', '--list')
    assert status == 0, printed
    listed = [line for line in printed.splitlines() if ' -> ' in line]
    assert len(listed) == 324 and sum(line.endswith('(1,), reshaped') for line in listed) == 5
    result = torch.load(back, weights_only=True)['model']
    assert result.keys() == weights.keys()
    assert all(torch.equal(result[name], tensor) for name, tensor in weights.items())
    assert sorted(os.listdir(tmp_path)) == ['back.pth', 'lla.pth', 'lla.py', 'model_final.pth']


def test_missing_prior_offset_is_asked_for():
    weights = keys('fcos_atss')
    with pytest.raises(ValueError, match='give the prior offset, 0 .* or 0.5'):
        adapt_config(read(), weights)
    cfg, changes = adapt_config(read(), weights, 0.5)
    assert changes == ['model.bbox_head.anchor_generator.offset=0.5']
    assert build_model(cfg).bbox_head.prior_generator.offset == 0.5
    with pytest.raises(
        ValueError, match='at offset 0, FCOSHead at 0.5: take a config with LLAHead'
    ):
        adapt_config(read(FCOS), weights, 0)
    assert not adapt_config(read(FCOS), weights, 0.5)[1]
    assert not adapt_config(read(), keys('lla'))[1]


@pytest.mark.parametrize('data', ['citypersons', 'coco_person'])
def test_the_recipes_for_other_data_are_the_same_network(data):
    (path,) = (CONFIGS / data).glob('*.py')
    assert read(path.relative_to(CONFIGS)).model == read().model


@pytest.mark.parametrize(
    'path, options, message',
    [
        ('baselines/atss_r50-caffe_fpn_8xb2-30k_crowdhuman.py', {}, 'bbox_head is a ATSSHead'),
        ('baselines/faster-rcnn_r50-caffe_fpn_8xb2-30k_crowdhuman.py', {}, 'bbox_head is a None'),
        ('demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py', {}, 'backbone is a MobileNetV2'),
        ('lla/lla-retinanet_r50-caffe_fpn_8xb2-30k_crowdhuman.py', {}, 'on points is False'),
        (RECIPE, {'model.backbone.style': 'pytorch'}, "style is 'pytorch', expected 'caffe'"),
        (RECIPE, {'model.data_preprocessor.bgr_to_rgb': True}, 'bgr_to_rgb is True'),
        (RECIPE, {'model.data_preprocessor.std': [57.0, 57.0, 57.0]}, 'std is .57.0'),
        (RECIPE, {'model.neck.relu_before_extra_convs': False}, 'relu_before_extra_convs is False'),
        (RECIPE, {'model.neck.add_extra_convs': 'on_lateral'}, "add_extra_convs is 'on_lateral'"),
        (
            RECIPE,
            {'model.bbox_head.norm_cfg': dict(type='GN', num_groups=16)},
            'num_groups.* is 16',
        ),
        (FCOS, {'model.bbox_head.centerness_on_reg': False}, 'centerness_on_reg is False'),
        (FCOS, {'model.bbox_head.norm_on_bbox': False}, 'norm_on_bbox is False'),
        (FCOS, {'model.bbox_head.strides': [4, 8, 16, 32, 64]}, r'strides is \[4, 8'),
    ],
)
def test_configs_of_other_networks_are_rejected(path, options, message):
    with pytest.raises(ValueError, match=f'the config does not fit: .*{message}'):
        build_model(read(path, **{**(THIN if path in (RECIPE, FCOS) else {}), **options}))


def test_weights_that_do_not_fit_are_named():
    model, weights = build_model(read()), keys('lla')
    short = dict(weights)
    short.pop('backbone.bottom_up.res5.2.conv3.norm.running_var')
    short['pixel_mean'] = torch.zeros(3)
    with pytest.raises(
        ValueError,
        match=r'1 of 324 .* missing: .*res5.2.conv3.norm.running_var; 1 of 324 .*: pixel_mean',
    ):
        to_mmdet(short, model)
    classes = {**weights, 'head.cls_score.weight': torch.zeros(2, 256, 3, 3)}
    with pytest.raises(
        ValueError, match=r'cls_score.weight has the shape \(2, 256.* expected \(1, '
    ):
        to_mmdet(classes, model)
    deeper = {**weights, 'head.cls_subnet.12.weight': torch.zeros(256, 256, 3, 3)}
    with pytest.raises(ValueError, match='1 of 325 tensors are unexpected: .*subnet.12'):
        to_mmdet(deeper, model)
    with pytest.raises(ValueError, match='324 of 324 tensors are missing: .* and 319 more'):
        to_cvpods({}, model)
    assert to_cvpods_name('bbox_head.relation.weight') is None


class Unknown:
    pass


def test_nothing_but_tensors_and_plain_values_is_read(tmp_path):
    path = tmp_path / 'a.pth'
    for held, message in (
        (
            dict(model=dict(a=torch.zeros(1)), trainer=Unknown()),
            'more than tensors and plain value',
        ),
        (dict(model=dict(a=[0.0])), 'a is a list, expected a tensor'),
        (dict(state_dict=dict(a=torch.zeros(1))), "no weights under 'model'; it has state_dict"),
        ([1], 'contains a list'),
    ):
        torch.save(held, path)
        with pytest.raises(ValueError, match=f'a.pth.*{message}'):
            read_weights(path, 'model')
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match='a.pth is not read'):
        read_weights(path, 'model')


def test_failed_conversions_write_nothing(tmp_path, run):
    path, out = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save(dict(model={'head.ious_pred.weight': torch.zeros(1)}), path)
    status, printed = run(path, out, '--config', CONFIGS / RECIPE)
    assert status == 2 and '323 of 324 tensors are missing' in printed
    status, printed = run(path, tmp_path / 'b.py', '--config', CONFIGS / RECIPE)
    assert status == 2 and 'expected a name that ends in .pth' in printed
    status, printed = run(tmp_path / 'c.pth', out, '--config', CONFIGS / RECIPE)
    assert status == 2 and 'c.pth' in printed
    status, printed = run(path, path, '--config', CONFIGS / RECIPE)
    assert status == 2 and 'would overwrite input' in printed
    assert os.listdir(tmp_path) == ['a.pth']
