"""Mixed precision on CPUs: near float32, safe from overflow, resumable."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmdet_lla.optim import AutocastOptimWrapper


def make(dtype, lr=0.1, **kwargs):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    if dtype == 'float32':
        return model, OptimWrapper(optimizer, **kwargs)
    wrapper = AutocastOptimWrapper(dtype, optimizer=optimizer, **kwargs)
    if dtype == 'float16':  # a scale that has found itself, with which no step overflows
        wrapper.loss_scaler.load_state_dict(dict(wrapper.loss_scaler.state_dict(), scale=256.0))
    return model, wrapper


def step(model, wrapper, factor=1.0):
    inputs = torch.linspace(-1, 1, 8).view(2, 4)
    with wrapper.optim_context(model):
        out = model(inputs)
    wrapper.update_params(out.float().square().sum() * factor)
    return out


@pytest.mark.parametrize('dtype, error', [('bfloat16', 2e-2), ('float16', 2e-3)])
@pytest.mark.parametrize('clip', [None, dict(max_norm=0.1)])
def test_steps_are_near_those_of_float32(dtype, error, clip):
    """Also with clipping, so that what is clipped are the gradients without their scale."""
    results = []
    for one in (dtype, 'float32'):
        model, wrapper = make(one, clip_grad=clip)
        before = model.weight.detach().clone()
        for _ in range(3):
            out = step(model, wrapper)
        assert out.dtype == getattr(torch, one)
        results.append(model.weight.detach() - before)
    assert results[1].abs().max() > 1e-2
    torch.testing.assert_close(*results, rtol=0, atol=error * results[1].abs().max().item())


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_accumulated_gradients_are_used_once(dtype):
    model, wrapper = make(dtype, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    weights = [model.weight.detach().clone()]
    for _ in range(4):
        step(model, wrapper)
        weights.append(model.weight.detach().clone())
    changed = [not torch.equal(a, b) for a, b in pairwise(weights)]
    assert changed == [False, True, False, True]


def test_overflow_skips_the_step_and_lowers_the_scale():
    model, wrapper = make('float16')
    before, scale = model.weight.detach().clone(), wrapper.loss_scaler.get_scale()
    step(model, wrapper, factor=1e36)
    assert torch.equal(model.weight, before)
    assert wrapper.loss_scaler.get_scale() < scale
    step(model, wrapper)
    assert not torch.equal(model.weight, before) and model.weight.isfinite().all()


def test_bfloat16_needs_no_scale():
    model, wrapper = make('bfloat16')
    assert not wrapper.loss_scaler.is_enabled()
    step(model, wrapper, factor=1e30)
    assert model.weight.isfinite().all() and model.weight.abs().max() > 1e20


def test_state_is_restored():
    model, wrapper = make('float16')
    step(model, wrapper, factor=1e36)
    step(model, wrapper)
    other_model, other = make('float16')
    other_model.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(wrapper.state_dict()))  # as from a file
    assert other.loss_scaler.get_scale() == wrapper.loss_scaler.get_scale() < 256
    for pair in ((model, wrapper), (other_model, other)):
        step(*pair)
    assert torch.equal(model.weight, other_model.weight)


def test_state_of_a_float32_training_can_be_taken_up():
    model, wrapper = make('float32')
    step(model, wrapper)
    other = make('float16')[1]
    other.load_state_dict(wrapper.state_dict())
    momentum = other.optimizer.state_dict()['state'][0]['momentum_buffer']
    assert torch.equal(momentum, wrapper.optimizer.state_dict()['state'][0]['momentum_buffer'])
    assert math.isfinite(other.loss_scaler.get_scale())


def test_unknown_type_is_named():
    with pytest.raises(ValueError, match="one of \\('bfloat16', 'float16'\\), got 'float8'"):
        make('float8')


def test_several_processes_on_a_cpu_are_rejected(monkeypatch):
    monkeypatch.setattr('mmdet_lla.optim.autocast_optim_wrapper.get_world_size', lambda: 2)
    with pytest.raises(NotImplementedError, match='not in 2; use OptimWrapper'):
        make('bfloat16')
