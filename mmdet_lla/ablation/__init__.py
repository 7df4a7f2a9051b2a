"""Ablation studies: train and test many configs, compare them over seeds, write a report."""

from .study import ablate

__all__ = ['ablate']
