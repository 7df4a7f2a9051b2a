"""Heads."""

from .lla_head import LLAHead

__all__ = ['LLAHead']
