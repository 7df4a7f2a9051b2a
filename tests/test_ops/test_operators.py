"""Operators against plain loops, through mmcv's own functions."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import mmcv.ops
import numpy as np
import oracles
import pytest
import random_cases
import torch
import torch.nn.functional as F
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

from mmdet_lla import ops
from mmdet_lla.ops import torchvision_ops as loader


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Our operators behind mmcv's functions, in whatever environment."""
    for name in {*random_cases.MODULES.values(), 'focal_loss'}:
        monkeypatch.setattr(sys.modules[f'mmcv.ops.{name}'], 'ext_module', ops)


# ------------------------------------------------------------------------------ suppression
@pytest.mark.parametrize('seed', range(40))
def test_nms_is_greedy_in_order_and_with_equal_scores(seed):
    rng = np.random.default_rng(seed)
    boxes = random_cases.boxes_of_a_crowd(rng, int(rng.integers(0, 150)))
    scores = random_cases.scores_with_ties(rng, len(boxes))
    threshold, offset = float(rng.choice([0, 0.3, 0.5, 0.7, 1])), int(rng.integers(2))
    dets, indices = mmcv.ops.nms(boxes, scores, threshold, offset=offset)
    assert indices.tolist() == oracles.nms(boxes, scores, threshold, offset).tolist()
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[indices])


def test_nms_keeps_boxes_at_the_threshold():
    """0.6 as a float32 is a little more than 0.6, and so an IoU that rounds to it stays."""
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0], [0.0, 0.0, 10.0, 6.1]])
    kept = ops.nms(boxes[:2], torch.tensor([0.9, 0.8]), 0.6, 0)
    assert kept.tolist() == [0, 1]
    assert ops.nms(boxes[[0, 2]], torch.tensor([0.9, 0.8]), 0.6, 0).tolist() == [0]


def test_nms_of_boxes_that_are_not_finite():
    boxes = torch.tensor([[0, 0, 8, 8], [0, 0, 8, float('inf')], [float('nan')] * 4, [0, 0, 8, 8]])
    assert ops.nms(boxes, torch.tensor([0.4, 0.3, 0.2, 0.1]), 0.5, 0).tolist() == [0, 1, 2]


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('seed', range(8))
def test_soft_nms_lowers_scores_and_fills_gaps_from_the_end(method, seed):
    rng = np.random.default_rng(seed)
    boxes = random_cases.boxes_of_a_crowd(rng, int(rng.integers(0, 40)))
    scores = random_cases.scores_with_ties(rng, len(boxes))
    options = dict(
        iou_threshold=0.3,
        sigma=0.5,
        min_score=float(rng.choice([1e-3, 0.2])),
        method=method,
        offset=int(rng.integers(2)),
    )
    dets, indices = mmcv.ops.soft_nms(boxes, scores, **options)
    expected, expected_indices = oracles.soft_nms(boxes, scores, **options)
    assert indices.tolist() == expected_indices.tolist()
    torch.testing.assert_close(dets, expected, rtol=1e-6, atol=0, equal_nan=True)


# ------------------------------------------------------------------------------ pooling
@pytest.mark.parametrize('seed', range(10))
def test_roi_align_pools_the_samples_of_each_bin(seed):
    rng = np.random.default_rng(seed)
    maps = random_cases.normal(rng, 2, 2, *(int(size) for size in rng.integers(1, 9, 2)))
    corners = np.sort(rng.uniform(-3, 11, (4, 2, 2)), axis=1).reshape(4, 4)
    rois = torch.from_numpy(np.concatenate([rng.integers(2, size=(4, 1)), corners], 1))
    args, aligned = ((2, 3), 0.7, int(rng.integers(0, 3))), bool(rng.integers(2))
    expected = oracles.roi_align(maps, rois, *args, aligned)
    output = mmcv.ops.roi_align(maps, rois, *args, 'avg', aligned)
    torch.testing.assert_close(output, expected)
    weights = torch.from_numpy(rng.normal(size=output.shape))
    grads = [
        torch.autograd.grad((pooled * weights).sum(), maps)[0] for pooled in (output, expected)
    ]
    torch.testing.assert_close(*grads)


