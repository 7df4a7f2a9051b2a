"""Crowd scenes drawn from a seed, in CrowdHuman's format.

``params`` holds every knob; ``layout`` places camera and people; ``background``, ``people`` and
``clutter`` make what is seen, as ``figure`` s; ``scene`` paints it back to front and tells who is
visible; ``annotations`` writes CrowdHuman's format; ``build`` makes whole data sets.
"""

from .annotations import statistics, to_record
from .build import build_dataset, default_workers, load_records
from .params import DENSITIES, CrowdParams
from .scene import Scene, make_scene

__all__ = [
    'CrowdParams',
    'DENSITIES',
    'Scene',
    'build_dataset',
    'default_workers',
    'load_records',
    'make_scene',
    'statistics',
    'to_record',
]
