"""Makes one file of a detector that runs without torch and mmdet: see ``mmdet_lla.runtime``.

Needs the extra ``export``.
"""

from .exporting import Exported, export_detector

__all__ = ['Exported', 'export_detector']
