"""Hooks."""

from .assignment_hook import AssignmentHook
from .channels_last_hook import ChannelsLastHook
from .exact_resume_hook import ExactResumeHook
from .nan_guard_hook import NaNGuardHook, NonFiniteError
from .safe_checkpoint_hook import CheckpointError, SafeCheckpointHook

__all__ = [
    'AssignmentHook',
    'ChannelsLastHook',
    'CheckpointError',
    'ExactResumeHook',
    'NaNGuardHook',
    'NonFiniteError',
    'SafeCheckpointHook',
]
