"""Stops a training whose numbers are no longer finite, and says what did it."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from .step_dump import first_non_finite, save_step


class NonFiniteError(FloatingPointError):
    """A loss, a gradient or a prediction is NaN or infinite; the message is the report."""


@HOOKS.register_module()
class NaNGuardHook(Hook):
    """Stop before a NaN or an infinity reaches the weights, with a report.

    Every iteration the loss is looked at before the backward pass, and the gradients before the
    optimizer's step; mmdet's ``CheckInvalidLossHook`` looks at the loss after it, when the weights
    are lost. A :class:`NonFiniteError` then tells the iteration, the terms, the pictures, the first
    module with such an output, weights already lost, and what to try. It names a dump of weights
    and batch in the work directory; ``tools/replay_step.py`` does the step again. An assigner's
    complaint about NaN predictions becomes the same report.

    Infinite gradients of float16 are left to the loss scale, which skips such steps.
    """

    def before_train(self, runner: Runner) -> None:
        """Look into the training step."""
        model = _unwrap(runner.model)
        parse_losses, train_step = model.parse_losses, runner.model.train_step

        def checked_losses(losses: dict) -> tuple[Tensor, dict]:
            loss, terms = parse_losses(losses)
            if not math.isfinite(loss.detach()):
                raise NonFiniteError(_name_terms(terms))
            return loss, terms

        def checked_step(data: Any, optim_wrapper: OptimWrapper) -> dict:
            try:
                return train_step(data, optim_wrapper)
            except NonFiniteError as error:
                raise NonFiniteError(_report(runner, data, str(error))) from None
            except ValueError as error:
                if _all_finite(model, optim_wrapper, data):
                    raise
                raise NonFiniteError(_report(runner, data, str(error))) from error

        model.parse_losses, runner.model.train_step = checked_losses, checked_step
        wrappers = [runner.optim_wrapper]
        if isinstance(runner.optim_wrapper, OptimWrapperDict):
            wrappers = runner.optim_wrapper.values()
        self.undo: list[Callable[[], None]] = [
            lambda: delattr(model, 'parse_losses'),
            lambda: delattr(runner.model, 'train_step'),
        ]
        for one in wrappers:
            self.undo.append(one.optimizer.register_step_pre_hook(_check_gradients).remove)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        for undo in self.undo:
            undo()


def _check_gradients(optimizer: torch.optim.Optimizer, *args) -> None:
    """Raise if a gradient is not finite."""
    if hasattr(optimizer, 'grad_scale'):  # a fused optimizer skips such a step itself
        return
    parameters = [one for group in optimizer.param_groups for one in group['params']]
    # The norm of all gradients, clipped to no more than infinity.
    norm = nn.utils.clip_grad_norm_(parameters, math.inf)
    if not norm.isfinite():
        raise NonFiniteError(f'the norm of the gradients is {norm.item()}, the losses are finite')


def _name_terms(terms: dict[str, Tensor]) -> str:
    """Which terms are not finite, and what the others are."""
    values = {name: float(value.detach()) for name, value in terms.items() if name != 'loss'}
    bad = [f'{name} is {value}' for name, value in values.items() if not math.isfinite(value)]
    good = [f'{name} is {value:.4g}' for name, value in values.items() if math.isfinite(value)]
    return ', '.join(bad or ['the sum of all losses overflows']) + (
        f' ({", ".join(good)})' if good else ''
    )


def _report(runner: Runner, data: Any, what: str) -> str:
    """Write the dump, and say all that helps."""
    model = _unwrap(runner.model)
    lost = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    module = _first_bad_module(model, runner.optim_wrapper, data)
    rates = sorted(set(sum(runner.optim_wrapper.get_lr().values(), [])))
    pictures = [str(meta.get('img_path', meta.get('img_id'))) for meta in _metainfos(data)]
    path = Path(runner.work_dir) / f'non_finite_iter_{runner.iter + 1}_rank_{get_rank()}.pth'
    dump = f'{path} (python tools/replay_step.py CONFIG {path})'
    try:
        save_step(
            path,
            data,
            model,
            iteration=runner.iter + 1,
            epoch=runner.epoch + 1,
            seed=runner.seed,
            rank=get_rank(),
            what=what,
            learning_rates=rates,
            pictures=pictures,
        )
    except OSError as error:
        dump = f'none, {path} cannot be written: {error.strerror}'
    if module == 'data_preprocessor':
        hint = 'the pictures themselves are not finite; look at them and at the pipeline'
    elif lost:
        hint = (
            'weights were not finite before this step; begin from others, or resume from an '
            'older checkpoint with a lower learning rate'
        )
    elif getattr(runner.optim_wrapper, 'dtype', None) is torch.float16:
        hint = 'float16 overflows beyond 65504; use bfloat16, or float32'
    else:
        hint = (
            'lower the learning rate, warm up longer, or clip gradients '
            '(optim_wrapper.clip_grad=dict(max_norm=10)); look at the boxes of these pictures'
        )
    report = '\n'.join(
        [
            f'Training stopped in iteration {runner.iter + 1} (epoch {runner.epoch + 1}), '
            f'before its step: {what}',
            f'  pictures: {", ".join(pictures)}',
            f'  first module with such an output: {module or "none up to the predictions"}',
            f'  weights lost: {_shorten(lost) or "none"}',
            f'  learning rate: {", ".join(f"{rate:.3g}" for rate in rates)}',
            f'  dump: {dump}',
            f'  hint: {hint}',
        ]
    )
    runner.logger.error(report)
    return report


def _first_bad_module(model: nn.Module, optim_wrapper: OptimWrapper, data: Any) -> str:
    if get_world_size() > 1 and any(isinstance(m, nn.SyncBatchNorm) for m in model.modules()):
        return 'not looked for, other processes would have to help'
    with optim_wrapper.optim_context(model):
        return first_non_finite(model, data)


def _all_finite(model: nn.Module, optim_wrapper: OptimWrapper, data: Any) -> bool:
    """Whether weights and predictions are, so that an error must have another reason."""
    return all(value.isfinite().all() for value in model.state_dict().values()) and (
        _first_bad_module(model, optim_wrapper, data) is None
    )


def _metainfos(data: Any) -> Iterator[dict]:
    """Meta information of the data samples inside some nesting."""
    if hasattr(data, 'metainfo'):
        yield data.metainfo
    elif isinstance(data, (dict, list, tuple)):
        for item in data.values() if isinstance(data, dict) else data:
            yield from _metainfos(item)


def _shorten(names: list[str]) -> str:
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
