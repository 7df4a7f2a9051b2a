"""Focal losses (arXiv 1708.02002) with the signatures of mmcv's operators, which are for GPUs."""

import torch
from torch import Tensor

#: The smallest number a logarithm is taken of, FLT_MIN in C.
_TINY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss of every logit.

    Args:
        input (Tensor): (N, C) logits.
        target (Tensor): (N,) int64 classes; C is background.
        weight (Tensor): (C,) weights of the classes, or empty.
        output (Tensor): (N, C), becomes the losses.
        gamma (float): Exponent that plays down what is right already.
        alpha (float): Weight of the right class, ``1 - alpha`` that of the others.
    """
    p, is_target = input.sigmoid(), _is_target(input, target)
    positive = alpha * (1 - p) ** gamma * p.clamp(min=_TINY).log()
    negative = (1 - alpha) * p**gamma * (1 - p).clamp(min=_TINY).log()
    output.copy_(_weigh(-torch.where(is_target, positive, negative), target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Derivative of :func:`sigmoid_focal_loss_forward` by each logit, into ``grad_input``."""
    p, is_target = input.sigmoid(), _is_target(input, target)
    positive = alpha * (1 - p) ** gamma * (1 - p - gamma * p * p.clamp(min=_TINY).log())
    negative = (1 - alpha) * p**gamma * (gamma * (1 - p) * (1 - p).clamp(min=_TINY).log() - p)
    grad_input.copy_(_weigh(-torch.where(is_target, positive, negative), target, weight))


def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss of the right class of each row.

    Args:
        softmax (Tensor): (N, C) probabilities.
        target (Tensor): (N,) int64 classes; a negative one has no loss.
        weight (Tensor): (C,) weights of the classes, or empty.
        output (Tensor): (N,), becomes the losses.
        gamma (float): Exponent that plays down what is right already.
        alpha (float): Weight of the loss.
    """
    p = _of_target(softmax, target)
    loss = -alpha * (1 - p) ** gamma * p.clamp(min=_TINY).log()
    output.copy_(_weigh(loss.where(target >= 0, 0), target, weight))


def softmax_focal_loss_backward(
    softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of :func:`softmax_focal_loss_forward` by the logits, into ``grad_input``.

    Args:
        buff (Tensor): (N,), becomes the derivative by the logarithm of the right probability.
        grad_input (Tensor): (N, C).
    """
    p = _of_target(softmax, target)
    slope = gamma * (1 - p) ** (gamma - 1) * p * p.clamp(min=_TINY).log() - (1 - p) ** gamma
    buff.copy_(_weigh((alpha * slope).where(target >= 0, 0), target, weight))
    grad_input.copy_(buff[:, None] * (_is_target(softmax, target).to(softmax.dtype) - softmax))


def _is_target(scores: Tensor, target: Tensor) -> Tensor:
    """(N, C), whether a column is the class of its row."""
    return target[:, None] == torch.arange(scores.size(1), device=target.device)


def _of_target(softmax: Tensor, target: Tensor) -> Tensor:
    """(N,) probability of the class of each row; of the first one where there is none."""
    return softmax.gather(1, target.clamp(min=0)[:, None])[:, 0]


def _weigh(loss: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Losses of N rows, times the weights of their classes."""
    if not weight.numel():
        return loss
    return loss * weight[target.clamp(min=0)].view(-1, *[1] * (loss.dim() - 1))
