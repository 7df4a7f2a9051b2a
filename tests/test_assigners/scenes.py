"""Random gts and predictions in every form that a head may pass to an assigner."""

import torch
from mmdet.models.task_modules import AnchorGenerator, MlvlPointGenerator
from torch import Tensor

PRIORS = ('points', 'strided', 'anchors', 'scattered')


def make_priors(kind: str, height: int, width: int, rng: torch.Generator) -> Tensor:
    strides = (8, 16, 32)
    sizes = [(-(-height // s), -(-width // s)) for s in strides]
    if kind == 'anchors':
        generator = AnchorGenerator(strides=list(strides), ratios=[1.0, 2.0], scales=[4])
        return torch.cat(generator.grid_priors(sizes, device='cpu'))
    points = torch.cat(
        MlvlPointGenerator(strides=list(strides), offset=0).grid_priors(
            sizes, device='cpu', with_stride=kind == 'strided'
        )
    )
    if kind == 'scattered':
        order = torch.randperm(len(points), generator=rng)
        points = points[order] + torch.rand(len(points), 2, generator=rng)
    return points


def centers(priors: Tensor, kind: str) -> Tensor:
    return (priors[:, :2] + priors[:, 2:]) / 2 if kind == 'anchors' else priors[:, :2]


def make_scene(
    seed: int,
    kind: str,
    num_boxes: int,
    num_classes: int,
    spread: float,
    size: float,
    height: int = 96,
    width: int = 128,
) -> dict[str, Tensor]:
    """Return priors, predictions and gts.

    ``size`` is the boxes' scale in pixels, ``spread`` that of the logits.
    """
    rng = torch.Generator().manual_seed(seed)
    priors = make_priors(kind, height, width, rng)
    points = centers(priors, kind)
    middle = torch.rand(num_boxes, 2, generator=rng) * torch.tensor([1.4 * width, 1.4 * height])
    middle -= torch.tensor([0.2 * width, 0.2 * height])
    half = torch.rand(num_boxes, 2, generator=rng) * torch.tensor([0.5, 1.0]) * size
    half[torch.rand(num_boxes, generator=rng) < 0.05] = 0
    boxes = torch.cat([middle - half, middle + half], 1)
    preds = torch.cat([points, points], 1)
    preds += torch.rand(len(points), 4, generator=rng) * torch.tensor([-1, -1, 1, 1.0]) * size
    # A good share of predictions nearly fits some box, as late in a training.
    fits = torch.rand(len(points), generator=rng) < 0.5
    near = torch.randint(max(num_boxes, 1), (len(points),), generator=rng)
    if num_boxes:
        noise = torch.randn(len(points), 4, generator=rng) * size / 10
        preds = torch.where(fits[:, None], boxes[near] + noise, preds)
    return dict(
        priors=priors,
        points=points,
        preds=preds,
        boxes=boxes,
        scores=torch.randn(len(points), num_classes, generator=rng) * spread - 2,
        classes=torch.randint(num_classes, (num_boxes,), generator=rng),
        ignored=torch.rand(num_boxes, generator=rng) < 0.2,
    )
