"""Exports a detector to files that run without torch and mmdet; see ``mmdet_lla.runtime``.

Needs the extra ``export``.
"""

from .exporting import Exported, export_detector, list_export_paths

__all__ = ['Exported', 'export_detector', 'list_export_paths']
