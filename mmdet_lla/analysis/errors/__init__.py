"""What is wrong with a detector of people: every error has one kind, and every kind a price."""

from .kinds import FALSE_ALARMS, MISSES, Errors, find_errors
from .prices import Price, price_errors
from .thresholds import Operating, best_thresholds, calibration, operating_points

__all__ = [
    'FALSE_ALARMS',
    'MISSES',
    'Errors',
    'Operating',
    'Price',
    'best_thresholds',
    'calibration',
    'find_errors',
    'operating_points',
    'price_errors',
]
