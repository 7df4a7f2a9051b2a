"""Loss-aware label assignment."""

from .lla_assigner import LLAAssigner
from .task_aligned_lla import TaskAlignedLLAAssigner
from .views import View

__all__ = ['LLAAssigner', 'TaskAlignedLLAAssigner', 'View']
