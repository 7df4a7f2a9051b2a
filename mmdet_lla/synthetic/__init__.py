"""Synthetic crowd scenes in CrowdHuman's format, drawn from a seed.

``params`` holds every knob; ``layout`` places camera and people; ``background``, ``backdrop``,
``people``, ``accessories`` and ``clutter`` make what is seen, as ``figure`` s with ``textures``;
``scene`` paints it back to front and tells who is visible; ``photometry`` does what light, weather
and a camera do; ``annotations`` writes CrowdHuman's format; ``build`` makes whole data sets.
"""

from .annotations import to_record
from .build import build_dataset, load_records
from .params import DENSITIES, PRESETS, CrowdParams
from .scene import Scene, make_scene

__all__ = [
    'CrowdParams',
    'DENSITIES',
    'PRESETS',
    'Scene',
    'build_dataset',
    'load_records',
    'make_scene',
    'to_record',
]
