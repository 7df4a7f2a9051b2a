"""What an assigner decided, seen from outside: no special detector or head is needed."""

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

#: Where mmdet's detectors keep the head whose assigner decides about priors.
HEADS = ('bbox_head', 'rpn_head')


class Assignment(NamedTuple):
    """One call of an assigner.

    Attributes:
        pred_instances (InstanceData): What the head handed over, ``priors`` at least.
        gt_instances (InstanceData): The boxes, in pixels of the network's input.
        result (AssignResult): The decision.
        levels (Tensor, optional): Level of each prior, 0 the finest, -1 where it is not known,
            int64, (num_priors,). None if the head has no prior generator.
        strides (tuple[int]): Stride of each level in pixels, none without a prior generator.
        again (Callable, optional): Calls the assigner with other boxes (InstanceData), no ignore
            boxes, and everything else as it was; the assigner itself stays untouched.
    """

    pred_instances: InstanceData
    gt_instances: InstanceData
    result: AssignResult
    levels: Tensor | None = None
    strides: tuple[int, ...] = ()
    again: Callable[[InstanceData], AssignResult] | None = None


def head_with_assigner(model: nn.Module) -> nn.Module:
    """The head of a detector that has an assigner, ``bbox_head`` or ``rpn_head``.

    Raises:
        ValueError: If there is none, as in detectors that assign by a formula (FCOS), or in models
            built without ``train_cfg``.
    """
    for name in HEADS:
        head = getattr(model, name, None)
        if head is not None and getattr(head, 'assigner', None) is not None:
            return head
    heads = [type(getattr(model, name)).__name__ for name in HEADS if hasattr(model, name)]
    raise ValueError(
        f'{type(model).__name__} ({", ".join(heads) or "no " + " or ".join(HEADS)}) has no '
        'assigner to look at. Expected a detector whose bbox_head or rpn_head has `assigner`, '
        'built with the train_cfg of its config; heads like FCOSHead assign by a formula instead'
    )


@contextmanager
def watched(head: nn.Module, seen: Callable[[Assignment], None]) -> Iterator[None]:
    """Within the context, ``seen`` is given every call of the head's assigners, as it is made.

    Args:
        head (nn.Module): A head with ``assigner``; further ones (TOODHead) are watched too.
        seen (Callable): Is given each :class:`Assignment`, in the order of the calls.

    Raises:
        ValueError: If the head has no assigner (built without ``train_cfg``).
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
        stack.callback(head.register_forward_hook(grid.note_sizes).remove)
        for assigner in assigners.values():
            stack.enter_context(_listening(assigner, _noting(assigner, grid, seen)))
        yield


@contextmanager
def recorded(head: nn.Module) -> Iterator[list[Assignment]]:
    """Within the context, every call of the head's assigners is noted in the list it gives.

    Raises:
        ValueError: If the head has no assigner (built without ``train_cfg``).
    """
    calls = []
    with watched(head, calls.append):
        yield calls


class _Listened:
    """Stands in for an assigner's ``assign`` while somebody listens, whoever stops first."""

    def __init__(self, assigner) -> None:
        self.assign = assigner.assign
        self.listeners: list[Callable] = []

    def __call__(self, pred_instances, *args, **kwargs) -> AssignResult:
        result = self.assign(pred_instances, *args, **kwargs)
        for listener in self.listeners:
            listener(result, pred_instances, *args, **kwargs)
        return result


@contextmanager
def _listening(assigner, listener: Callable) -> Iterator[None]:
    """Within the context, ``listener`` is given what each call of the assigner was and gave."""
    before = vars(assigner).get('assign')
    if not isinstance(before, _Listened):
        assigner.assign = _Listened(assigner)
    listened = assigner.assign
    listened.listeners.append(listener)
    try:
        yield
    finally:
        listened.listeners.remove(listener)
        if not listened.listeners:
            del assigner.assign
            if assigner.assign != listened.assign:  # it was the instance's own
                assigner.assign = listened.assign


def _noting(assigner, grid: '_PriorGrid', seen: Callable[[Assignment], None]) -> Callable:
    """A listener that gives ``seen`` every call as an :class:`Assignment`."""

    def listener(result: AssignResult, pred_instances: InstanceData, *args, **kwargs) -> None:
        # Some assigners want more between predictions and boxes, ATSSAssigner the level sizes.
        given = (*args, *(kwargs.get(key) for key in ('gt_instances', 'gt_instances_ignore')))
        gt_instances, *ignored = (arg for arg in given if isinstance(arg, InstanceData))

        def again(boxes: InstanceData) -> AssignResult:
            swap = {id(gt_instances): boxes, **{id(one): None for one in ignored}}
            return _copied(assigner).assign(
                pred_instances,
                *(swap.get(id(arg), arg) for arg in args),
                **{key: swap.get(id(arg), arg) for key, arg in kwargs.items()},
            )

        levels = grid.levels_of(pred_instances.priors) if 'priors' in pred_instances else None
        seen(Assignment(pred_instances, gt_instances, result, levels, grid.strides, again))

    return listener


