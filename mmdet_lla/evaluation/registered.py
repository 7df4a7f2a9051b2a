"""Metrics that mmdet's registry imports for configs."""

from .citypersons_metric import CityPersonsMetric
from .crowd_metric import CrowdMetric

__all__ = ['CityPersonsMetric', 'CrowdMetric']
