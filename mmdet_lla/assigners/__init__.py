"""Loss-aware label assignment."""

from .lla_assigner import LLAAssigner
from .views import View

__all__ = ['LLAAssigner', 'View']