def _copied(assigner):
    """An assigner like this one that nobody listens to."""
    copied = object.__new__(type(assigner))
    vars(copied).update(
        copy.deepcopy({name: value for name, value in vars(assigner).items() if name != 'assign'})
    )
    return copied


class _PriorGrid:
    """Tells the levels of a head's priors from the sizes of its outputs."""

    def __init__(self, head: nn.Module) -> None:
        self.generator = getattr(head, 'prior_generator', None)
        self.strides = tuple(
            max(stride) if isinstance(stride, (tuple, list)) else stride
            for stride in getattr(self.generator, 'strides', ())
        )
        self.sizes: list[tuple[int, int]] = []

    def note_sizes(self, head: nn.Module, args: tuple, outputs: tuple) -> None:
        """A forward hook: heights and widths of the levels."""
        levels = outputs[0] if isinstance(outputs, (tuple, list)) else ()
        self.sizes = [
            tuple(one.shape[-2:]) for one in levels if isinstance(one, Tensor) and one.dim() == 4
        ]

    def levels_of(self, priors: Tensor) -> Tensor | None:
        """Level of each prior; nothing is read back from the device.

        Heads hand over all priors in order, or (AnchorHead's in a padded batch, or with
        ``allowed_border``) some, which are then found among all by their values.
        """
        if not self.strides or len(self.sizes) != len(self.strides):
            return None
        priors = get_box_tensor(priors)
        counts = [
            n * h * w for n, (h, w) in zip(self.generator.num_base_priors, self.sizes, strict=True)
        ]
        total = sum(counts)
        levels = torch.cat(
            [
                torch.full((count,), level, device=priors.device)
                for level, count in enumerate(counts)
            ]
        )
        if len(priors) == total:
            return levels
        grid = self._grid(priors)
        if grid.size(1) != priors.size(1):
            return torch.full((len(priors),), -1, device=priors.device)
        keys, order = _hash(grid).sort()
        place = torch.searchsorted(keys, _hash(priors)).clamp(max=total - 1)
        index = order[place]
        return torch.where((grid[index] == priors).all(1), levels[index], -1)

    def _grid(self, priors: Tensor) -> Tensor:
        make = self.generator.grid_priors
        grid = get_box_tensor(cat_boxes(make(self.sizes, device=priors.device)))
        if grid.size(1) == 2 and priors.size(1) == 4:
            grid = cat_boxes(make(self.sizes, device=priors.device, with_stride=True))
        return grid.to(priors.dtype)


def _hash(rows: Tensor) -> Tensor:
    """One int64 a row of floats, the same for the same rows."""
    bits = rows.contiguous().float().view(torch.int32).long()
    mixed = torch.zeros_like(bits[:, 0])
    for column in bits.unbind(1):
        mixed = (mixed ^ column) * 0x165667B19E3779F9
        mixed = mixed ^ (mixed >> 29)
    return mixed


@torch.no_grad()
def assignments_of(model: nn.Module, samples: list[dict]) -> list[Assignment]:
    """Run a detector's own loss on pictures and note what its assigner decides.

    Args:
        model (nn.Module): An mmdet detector whose head has an assigner, see
            :func:`head_with_assigner`. Its weights and statistics stay as they are.
        samples (list[dict]): What the dataset's pipeline gives, ``inputs`` and ``data_samples``;
            they stay as they are, and no augmentation of batches is applied to them.

    Returns:
        list[Assignment]: One a picture, in order.

    Raises:
        ValueError: If no head has an assigner, or it is not called once a picture.
    """
    head = head_with_assigner(model)
    training = {module: module.training for module in model.modules()}
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    try:
        with recorded(head) as calls:
            data = pseudo_collate(
                [
                    {**sample, 'data_samples': copy.deepcopy(sample['data_samples'])}
                    for sample in samples
                ]
            )
            model(**model.data_preprocessor(data, training=False), mode='loss')
    finally:
        for module, state in training.items():
            module.training = state
    if len(calls) != len(samples):
        raise ValueError(
            f'{type(head).__name__} called its assigner {len(calls)} times '
            f'for {len(samples)} pictures; expected one call a picture'
        )
    return calls
