"""Recording of assigner calls from outside; any mmdet detector or head works unchanged."""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.structures.bbox import cat_boxes, get_box_tensor
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

#: Attributes under which mmdet's detectors keep the head whose assigner assigns priors.
HEADS = ('bbox_head', 'rpn_head')


class Assignment(NamedTuple):
    """One call of an assigner.

    Attributes:
        pred_instances (InstanceData): Predictions that the head passed, at least ``priors``.
        gt_instances (InstanceData): Gts, in pixels of the network input.
        result (AssignResult): Result of the call.
        levels (Tensor, optional): Level of each prior, 0 the finest, -1 if unknown, int64,
            (num_priors,). None if the head has no prior generator.
        strides (tuple[int]): Stride of each level in pixels, empty without a prior generator.
        reassign (Callable, optional): Calls a copy of the assigner with other gts (InstanceData),
            no ignore regions and otherwise the same arguments.
    """

    pred_instances: InstanceData
    gt_instances: InstanceData
    result: AssignResult
    levels: Tensor | None = None
    strides: tuple[int, ...] = ()
    reassign: Callable[[InstanceData], AssignResult] | None = None


def find_assigner_head(model: nn.Module) -> nn.Module:
    """Find the head of a detector that has an assigner, ``bbox_head`` or ``rpn_head``.

    Raises:
        ValueError: There is none, as in detectors that assign by a formula (FCOS), or in models
            built without ``train_cfg``.
    """
    for name in HEADS:
        head = getattr(model, name, None)
        if head is not None and getattr(head, 'assigner', None) is not None:
            return head
    heads = [type(getattr(model, name)).__name__ for name in HEADS if hasattr(model, name)]
    raise ValueError(
        f'{type(model).__name__} ({", ".join(heads) or "no " + " or ".join(HEADS)}) has no '
        'assigner. Expected a detector whose bbox_head or rpn_head has `assigner`, built with the '
        'train_cfg of its config; heads like FCOSHead assign by a formula instead'
    )


@contextmanager
def watch_assignments(head: nn.Module, callback: Callable[[Assignment], None]) -> Iterator[None]:
    """Pass every call of the head's assigners to a callback while the context is active.

    Args:
        head (nn.Module): A head with ``assigner``; further assigners (TOODHead) are included.
        callback (Callable): Receives each :class:`Assignment`, in the order of the calls.

    Raises:
        ValueError: The head has no assigner (built without ``train_cfg``).
    """
    if getattr(head, 'assigner', None) is None:
        raise ValueError(
            f'{type(head).__name__} has no assigner; build the model with the '
            'train_cfg of its config'
        )
    assigners = {id(one): one for one in vars(head).values() if isinstance(one, BaseAssigner)}
    assigners.setdefault(id(head.assigner), head.assigner)
    grid = _PriorGrid(head)
    with ExitStack() as stack:
        stack.callback(head.register_forward_hook(grid.store_sizes).remove)
        for assigner in assigners.values():
            stack.enter_context(_listen(assigner, _create_listener(assigner, grid, callback)))
        yield


@contextmanager
def record_assignments(head: nn.Module) -> Iterator[list[Assignment]]:
    """Record every call of the head's assigners in the yielded list.

    Raises:
        ValueError: The head has no assigner (built without ``train_cfg``).
    """
    calls = []
    with watch_assignments(head, calls.append):
        yield calls


class _ListenedAssign:
    """Replaces ``assign`` of an assigner while there are listeners, which may end in any order."""

    def __init__(self, assigner) -> None:
        self.assign = assigner.assign
        self.listeners: list[Callable] = []

    def __call__(self, pred_instances, *args, **kwargs) -> AssignResult:
        result = self.assign(pred_instances, *args, **kwargs)
        for listener in self.listeners:
            listener(result, pred_instances, *args, **kwargs)
        return result


@contextmanager
def _listen(assigner, listener: Callable) -> Iterator[None]:
    """Pass result and arguments of each call of the assigner to a listener."""
    if not isinstance(vars(assigner).get('assign'), _ListenedAssign):
        assigner.assign = _ListenedAssign(assigner)
    wrapped = assigner.assign
    wrapped.listeners.append(listener)
    try:
        yield
    finally:
        wrapped.listeners.remove(listener)
        if not wrapped.listeners:
            del assigner.assign
            if assigner.assign != wrapped.assign:  # it was an attribute of the instance
                assigner.assign = wrapped.assign