def test_roi_align_of_a_slope_is_the_slope_at_the_centers():
    """Bilinear samples of a plane lie on it, so the mean of a bin is its value in the middle."""
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing='ij')
    maps = (2 * x - 3 * y + 1)[None, None]
    rois = torch.tensor([[0.0, 4.0, 2.0, 22.0, 14.0]])
    pooled = mmcv.ops.roi_align(maps, rois, (4, 6), 1.0, 0, 'avg', True)[0, 0]
    centers_y = 2 + 12 / 4 * (torch.arange(4) + 0.5) - 0.5
    centers_x = 4 + 18 / 6 * (torch.arange(6) + 0.5) - 0.5
    torch.testing.assert_close(pooled, 2 * centers_x - 3 * centers_y[:, None] + 1)


@pytest.mark.parametrize('box', [[0, 5, 5, 4, 6], [0, 1, 1, float('nan'), 2]])
def test_roi_align_names_a_box_it_cannot_pool(box):
    rois = torch.tensor([[0.0, 1, 1, 2, 2], box])
    with pytest.raises(ValueError, match=re.escape(f'rois[1] is [0.0, {float(box[1])}')):
        mmcv.ops.roi_align(torch.rand(1, 1, 8, 8), rois, 2)


# ------------------------------------------------------------------------------ convolutions
@pytest.mark.parametrize('seed', range(6))
def test_deformable_convolution_meets_the_shifted_positions(seed):
    rng = np.random.default_rng(seed)
    tensors, geometry, _ = random_cases.convolution(rng)
    expected = oracles.deform_conv(*tensors, *geometry)
    torch.testing.assert_close(mmcv.ops.deform_conv2d(*tensors, *geometry), expected)


def test_gradients_of_deformable_convolutions():
    """Between the cells, where the function has a derivative, against differences."""
    rng = np.random.default_rng(3)
    maps, weight = (random_cases.normal(rng, *shape) for shape in ((2, 4, 5, 6), (4, 2, 3, 3)))
    offset = random_cases.normal(rng, 2, 36, 5, 6).detach()
    offset = (offset.round() + offset.frac().clamp(0.1, 0.4)).requires_grad_()
    geometry = ((1, 1), (1, 1), (1, 1), 2, 2)
    args, function = (maps, offset, weight), mmcv.ops.deform_conv2d
    assert torch.autograd.gradcheck(
        lambda *tensors: function(*tensors, *geometry), args, fast_mode=True
    )


def test_deformable_convolution_without_shifts_is_a_convolution():
    rng = np.random.default_rng(0)
    maps, weight = random_cases.normal(rng, 2, 4, 7, 8), random_cases.normal(rng, 6, 2, 3, 3)
    output = mmcv.ops.deform_conv2d(
        maps, maps.new_zeros(2, 18, 4, 4), weight, (2, 2), (1, 1), (1, 1), 2
    )
    torch.testing.assert_close(output, F.conv2d(maps, weight, None, 2, 1, 1, 2))


def test_deformable_convolution_names_wrong_shapes():
    maps, weight = torch.rand(1, 2, 6, 6), torch.rand(2, 2, 3, 3)
    with pytest.raises(
        ValueError, match=r'offset has the shape \[1, 18, 5, 6\], not \[1, 18, 6, 6\]'
    ):
        mmcv.ops.deform_conv2d(maps, torch.zeros(1, 18, 5, 6), weight, 1, 1)


# ------------------------------------------------------------------------------ focal losses
@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (0.0, 0.5), (1.5, 0.7)])
def test_sigmoid_focal_loss_equals_mmdet(gamma, alpha):
    torch.manual_seed(0)
    logits = (torch.randn(50, 3, dtype=torch.float64) * 4).requires_grad_()
    target = torch.randint(4, (50,))
    loss = mmcv.ops.sigmoid_focal_loss(logits, target, gamma, alpha, None, 'none')
    hot = F.one_hot(target, 4)[:, :3].double()
    expected = py_sigmoid_focal_loss(logits, hot, None, gamma, alpha, 'none')
    torch.testing.assert_close(loss, expected)
    grads = [torch.autograd.grad(value.sum(), logits)[0] for value in (loss, expected)]
    torch.testing.assert_close(*grads)


