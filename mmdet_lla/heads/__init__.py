"""Heads."""

from .lla_head import LLAHead
from .separable import SeparableConv2d

__all__ = ['LLAHead', 'SeparableConv2d']
