"""Metrics of detection in crowds."""

from .crowd_metric import CrowdMetric

__all__ = ['CrowdMetric']
