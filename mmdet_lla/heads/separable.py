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
