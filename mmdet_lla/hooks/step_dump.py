"""One training step in a file: enough to do it again elsewhere, and nothing that executes."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import BaseBoxes
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from .checkpoint_files import AtomicBackend


def save_step(path: Path, data: Any, model: nn.Module, **facts) -> None:
    """Write a batch, the weights it met and some facts, plain values and tensors all.

    Args:
        path (Path): Where to.
        data (Any): The batch as the data loader gave it.
        model (nn.Module): Not in a wrapper.
        facts: Plain values, such as the iteration.
    """
    file = io.BytesIO()
    torch.save(dict(facts, batch=_pack(data), state_dict=model.state_dict()), file)
    AtomicBackend().put(file.getvalue(), path)


def load_step(path: Path) -> dict:
    """Read what :func:`save_step` wrote, with ``batch`` as the data loader gave it."""
    step = torch.load(path, map_location='cpu', weights_only=True)
    step['batch'] = _unpack(step['batch'])
    return step


def first_non_finite(model: nn.Module, data: Any) -> str | None:
    """Name of the first module, in the order of a forward pass, whose output is not finite.

    Args:
        model (nn.Module): A detector, not in a wrapper. Statistics of its norms may change.
        data (Any): The batch as the data loader gave it.

    Returns:
        str, optional: The module's name, 'data_preprocessor' if the pictures are not finite, None
        if everything up to the predictions is.
    """
    found = []

    def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not found and not _is_finite(output):
            found.append(name)

    hooks = [
        module.register_forward_hook(partial(look, name))
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


def _is_finite(value: Any) -> bool:
    """Whether all floating point tensors inside some nesting are finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, (list, tuple)) or all(map(_is_finite, value))


def _pack(value: Any) -> Any:
    """Data samples as dicts of tensors; masks and what else cannot be so written is left out."""
    if isinstance(value, BaseDataElement):
        packed = {key: _pack(item) for key, item in value.items()}
        kept = {key: item for key, item in packed.items() if isinstance(item, (Tensor, dict))}
        return dict(kept, metainfo=value.metainfo)
    if isinstance(value, dict):
        return {key: _pack(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item) for item in value]
    return value.tensor if isinstance(value, BaseBoxes) else value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict) and 'metainfo' in value:
        kind = (
            DetDataSample
            if any(isinstance(item, dict) and 'metainfo' in item for item in value.values())
            else InstanceData
        )
        return kind(
            metainfo=value['metainfo'],
            **{key: _unpack(item) for key, item in value.items() if key != 'metainfo'},
        )
    if isinstance(value, dict):
        return {key: _unpack(item) for key, item in value.items()}
    return [_unpack(item) for item in value] if isinstance(value, list) else value
