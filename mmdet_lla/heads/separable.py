"""Depthwise separable convolutions by config: ``conv_cfg=dict(type='SeparableConv2d')``."""

from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SeparableConv2d(nn.Conv2d):
    """A depthwise convolution followed by a 1 x 1 convolution, in place of a dense one.

    A 1 x 1 convolution stays a plain one. Takes the arguments of ``nn.Conv2d``, without
    ``groups``.

    Example:
        >>> import torch
        >>> conv = SeparableConv2d(8, 16, 3, padding=1)
        >>> conv(torch.zeros(1, 8, 5, 6)).shape, sum(p.numel() for p in conv.parameters())
        (torch.Size([1, 16, 5, 6]), 216)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride=1,
        padding=0,
        dilation=1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        if groups != 1:
            raise ValueError(f'SeparableConv2d: groups must be 1, got {groups}')
        point = kernel_size in (1, (1, 1))
        own = (stride, padding, dilation)
        super().__init__(in_channels, out_channels, 1, *(own if point else ()), bias=bias)
        self.depthwise = nn.Identity()
        if not point:
            self.depthwise = nn.Conv2d(
                in_channels, in_channels, kernel_size, *own, groups=in_channels, bias=False
            )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a batch, (N, in_channels, H, W)."""
        return super().forward(self.depthwise(x))


def factorize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Approximate a dense convolution by a depthwise and a 1 x 1 one, in least squares.

    Args:
        weight (Tensor): (out_channels, in_channels, height, width).

    Returns:
        tuple[Tensor, Tensor]: (in_channels, 1, height, width) and
        (out_channels, in_channels, 1, 1).

    Example:
        >>> import torch
        >>> depthwise, pointwise = torch.rand(2, 1, 3, 3), torch.rand(4, 2, 1, 1)
        >>> first, second = factorize(depthwise.transpose(0, 1) * pointwise)
        >>> torch.allclose(first.transpose(0, 1) * second, depthwise.transpose(0, 1) * pointwise)
        True
    """
    # One rank-1 problem for each input channel.
    left, values, right = weight.permute(1, 0, 2, 3).flatten(2).svd()
    root = values[:, :1].sqrt()
    depthwise = (right[..., 0] * root).unflatten(1, weight.shape[2:]).unsqueeze(1)
    return depthwise, (left[..., 0] * root).T[:, :, None, None]


def separate_weights(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Convert weights of a model with dense convolutions for its twin with separable ones.

    Args:
        weights (dict[str, Tensor]): State dict of the dense model.
        model (nn.Module): The twin.

    Returns:
        dict[str, Tensor]: State dict of the twin.

    Raises:
        KeyError: The dense model lacks a parameter.
    """
    separated = {name: weights[name] for name in model.state_dict() if name in weights}
    for name, module in model.named_modules():
        if isinstance(module, SeparableConv2d) and not isinstance(module.depthwise, nn.Identity):
            depthwise, pointwise = factorize(weights[f'{name}.weight'].float())
            separated[f'{name}.depthwise.weight'] = depthwise
            separated[f'{name}.weight'] = pointwise
    missing = model.state_dict().keys() - separated.keys()
    if missing:
        raise KeyError(f'the weights lack {", ".join(sorted(missing))}')
    return separated