def test_sigmoid_focal_loss_applies_class_weights():
    logits, target = torch.randn(20, 3), torch.randint(3, (20,))
    weight = torch.tensor([1.0, 2.0, 3.0])
    plain, weighted = (
        mmcv.ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, weights, 'none')
        for weights in (None, weight)
    )
    torch.testing.assert_close(weighted, plain * weight[target][:, None])


# ------------------------------------------------------------------------------ low precision
def _focal_case():
    logits = torch.tensor([[-20.0, 9.0, 0.3], [20.0, -9.0, 2.0]])  # values of all dtypes
    return logits, lambda x: mmcv.ops.sigmoid_focal_loss(
        x, torch.tensor([0, 3]), 2.0, 0.25, None, 'none'
    )


def _nms_case():
    boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 7], [20, 20, 30, 30], [21, 20, 30, 30]])
    scores = torch.tensor([0.125, 0.25, 0.375, 0.5])
    return boxes, lambda x: mmcv.ops.nms(x, scores.to(x.dtype), 0.5)[0]


def _soft_nms_case():
    boxes, _ = _nms_case()
    scores = torch.tensor([0.125, 0.25, 0.375, 0.5])
    return boxes, lambda x: ops.softnms(
        x, scores.to(x.dtype), torch.zeros(4, 5), 0.3, 0.5, 0.0, 1, 0
    )


def _roi_align_case():
    maps = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    rois = torch.tensor([[0.0, 1, 1, 7, 6]])
    return maps, lambda x: mmcv.ops.roi_align(x, rois.to(x.dtype), 2)


def _deform_conv_case():
    random = torch.Generator().manual_seed(0)
    maps, weight, offset = (
        torch.rand(size, generator=random).bfloat16().float()
        for size in ((1, 2, 6, 6), (2, 2, 3, 3), (1, 18, 6, 6))
    )
    return maps, lambda x: mmcv.ops.deform_conv2d(x, offset.to(x.dtype), weight.to(x.dtype), 1, 1)


CASES = dict(
    focal_loss=_focal_case,
    nms=_nms_case,
    soft_nms=_soft_nms_case,
    roi_align=_roi_align_case,
    deform_conv=_deform_conv_case,
)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', CASES)
def test_low_precision_rounds_the_result_of_float32(name, dtype):
    """Inputs that every dtype represents give the value and gradient of float32, rounded once."""
    exact_input, function = CASES[name]()
    exact_input = exact_input.to(dtype).float()
    results = []
    for value in (exact_input, exact_input.to(dtype)):
        value = value.clone().requires_grad_(name not in ('nms', 'soft_nms'))
        output = function(value)
        grad = torch.autograd.grad(output.sum(), value)[0] if value.requires_grad else None
        results.append((output.detach(), grad))
    for exact, low in zip(*results, strict=True):
        if exact is not None:
            assert low.dtype in (dtype, torch.int64) and torch.isfinite(low).all()
            assert torch.equal(exact.to(low.dtype), low)


@pytest.mark.parametrize('name', ['roi_align', 'deform_conv'])
def test_operators_compute_in_their_own_precision_under_autocast(name):
    value, function = CASES[name]()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(function(value), function(value.double()).float())


def test_tiny_gradients_of_the_focal_loss_survive_in_float32():
    logits = torch.tensor([[-9.0]], dtype=torch.float16)
    grad = torch.empty(1, 1)
    ops.sigmoid_focal_loss_backward(logits, torch.tensor([1]), torch.empty(0), grad, 2.0, 0.25)
    assert 1e-12 < grad.item() < 1e-8  # float16 ends at 6e-8


