"""What an assigner decided, seen from outside: no special detector or head is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from mmdet.models.task_modules import AssignResult
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class Assignment(NamedTuple):
    """One call of an assigner.

    Attributes:
        pred_instances (InstanceData): What the head handed over, ``priors`` at least.
        gt_instances (InstanceData): The boxes, in pixels of the network's input.
        result (AssignResult): The decision.
    """

    pred_instances: InstanceData
    gt_instances: InstanceData
    result: AssignResult


@contextmanager
def recorded(head: nn.Module) -> Iterator[list[Assignment]]:
    """Within the context, every call of ``head.assigner`` is noted in the list it gives.

    Raises:
        ValueError: If the head has no assigner (built without ``train_cfg``).
    """
    if getattr(head, 'assigner', None) is None:
        raise ValueError(f'{type(head).__name__} has no assigner; build the model with the '
                         'train_cfg of its config')
    assigner, calls = head.assigner, []
    assign = assigner.assign

    def noting(pred_instances, *args, **kwargs):
        result = assign(pred_instances, *args, **kwargs)
        # Some assigners want more between predictions and boxes, ATSSAssigner the level sizes.
        given = (*args, kwargs.get('gt_instances'))
        gt_instances = next(arg for arg in given if isinstance(arg, InstanceData))
        calls.append(Assignment(pred_instances, gt_instances, result))
        return result

    assigner.assign = noting
    try:
        yield calls
    finally:
        del assigner.assign


@torch.no_grad()
def assignments_of(model: nn.Module, samples: list[dict]) -> list[Assignment]:
    """Run a detector's own loss on pictures and note what its assigner decides.

    Args:
        model (nn.Module): An mmdet detector whose ``bbox_head`` has an assigner. Its weights and
            statistics stay as they are.
        samples (list[dict]): What the dataset's pipeline gives, ``inputs`` and ``data_samples``.

    Returns:
        list[Assignment]: One a picture, in order.
    """
    training = {module: module.training for module in model.modules()}
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    try:
        with recorded(model.bbox_head) as calls:
            data = model.data_preprocessor(pseudo_collate(samples), training=True)
            model(**data, mode='loss')
    finally:
        for module, state in training.items():
            module.training = state
    if len(calls) != len(samples):
        raise ValueError(f'{type(model.bbox_head).__name__} called its assigner {len(calls)} times '
                         f'for {len(samples)} pictures; expected one call a picture')
    return calls