def _create_listener(
    assigner, grid: '_PriorGrid', callback: Callable[[Assignment], None]
) -> Callable:
    """Create a listener that passes every call to the callback as an :class:`Assignment`."""

    def listener(result: AssignResult, pred_instances: InstanceData, *args, **kwargs) -> None:
        # Some assigners take more between predictions and gts, ATSSAssigner the level sizes.
        arguments = (*args, *(kwargs.get(key) for key in ('gt_instances', 'gt_instances_ignore')))
        gt_instances, *ignored = (arg for arg in arguments if isinstance(arg, InstanceData))

        def reassign(gts: InstanceData) -> AssignResult:
            swap = {id(gt_instances): gts, **{id(one): None for one in ignored}}
            copied = object.__new__(type(assigner))
            state = {name: value for name, value in vars(assigner).items() if name != 'assign'}
            vars(copied).update(copy.deepcopy(state))
            return copied.assign(
                pred_instances,
                *(swap.get(id(arg), arg) for arg in args),
                **{key: swap.get(id(arg), arg) for key, arg in kwargs.items()},
            )

        levels = grid.find_levels(pred_instances.priors) if 'priors' in pred_instances else None
        callback(Assignment(pred_instances, gt_instances, result, levels, grid.strides, reassign))

    return listener


class _PriorGrid:
    """Finds the levels of a head's priors from the sizes of its outputs."""

    def __init__(self, head: nn.Module) -> None:
        self.generator = getattr(head, 'prior_generator', None)
        self.strides = tuple(
            max(stride) if isinstance(stride, (tuple, list)) else stride
            for stride in getattr(self.generator, 'strides', ())
        )
        self.sizes: list[tuple[int, int]] = []

    def store_sizes(self, head: nn.Module, args: tuple, outputs: tuple) -> None:
        """Store height and width of each level; a forward hook."""
        levels = outputs[0] if isinstance(outputs, (tuple, list)) else ()
        self.sizes = [
            tuple(one.shape[-2:]) for one in levels if isinstance(one, Tensor) and one.dim() == 4
        ]

    def find_levels(self, priors: Tensor) -> Tensor | None:
        """Return the level of each prior, without synchronizing with the device.

        Heads pass all priors in order, or some of them (AnchorHead in a padded batch, or with
        ``allowed_border``), which are then found among all by their values.
        """
        if not self.strides or len(self.sizes) != len(self.strides):
            return None
        priors = get_box_tensor(priors)
        num_level_priors = [
            n * h * w for n, (h, w) in zip(self.generator.num_base_priors, self.sizes, strict=True)
        ]
        total = sum(num_level_priors)
        levels = torch.cat(
            [
                torch.full((count,), level, device=priors.device)
                for level, count in enumerate(num_level_priors)
            ]
        )
        if len(priors) == total:
            return levels
        grid = self._create_grid(priors)
        if grid.size(1) != priors.size(1):
            return torch.full((len(priors),), -1, device=priors.device)
        keys, order = _hash_rows(grid).sort()
        position = torch.searchsorted(keys, _hash_rows(priors)).clamp(max=total - 1)
        index = order[position]
        return torch.where((grid[index] == priors).all(1), levels[index], -1)

    def _create_grid(self, priors: Tensor) -> Tensor:
        create = self.generator.grid_priors
        grid = get_box_tensor(cat_boxes(create(self.sizes, device=priors.device)))
        if grid.size(1) == 2 and priors.size(1) == 4:
            grid = cat_boxes(create(self.sizes, device=priors.device, with_stride=True))
        return grid.to(priors.dtype)


def _hash_rows(rows: Tensor) -> Tensor:
    """One int64 per row of floats, equal for equal rows."""
    bits = rows.contiguous().float().view(torch.int32).long()
    mixed = torch.zeros_like(bits[:, 0])
    for column in bits.unbind(1):
        mixed = (mixed ^ column) * 0x165667B19E3779F9
        mixed = mixed ^ (mixed >> 29)
    return mixed


@torch.no_grad()
def compute_assignments(model: nn.Module, samples: list[dict]) -> list[Assignment]:
    """Run a detector's own loss on images and record its assignments.

    Args:
        model (nn.Module): An mmdet detector whose head has an assigner, see
            :func:`find_assigner_head`. Its weights and statistics are left unchanged.
        samples (list[dict]): Outputs of the dataset's pipeline, ``inputs`` and ``data_samples``;
            they are left unchanged, and batch augmentation is not applied.

    Raises:
        ValueError: No head has an assigner, or it is not called once per image.
    """
    head = find_assigner_head(model)
    training = {module: module.training for module in model.modules()}
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    try:
        with record_assignments(head) as calls:
            copies = [
                {**sample, 'data_samples': copy.deepcopy(sample['data_samples'])}
                for sample in samples
            ]
            data = model.data_preprocessor(pseudo_collate(copies), training=False)
            model(**data, mode='loss')
    finally:
        for module, state in training.items():
            module.training = state
    if len(calls) != len(samples):
        raise ValueError(
            f'{type(head).__name__} called its assigner {len(calls)} times '
            f'for {len(samples)} images; expected one call per image'
        )
    return calls
