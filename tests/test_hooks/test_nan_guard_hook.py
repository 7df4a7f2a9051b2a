"""A NaN stops the training before it reaches the weights, with a report."""

import itertools
import re

import pytest
import torch
from test_hooks.toy import Line, make_runner

from mmdet_lla.hooks import NaNGuardHook, NonFiniteError

names = (f'nan_{i}' for i in itertools.count())


def fail(directory, monkeypatch, break_at, iteration=4, **kwargs):
    """Train with a fault in an iteration; return the runner and the report."""
    runner = make_runner(directory, next(names), max_epochs=3, **kwargs)
    forward, before = Line.forward, {}

    def broken(self, inputs, index=None, mode='loss'):
        out = forward(self, inputs, index, mode)
        if runner.iter == iteration and mode == 'loss':
            before.setdefault('weights', {k: v.clone() for k, v in self.state_dict().items()})
            return break_at(self, out)
        return out

    monkeypatch.setattr(Line, 'forward', broken)
    with pytest.raises(NonFiniteError) as error:
        runner.train()
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, before['weights'][name]), 'weights changed'
    assert 'train_step' in vars(runner.model)
    return runner, str(error.value)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_term_and_iteration_are_named(tmp_path, monkeypatch, value):
    _, report = fail(
        tmp_path, monkeypatch, lambda model, out: dict(out, loss_b=out['loss_b'] * value)
    )
    assert re.search(rf'iteration 5 \(epoch 2\).*: loss_b is {value} \(loss_a is', report)
    assert 'weights lost: none' in report and 'hint: lower the learning rate' in report


def test_gradient_alone(tmp_path, monkeypatch):
    """The square root of 0 is finite, its slope is not."""
    _, report = fail(
        tmp_path,
        monkeypatch,
        lambda model, out: dict(out, loss_c=(model.line.weight.sum() * 0).sqrt()),
    )
    assert 'the norm of the gradients is nan, the losses are finite' in report


def test_sum_that_overflows(tmp_path, monkeypatch):
    huge = torch.tensor(3e38)
    _, report = fail(
        tmp_path,
        monkeypatch,
        lambda model, out: dict(loss_a=out['loss_a'] + huge, loss_b=out['loss_b'] + huge),
    )
    assert 'the sum of all losses overflows' in report


def complain(model, out):
    raise ValueError('pred_instances.bboxes holds NaN')


def test_error_about_nan_predictions_becomes_the_report(tmp_path, monkeypatch):
    real = torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, 'linear', lambda *args: real(*args) * float('nan'))
    _, report = fail(tmp_path, monkeypatch, complain, iteration=0)
    assert 'pred_instances.bboxes holds NaN' in report
    assert 'first module with such an output: line' in report


def test_error_that_has_another_reason_stays(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='^pred_instances.bboxes holds NaN$') as error:
        fail(tmp_path, monkeypatch, complain)
    assert error.type is ValueError


def test_weights_lost_before(tmp_path):
    runner = make_runner(tmp_path, next(names), max_epochs=1)
    with torch.no_grad():
        runner.model.line.bias.fill_(float('nan'))
    with pytest.raises(NonFiniteError, match='(?s)weights lost: line.bias\n.*begin from others'):
        runner.train()


def test_images_that_are_not_finite(tmp_path):
    runner = make_runner(tmp_path, next(names), max_epochs=1)
    dataset = runner.build_dataloader(runner.cfg.train_dataloader).dataset
    prepare = type(dataset).prepare_data
    type(dataset).prepare_data = lambda self, i: dict(
        prepare(self, i), inputs=torch.tensor([0.0, float('inf')])
    )
    try:
        with pytest.raises(NonFiniteError, match='the images themselves are not finite'):
            runner.train()
    finally:
        type(dataset).prepare_data = prepare


def test_healthy_training_is_untouched(tmp_path):
    guarded, bare = (
        make_runner(tmp_path / str(i), next(names), max_epochs=2, hooks=hooks)
        for i, hooks in enumerate([{}, dict(nan_guard=dict(type='IterTimerHook'))])
    )
    assert any(isinstance(hook, NaNGuardHook) for hook in guarded.hooks)
    assert not any(isinstance(hook, NaNGuardHook) for hook in bare.hooks)
    for runner in (guarded, bare):
        runner.train()
    assert torch.equal(guarded.model.line.weight, bare.model.line.weight)
    assert 'train_step' not in vars(guarded.model) and 'parse_losses' not in vars(guarded.model)


def test_compiled_step_stays_compiled(tmp_path, monkeypatch):
    calls = []

    def compile_step(step, **kwargs):
        def compiled(*args, **kwargs):
            calls.append(step)
            return step(*args, **kwargs)

        return compiled

    monkeypatch.setattr(torch, 'compile', compile_step)
    runner = make_runner(tmp_path, next(names), max_epochs=1, compile=True)
    runner.train()
    assert len(calls) == 4 and vars(runner.model)['train_step'].__name__ == 'compiled'
