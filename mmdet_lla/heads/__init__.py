"""Heads."""

from .lla_head import LLAHead
from .separable import SeparableConv2d, separate_weights

__all__ = ['LLAHead', 'SeparableConv2d', 'separate_weights']
