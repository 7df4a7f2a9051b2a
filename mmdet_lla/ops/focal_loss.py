"""Sigmoid focal loss (arXiv 1708.02002) with the signature of mmcv's operator for GPUs."""

import torch
from torch import Tensor

#: Smallest argument of a logarithm, FLT_MIN in C.
_TINY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Compute the focal loss of every logit; half precision is computed in float32.

    Args:
        input (Tensor): Logits, (N, C).
        target (Tensor): Classes, int64, (N,); C is background.
        weight (Tensor): Class weights, (C,), or empty.
        output (Tensor): Receives the losses, (N, C).
        gamma (float): Focusing exponent.
        alpha (float): Weight of the positive class; negatives have ``1 - alpha``.

    Example:
        >>> loss = torch.empty(1, 2)
        >>> sigmoid_focal_loss_forward(
        ...     torch.zeros(1, 2), torch.tensor([0]), torch.empty(0), loss, 2.0, 0.25)
        >>> loss
        tensor([[0.0433, 0.1300]])
    """
    p, is_target = _compute_scores(input, target)
    positive = alpha * (1 - p) ** gamma * p.clamp(min=_TINY).log()
    negative = (1 - alpha) * p**gamma * (1 - p).clamp(min=_TINY).log()
    output.copy_(_apply_weight(-torch.where(is_target, positive, negative), target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the gradient of :func:`sigmoid_focal_loss_forward` by the logits to ``grad_input``."""
    p, is_target = _compute_scores(input, target)
    positive = alpha * (1 - p) ** gamma * (1 - p - gamma * p * p.clamp(min=_TINY).log())
    negative = (1 - alpha) * p**gamma * (gamma * (1 - p) * (1 - p).clamp(min=_TINY).log() - p)
    grad_input.copy_(_apply_weight(-torch.where(is_target, positive, negative), target, weight))


def _compute_scores(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities, in float32 at least, and whether a column is the class of its row, (N, C)."""
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    columns = torch.arange(logits.size(1), device=target.device)
    return logits.sigmoid(), target[:, None] == columns


def _apply_weight(loss: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Multiply losses (N, C) by the weights of the rows' classes."""
    return loss * weight[target][:, None] if weight.numel() else loss
