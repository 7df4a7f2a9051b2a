"""Stops a training before NaN or infinity reaches the weights, with a report of the cause."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ..utils.names import join_first


class NonFiniteError(FloatingPointError):
    """A loss, gradient or prediction is NaN or infinite; the message is the report."""


@HOOKS.register_module()
class NaNGuardHook(Hook):
    """Stop before NaN or infinity reaches the weights, and report the cause.

    Every iteration checks the loss before the backward pass and the gradients before the
    optimizer's step; mmdet's ``CheckInvalidLossHook`` checks the loss afterwards, when the weights
    are lost. The report of the :class:`NonFiniteError` names the iteration, the loss terms, the
    images, the first module with such an output, weights that were not finite before, and what to
    try. An assigner's complaint about NaN predictions becomes the same report.

    Infinite gradients of float16 are left to the loss scaler, which skips such steps.

    >>> hook = NaNGuardHook()
    """

    def before_train(self, runner: Runner) -> None:
        """Add the checks to the training step, compiled or not."""
        model = _unwrap(runner.model)
        parse_losses, train_step = model.parse_losses, runner.model.train_step

        @torch.compiler.disable
        def checked_losses(losses: dict) -> tuple[Tensor, dict]:
            loss, terms = parse_losses(losses)
            if not math.isfinite(loss.detach()):
                raise NonFiniteError(_describe_terms(terms))
            return loss, terms

        def checked_step(data: Any, optim_wrapper: OptimWrapper) -> dict:
            try:
                return train_step(data, optim_wrapper=optim_wrapper)
            except NonFiniteError as error:
                raise NonFiniteError(_report(runner, data, str(error))) from None
            except ValueError as error:
                if _is_finite(list(_named_weights(model).values())) and (
                    _first_bad_module(model, optim_wrapper, data) is None
                ):
                    raise
                raise NonFiniteError(_report(runner, data, str(error))) from error

        self.undo: list[Callable[[], None]] = [
            _replace(model, 'parse_losses', checked_losses),
            _replace(runner.model, 'train_step', checked_step),
        ]
        wrappers = [runner.optim_wrapper]
        if isinstance(runner.optim_wrapper, OptimWrapperDict):
            wrappers = runner.optim_wrapper.values()
        for one in wrappers:
            self.undo.append(one.optimizer.register_step_pre_hook(_check_gradients).remove)

    def after_train(self, runner: Runner) -> None:
        """Remove the checks."""
        for undo in self.undo:
            undo()


def find_non_finite(model: nn.Module, data: Any) -> str | None:
    """Name the first module, in the order of a forward pass, whose output is not finite.

    Args:
        model (nn.Module): A detector, not in a wrapper. Statistics of its norms may change.
        data (Any): The batch as the data loader yielded it.

    Returns:
        str, optional: 'data_preprocessor' if the images are not finite, None if everything up to
        the predictions is finite.
    """
    found = []

    def check(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not found and not _is_finite(output):
            found.append(name)

    hooks = [
        module.register_forward_hook(partial(check, name))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    try:
        with torch.no_grad():
            batch = model.data_preprocessor(data, True)
            if not _is_finite(batch):
                return 'data_preprocessor'
            model(**batch, mode='tensor')
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _replace(owner: nn.Module, name: str, function: Callable) -> Callable[[], None]:
    """Set an attribute of an instance; return what sets back, for one, a compiled step."""
    before = vars(owner).get(name)
    setattr(owner, name, function)
    return partial(setattr, owner, name, before) if before else partial(delattr, owner, name)


@torch.compiler.disable
def _check_gradients(optimizer: torch.optim.Optimizer, *args) -> None:
    """Raise if a gradient is not finite."""
    if hasattr(optimizer, 'grad_scale'):  # a fused optimizer skips such a step itself
        return
    parameters = [one for group in optimizer.param_groups for one in group['params']]
    norm = get_total_norm([one.grad for one in parameters if one.grad is not None])
    if not norm.isfinite():
        raise NonFiniteError(f'the norm of the gradients is {norm.item()}, the losses are finite')


def _describe_terms(terms: dict[str, Tensor]) -> str:
    """Name the terms that are not finite, and the values of the others."""
    values = {name: float(value.detach()) for name, value in terms.items() if name != 'loss'}
    bad = [f'{name} is {value}' for name, value in values.items() if not math.isfinite(value)]
    good = [f'{name} is {value:.4g}' for name, value in values.items() if math.isfinite(value)]
    return ', '.join(bad or ['the sum of all losses overflows']) + (
        f' ({", ".join(good)})' if good else ''
    )


def _report(runner: Runner, data: Any, reason: str) -> str:
    """Describe the iteration, and what to try."""
    model = _unwrap(runner.model)
    lost = [name for name, value in _named_weights(model).items() if not _is_finite(value)]
    module = _first_bad_module(model, runner.optim_wrapper, data)
    rates = sorted(set(sum(runner.optim_wrapper.get_lr().values(), [])))
    images = [str(meta.get('img_path', meta.get('img_id'))) for meta in _metainfos(data)]
    if module == 'data_preprocessor':
        hint = 'the images themselves are not finite; check them and the pipeline'
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
            '(optim_wrapper.clip_grad=dict(max_norm=10)); check the boxes of these images'
        )
    report = '\n'.join(
        [
            f'Training stopped in iteration {runner.iter + 1} (epoch {runner.epoch + 1}), '
            f'before its step: {reason}',
            f'  images: {", ".join(images)}',
            f'  first module with such an output: {module or "none up to the predictions"}',
            f'  weights lost: {join_first(lost, 3) or "none"}',
            f'  learning rate: {", ".join(f"{rate:.3g}" for rate in rates)}',
            f'  hint: {hint}',
        ]
    )
    runner.logger.error(report)
    return report


def _first_bad_module(model: nn.Module, optim_wrapper: OptimWrapper, data: Any) -> str | None:
    if get_world_size() > 1 and any(isinstance(m, nn.SyncBatchNorm) for m in model.modules()):
        return 'not searched for: the other processes would have to take part'
    with optim_wrapper.optim_context(model):
        return find_non_finite(model, data)


def _named_weights(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _is_finite(value: Any) -> bool:
    """Whether all floating point tensors inside some nesting are finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, (list, tuple)) or all(map(_is_finite, value))


def _metainfos(data: Any) -> Iterator[dict]:
    """Meta information of the data samples inside some nesting."""
    if hasattr(data, 'metainfo'):
        yield data.metainfo
    elif isinstance(data, (dict, list, tuple)):
        for item in data.values() if isinstance(data, dict) else data:
            yield from _metainfos(item)


def _unwrap(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
