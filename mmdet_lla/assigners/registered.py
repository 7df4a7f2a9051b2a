"""All assigners for mmdet; importing this module registers them."""

from .lla_assigner import LLAAssigner
from .ota_assigner import OTAAssigner
from .poto_assigner import POTOAssigner
from .task_aligned_lla import TaskAlignedLLAAssigner, TaskAlignedOTAAssigner
from .views import View

__all__ = [
    'LLAAssigner',
    'OTAAssigner',
    'POTOAssigner',
    'TaskAlignedLLAAssigner',
    'TaskAlignedOTAAssigner',
    'View',
]
