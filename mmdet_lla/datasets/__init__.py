"""Crowd scenes: the generator, and datasets that read crowd annotations."""

from .citypersons import CityPersonsDataset
from .crowd import CrowdDataset
from .transforms import LoadCrowdBoxes

__all__ = ['CityPersonsDataset', 'CrowdDataset', 'LoadCrowdBoxes']
