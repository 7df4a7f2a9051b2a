"""Loss-aware label assignment."""

from .lla_assigner import LLAAssigner

__all__ = ['LLAAssigner']
