"""A simulated device that counts operators and synchronizations, for machines without a GPU.

On a GPU an operator is a kernel launch, 5 to 10 us of the host's time however small, and every
synchronization leaves the device idle. A CPU's times show neither, but both can be counted.

>>> with SimulatedDevice() as device:
...     values = to_device(torch.arange(4.0))
...     count = (values + 1).sum().item()
>>> count, sum(device.operators.values()), sum(device.synchronizations.values())
(10.0, 4, 1)
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from mmengine.structures import InstanceData
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

#: A device type without an implementation in torch, so nothing runs there by accident.
DEVICE = torch.device('lazy', 0)

#: Operators that synchronize because the host needs the result or its size.
SYNCHRONIZING = {
    'aten::_local_scalar_dense',
    'aten::_unique2',
    'aten::bincount',
    'aten::equal',
    'aten::is_nonzero',
    'aten::masked_select',
    'aten::nonzero',
    'aten::unique_consecutive',
    'aten::unique_dim',
}
#: Their indices may be on the host and are copied then.
INDEXING = ('aten::index', 'aten::index_put', 'aten::index_put_')
COPIES = ('aten::_to_copy', 'aten::copy_')

#: Operators that launch no kernel, in addition to torch's views.
VIEWS = {'aten::_unsafe_view', 'aten::detach', 'aten::lift_fresh'}


class SimulatedTensor(Tensor):
    """A tensor that claims to be on :data:`DEVICE`; its values are in ``host``."""

    @staticmethod
    def __new__(cls, host: Tensor) -> SimulatedTensor:
        made = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=DEVICE,
        )
        made.host = host.detach()
        return made

    def __init__(self, host: Tensor) -> None: ...

    def tolist(self) -> Any:
        # Torch's own would read the memory of this tensor.
        return self.cpu().tolist()

    def numpy(self, *args, **kwargs) -> Any:
        raise TypeError("can't convert a tensor of a device to numpy, use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f'{func}: a SimulatedTensor outside of its SimulatedDevice')


class SimulatedDevice(TorchDispatchMode):
    """Context in which tensors on :data:`DEVICE` work and their operators are counted.

    As on CUDA, an operator on tensors of both host and device is an error.

    Attributes:
        operators (Counter): Calls by operator, without views, including those on host tensors.
        synchronizations (Counter): Calls that synchronize host and device, by reason.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter = Counter()
        self.synchronizations: Counter = Counter()
        self._stack = ExitStack()

    def __enter__(self) -> SimulatedDevice:
        # DEVICE has no autocast, and one_hot would check its labels, which it does not on CUDA.
        self._stack.enter_context(patch('torch.autocast', lambda *args, **kwargs: nullcontext()))
        self._stack.enter_context(patch('torch.nn.functional.one_hot', _one_hot))
        # These two copy from the host without any dispatch.
        self._stack.enter_context(patch.object(Tensor, 'new_tensor', _new_tensor))
        self._stack.enter_context(patch('torch.tensor', _tensor))
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self._stack.close()

    def reset(self) -> None:
        """Set all counts to 0."""
        self.operators.clear()
        self.synchronizations.clear()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.name().partition('.')[0]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_device = any(isinstance(x, SimulatedTensor) for x in tensors)
        on_host = any(not isinstance(x, SimulatedTensor) and x.dim() for x in tensors)
        target = kwargs.get('device')
        moves = target is not None and torch.device(target).type == DEVICE.type
        indexed = name in INDEXING and isinstance(args[0], SimulatedTensor)
        if on_device and on_host and name not in COPIES and not indexed:
            raise RuntimeError(f'{func}: expected all tensors to be on the same device')
        if not func.is_view and name not in VIEWS:
            self.operators[name] += 1
        if on_device or moves:
            reason = self._find_reason(name, args, kwargs, on_device and on_host, target, moves)
            if reason:
                self.synchronizations[reason] += 1
        if target is not None:
            kwargs = {**kwargs, 'device': torch.device('cpu')}
        found = func(*tree_map(_to_host, args), **tree_map(_to_host, kwargs))
        if name == 'aten::copy_':
            return args[0]
        if moves or (on_device and (target is None or moves)):
            found = tree_map(lambda x: SimulatedTensor(x) if isinstance(x, Tensor) else x, found)
            if on_device:
                return return_and_correct_aliasing(func, args, kwargs, found)
        return found

    @staticmethod
    def _find_reason(
        name: str, args: tuple, kwargs: dict, mixed: bool, target: Any, moves: bool
    ) -> str | None:
        """Return why the call synchronizes with the device, None if it does not."""
        if name in SYNCHRONIZING:
            return name
        if name == 'aten::repeat_interleave' and kwargs.get('output_size') is None:
            return name + ' without output_size'
        if name in INDEXING:
            indices = [one for one in args[1] if one is not None]
            if any(one.dtype is torch.bool for one in indices):
                return name + ' by a mask'
            return name + ' by an index on the host' if mixed else None
        if name == 'aten::copy_' and mixed:
            return None if isinstance(args[0], SimulatedTensor) and args[2:] == (True,) else name
        if name == 'aten::_to_copy':
            from_host = not isinstance(args[0], SimulatedTensor)
            if target is not None and not moves:
                return 'copy to the host'
            if from_host and not kwargs.get('non_blocking'):
                return 'blocking copy from the host'
        return None


def _to_host(value: Any) -> Any:
    return value.host if isinstance(value, SimulatedTensor) else value


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    table = labels.new_zeros(*labels.shape, num_classes)
    return table.scatter_(-1, labels.unsqueeze(-1), 1)


_make = torch.tensor


def _tensor(data: Any, *, dtype=None, device=None, **kwargs) -> Tensor:
    made = _make(data, dtype=dtype, **kwargs)
    return made if device is None else made.to(device)


def _new_tensor(like: Tensor, data: Any, *, dtype=None, device=None) -> Tensor:
    return _make(data, dtype=dtype or like.dtype).to(device or like.device)


def to_device(values: Any) -> Any:
    """Move tensors to the simulated device, also those in InstanceData, lists and dicts."""

    def move(value: Any) -> Any:
        if isinstance(value, InstanceData):
            return InstanceData(**to_device(dict(value.items())))
        return SimulatedTensor(value) if isinstance(value, Tensor) else value

    return tree_map(move, values)
