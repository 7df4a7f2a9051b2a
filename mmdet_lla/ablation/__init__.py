"""Ablation studies: run many trainings, weigh what came of them, report it."""

from .ablate import ablate

__all__ = ['ablate']
