"""Convert checkpoints of cvpods, in which LLA was released, for mmdet, and back.

LLA.FCOS and the FCOS and ATSS of LLA's and DeFCN's repositories are one network; only their
training differs. mmdet's names and shapes are those of the model that a config builds.
"""

from .configs import adapt_config, build_model, make_checkpoint
from .names import TABLE, Conversion, to_cvpods, to_cvpods_name, to_mmdet

__all__ = [
    'TABLE',
    'Conversion',
    'adapt_config',
    'build_model',
    'make_checkpoint',
    'to_cvpods',
    'to_cvpods_name',
    'to_mmdet',
]
