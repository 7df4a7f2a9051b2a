"""Metrics of detection in crowds."""

from .citypersons_metric import CityPersonsMetric
from .crowd_metric import CrowdMetric

__all__ = ['CityPersonsMetric', 'CrowdMetric']
