"""Operators and host-device synchronizations of assigners per batch, counted without a GPU.

``python benchmarks/operators.py`` prints the table. On a GPU an operator is a kernel launch, 5 to
10 us of the host's time however small, and every synchronization leaves the device idle. A CPU's
times show neither, but both can be counted: :class:`StandIn` runs tensors that claim to be on a
device, rejects mixing them with those of the host, as CUDA does, and counts.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from mmengine.structures import InstanceData
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

sys.path.insert(0, str(Path(__file__).resolve().parent))
import assigners

from mmdet_lla import LLAAssigner

#: A kind of device that torch knows by name alone: nothing runs there by accident.
DEVICE = torch.device('lazy', 0)

#: What makes CUDA's host wait for the device: the size of the result, or the result itself, has to
#: be known. (Bool indices, ``repeat_interleave`` without ``output_size`` and copies: see below.)
WAITING = {
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
#: Of these an index may be the host's, and is copied.
INDEXED = ('aten::index', 'aten::index_put', 'aten::index_put_')
COPIES = ('aten::_to_copy', 'aten::copy_')

#: What only looks at a tensor in another way, beside those that torch calls views.
LOOKS = {'aten::_unsafe_view', 'aten::detach', 'aten::lift_fresh'}


class OnDevice(Tensor):
    """A tensor that says it is on :data:`DEVICE`; its values are in ``host``."""

    @staticmethod
    def __new__(cls, host: Tensor) -> OnDevice:
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
        """Torch's looks at the memory of a tensor itself, once it has brought it to the host."""
        return self.cpu().tolist()

    def numpy(self, *args, **kwargs) -> Any:
        raise TypeError("can't convert a tensor of a device to numpy, use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f'{func} of a tensor of a StandIn, outside of it')


class StandIn(TorchDispatchMode):
    """Within the context there is a device, :data:`DEVICE`, that counts what is asked of it.

    Attributes:
        operators (Counter): Calls of each operator, views aside; those on the host's tensors, too.
        waits (Counter): Calls that synchronize host and device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter = Counter()
        self.waits: Counter = Counter()
        self._stack = ExitStack()

    def __enter__(self) -> StandIn:
        # CUDA has autocast, and does not look at the classes of one_hot; this device is not asked.
        self._stack.enter_context(patch('torch.autocast', lambda *args, **kwargs: nullcontext()))
        self._stack.enter_context(patch('torch.nn.functional.one_hot', _one_hot))
        # These two make a tensor on the host and copy it, behind the back of any dispatch.
        self._stack.enter_context(patch.object(Tensor, 'new_tensor', _new_tensor))
        self._stack.enter_context(patch('torch.tensor', _tensor))
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self._stack.close()

    def reset(self) -> None:
        """Count anew."""
        self.operators.clear()
        self.waits.clear()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.name().partition('.')[0]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        here = any(isinstance(one, OnDevice) for one in tensors)
        elsewhere = any(not isinstance(one, OnDevice) and one.dim() for one in tensors)
        target = kwargs.get('device')
        to_device = target is not None and torch.device(target).type == DEVICE.type
        indexed = name in INDEXED and isinstance(args[0], OnDevice)
        if here and elsewhere and name not in COPIES and not indexed:
            raise RuntimeError(f'{func}: expected all tensors to be on the same device')
        if not func.is_view and name not in LOOKS:
            self.operators[name] += 1
        if here or to_device:
            reason = self._waits(name, args, kwargs, here and elsewhere, target, to_device)
            if reason:
                self.waits[reason] += 1
        if target is not None:
            kwargs = {**kwargs, 'device': torch.device('cpu')}
        host = lambda one: one.host if isinstance(one, OnDevice) else one  # noqa: E731
        found = func(*tree_map(host, args), **tree_map(host, kwargs))
        if name == 'aten::copy_':
            return args[0]
        if to_device or (here and (target is None or to_device)):
            found = tree_map(lambda one: OnDevice(one) if isinstance(one, Tensor) else one, found)
            if here:
                return return_and_correct_aliasing(func, args, kwargs, found)
        return found

    @staticmethod
    def _waits(
        name: str, args: tuple, kwargs: dict, mixed: bool, target: Any, to_device: bool
    ) -> str | None:
        """Return why the call synchronizes with the device, None if it does not."""
        if name in WAITING:
            return name
        if name == 'aten::repeat_interleave' and kwargs.get('output_size') is None:
            return name + ' without output_size'
        if name in INDEXED:
            indices = [one for one in args[1] if one is not None]
            if any(one.dtype is torch.bool for one in indices):
                return name + ' by a mask'
            return name + ' by an index of the host' if mixed else None
        if name == 'aten::copy_' and mixed:
            return None if isinstance(args[0], OnDevice) and args[2:] == (True,) else name
        if name == 'aten::_to_copy':
            from_host = not isinstance(args[0], OnDevice)
            if target is not None and not to_device:
                return 'copy to the host'
            if from_host and not kwargs.get('non_blocking'):
                return 'copy from the host, waited for'
        return None


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    table = labels.new_zeros(*labels.shape, num_classes)
    return table.scatter_(-1, labels.unsqueeze(-1), 1)


_make = torch.tensor


def _tensor(data: Any, *, dtype=None, device=None, **kwargs) -> Tensor:
    made = _make(data, dtype=dtype, **kwargs)
    return made if device is None else made.to(device)


def _new_tensor(like: Tensor, data: Any, *, dtype=None, device=None) -> Tensor:
    return _make(data, dtype=dtype or like.dtype).to(device or like.device)


def put(values: Any) -> Any:
    """Tensors, also those in InstanceData, lists and dicts, put on the device."""

    def move(one: Any) -> Any:
        if isinstance(one, InstanceData):
            return InstanceData(**put(dict(one.items())))
        return OnDevice(one) if isinstance(one, Tensor) else one

    return tree_map(move, values)


def make_batches(num_imgs: int, num_boxes: int, num_classes: int) -> dict[str, Callable[[], Any]]:
    """Prepare calls of every assigner for all images of a batch; of LLA at once, too."""
    images = [
        put(assigners.make_inputs(num_boxes, num_classes, seed, 'cpu')) for seed in range(num_imgs)
    ]
    singles = [assigners.make_calls(one) for one in images]
    priors = images[0]['points']
    bboxes, logits = (torch.stack([one[name] for one in images]) for name in ('preds', 'logits'))
    boxes = [InstanceData(bboxes=one['boxes'], labels=one['labels']) for one in images]
    lla = LLAAssigner()
    calls = {'LLA': lambda: lla.assign_batch(priors, bboxes, logits, boxes)}
    for name in singles[0]:
        label = 'LLA, image by image' if name == 'LLA' else name
        calls[label] = lambda name=name: [single[name]() for single in singles]
    return calls


def count(call: Callable, device: StandIn) -> tuple[int, int]:
    """Count operators and synchronizations of a call after a first one has filled the caches."""
    call()
    device.reset()
    call()
    return sum(device.operators.values()), sum(device.waits.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, nargs='+', default=[1, 2, 16])
    parser.add_argument('--boxes', type=int, nargs='+', default=[23, 100], help='per image')
    parser.add_argument('--classes', type=int, nargs='+', default=[1, 3])
    args = parser.parse_args()
    lines = []
    for num_classes in args.classes:
        for num_boxes in args.boxes:
            for num_imgs in args.images:
                with StandIn() as device, torch.no_grad():
                    calls = make_batches(num_imgs, num_boxes, num_classes)
                    found = {name: count(call, device) for name, call in calls.items()}
                if not lines:
                    lines = ['| images, gts, classes | ' + ' | '.join(found) + ' |']
                    lines += ['| --- ' * (len(found) + 1) + '|']
                    print(*lines, sep='\n')
                cells = [f'{operators:,} · {waits:,}' for operators, waits in found.values()]
                where = f'{num_imgs}, {num_boxes}, {num_classes}'
                print(f'| {where} | ' + ' | '.join(cells) + ' |', flush=True)
    print('\noperators per batch, without views · synchronizations')


if __name__ == '__main__':
    main()
