"""Engines that run the jobs of a study: this machine, or a Ray cluster."""

from .base import Engine, Job, JobContext, JobError, JobMessage, JobProgress, JobResult
from .local import LocalEngine

__all__ = [
    'Engine',
    'Job',
    'JobContext',
    'JobError',
    'JobMessage',
    'JobProgress',
    'JobResult',
    'LocalEngine',
]
