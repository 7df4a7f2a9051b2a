"""Former name of :mod:`mmdet_lla.datasets.report`."""

from .report import ConversionReport as Tally  # noqa: F401