# ------------------------------------------------------------------------------ the others
def test_every_operator_of_mmcv_exists_or_names_the_remedy():
    text = ''.join(path.read_text() for path in Path(mmcv.ops.__file__).parent.glob('*.py'))
    names = {
        name
        for names in re.findall(r"load_ext\(\s*'_ext',\s*\[(.*?)\]\)", text, re.S)
        for name in re.findall(r"'(\w+)'", names)
    }
    assert len(names) > 100
    missing = names - set(ops.__all__)
    assert {'nms', 'softnms', 'roi_align_forward', 'deform_conv_forward'} <= names - missing
    for name in missing:
        with pytest.raises(
            NotImplementedError,
            match=rf'^{name}, an operator of mmcv,.*MMCV_WITH_OPS=1 pip install',
        ):
            getattr(ops, name)(1, two=2)
    assert not hasattr(ops, '__path_of_nothing__')


def test_mmcv_reports_the_origin_of_its_operators():
    assert 'mmdet_lla' in ops.get_compiler_version()
    assert ops.get_compiling_cuda_version() == 'not available'


# ------------------------------------------------------------------------------ torchvision
def test_torchvisions_operators_are_used_on_other_devices(monkeypatch):
    """With stand-ins that do as torchvision's: no offset, and the mean of samples alone."""
    calls = []

    def tv_nms(boxes, scores, iou_threshold):
        calls.append('nms')
        assert len(scores.unique()) == len(scores), 'the order has to be given'
        return oracles.nms(boxes, scores, iou_threshold, 0)

    def tv_roi_align(maps, rois, size, scale, sampling_ratio, aligned):
        calls.append('roi_align')
        return oracles.roi_align(maps, rois, size, scale, sampling_ratio, aligned)

    def tv_deform_conv2d(maps, offset, weight, bias, stride, padding, dilation):
        calls.append('deform_conv2d')
        return oracles.deform_conv(maps, offset, weight, stride, padding, dilation, 1, 1)

    fake = SimpleNamespace(nms=tv_nms, roi_align=tv_roi_align, deform_conv2d=tv_deform_conv2d)
    rng = np.random.default_rng(1)
    boxes = random_cases.boxes_of_a_crowd(rng, 60)
    scores = torch.from_numpy(rng.random(60).astype(np.float32).round(1))
    maps, rois = random_cases.normal(rng, 1, 2, 6, 6), torch.tensor([[0, 1, 1, 5, 4.0]]).double()
    offset, weight = random_cases.normal(rng, 1, 18, 6, 6), random_cases.normal(rng, 2, 2, 3, 3)

    def run():
        return [
            ops.nms(boxes, scores, 0.6, 0),
            ops.nms(boxes, scores, 0.6, 1),
            mmcv.ops.roi_align(maps, rois, (2, 2), 1.0, 2),
            mmcv.ops.deform_conv2d(maps, offset, weight, 1, 1),
        ]

    def slopes():
        output = mmcv.ops.deform_conv2d(maps, offset, weight, 1, 1)
        return torch.autograd.grad(output.sum(), [maps, offset, weight])

    usual, usual_slopes = run(), slopes()
    for name in ('nms', 'roi_align', 'deform_conv'):
        monkeypatch.setattr(sys.modules[f'mmdet_lla.ops.{name}'], 'torchvision_ops', lambda _: fake)
    for one, other in zip(run(), usual, strict=True):
        torch.testing.assert_close(one, other)
    assert calls == ['nms', 'roi_align', 'deform_conv2d']
    for one, other in zip(slopes(), usual_slopes, strict=True):
        assert torch.equal(one, other), 'derivatives are ours'


def test_torchvision_that_does_not_work_is_passed_over(monkeypatch):
    def fail(*args):
        raise RuntimeError('operator torchvision::nms does not exist')

    works = SimpleNamespace(nms=lambda *args: torch.zeros(1))
    for ops_of_torchvision, expected in ((SimpleNamespace(nms=fail), None), (works, works)):
        loader.torchvision_ops.cache_clear()
        monkeypatch.setitem(sys.modules, 'torchvision', SimpleNamespace(ops=ops_of_torchvision))
        assert loader.torchvision_ops('meta') is expected
    loader.torchvision_ops.cache_clear()
    assert loader.torchvision_ops('cpu') is None
