"""Checkpoints of cvpods, in which LLA was released, for mmdet; and the way back.

LLA.FCOS and the FCOS and ATSS of LLA's and DeFCN's repositories are one network and differ in
training only. mmdet's names and shapes are those of the model that a config builds; a table says
what cvpods calls each of them.
"""

from .configs import adapt_config, build_model
from .files import mmdet_checkpoint, write_checkpoint
from .names import TABLE, Conversion, cvpods_name, to_cvpods, to_mmdet

__all__ = [
    'TABLE',
    'Conversion',
    'adapt_config',
    'build_model',
    'cvpods_name',
    'mmdet_checkpoint',
    'to_cvpods',
    'to_mmdet',
    'write_checkpoint',
]
