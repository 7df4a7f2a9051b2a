"""Crowd scenes: the generator, and datasets that read crowd annotations."""

from .crowd import CrowdDataset
from .transforms import LoadCrowdBoxes

__all__ = ['CrowdDataset', 'LoadCrowdBoxes']
