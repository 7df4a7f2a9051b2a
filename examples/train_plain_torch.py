"""Train a small point detector on random rectangles with LLA, in plain torch.

    python examples/train_plain_torch.py [--iters 150]

It needs torch and NumPy, but neither mmdet nor mmengine.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdet_lla.assigners import assign

SIZE, STRIDE = 64, 8


def make_batch(num_imgs: int, rng: torch.Generator) -> tuple[Tensor, list[Tensor]]:
    """Draw two bright rectangles per image: images (N, 1, 64, 64) and gt_bboxes (2, 4) each."""
    imgs = 0.1 * torch.rand(num_imgs, 1, SIZE, SIZE, generator=rng)
    gt_bboxes = []
    for img in imgs:
        size = torch.randint(12, 28, (2, 2), generator=rng)
        corner = torch.randint(0, SIZE - 28, (2, 2), generator=rng)
        for (x, y), (width, height) in zip(corner.tolist(), size.tolist(), strict=True):
            img[0, y : y + height, x : x + width] += 0.5
        gt_bboxes.append(torch.cat([corner, corner + size], 1).float())
    return imgs, gt_bboxes


class Detector(nn.Module):
    """Predict one box and one class logit per cell of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(
                layer
                for channels in ((1, 16), (16, 32), (32, 64))
                for layer in (
                    nn.Conv2d(*channels, 3, 2, 1),
                    nn.GroupNorm(4, channels[1]),
                    nn.ReLU(),
                )
            ),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
        )
        self.out = nn.Conv2d(64, 5, 1)
        cells = torch.arange(SIZE // STRIDE) * STRIDE + STRIDE / 2
        y, x = torch.meshgrid(cells, cells, indexing='ij')
        self.register_buffer('points', torch.stack([x, y], -1).view(-1, 2))  # (n, 2)

    def forward(self, imgs: Tensor) -> tuple[Tensor, Tensor]:
        """Return pred_bboxes (N, n, 4) and class logits (N, n, 1)."""
        out = self.out(self.body(imgs)).flatten(2).transpose(1, 2)  # (N, n, 5)
        sides = (out[..., :4] + 2).exp()  # left, top, right, bottom
        bboxes = torch.cat([self.points - sides[..., :2], self.points + sides[..., 2:]], -1)
        return bboxes, out[..., 4:] - 3


def compute_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute the IoU of boxes (n, 4), pair by pair."""
    lower, upper = torch.maximum(boxes1[:, :2], boxes2[:, :2]), torch.minimum(boxes1, boxes2)[:, 2:]
    inter = (upper - lower).clamp(min=0).prod(1)
    area1, area2 = ((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (boxes1, boxes2))
    return inter / (area1 + area2 - inter)


def compute_loss(model: Detector, imgs: Tensor, gt_bboxes: list[Tensor]) -> Tensor:
    """Assign priors to gts with LLA and return binary cross entropy + IoU loss."""
    bboxes, logits = model(imgs)
    gt_labels = [torch.zeros(len(gts), dtype=torch.long) for gts in gt_bboxes]
    found = assign(model.points, bboxes, logits, gt_bboxes, gt_labels, topk=5)
    positive = found.gt_inds > 0  # (N, n)
    targets = torch.cat(
        [gts[inds[inds > 0] - 1] for gts, inds in zip(gt_bboxes, found.gt_inds, strict=True)]
    )
    num_pos = positive.sum().clamp(min=1)
    loss_cls = F.binary_cross_entropy_with_logits(logits[..., 0], positive.float(), reduction='sum')
    loss_bbox = (1 - compute_iou(bboxes[positive], targets)).sum()
    return (loss_cls + loss_bbox) / num_pos


def main(argv: list[str] | None = None) -> list[float]:
    """Train and return the loss of every iteration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--iters', type=int, default=150, help='iterations (default: %(default)s)')
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    model, losses = Detector(), []
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for iteration in range(args.iters):
        loss = compute_loss(model, *make_batch(8, rng))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if iteration % 50 == 0 or iteration + 1 == args.iters:
            print(f'iteration {iteration + 1}: loss {loss.item():.2f}')
    return losses


if __name__ == '__main__':
    main()
