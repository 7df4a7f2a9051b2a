"""LLAAssigner: LLA with mmdet's contract."""

from mmdet.registry import TASK_UTILS

from .base import PredictionAssigner
from .lla import LLA


@TASK_UTILS.register_module()
class LLAAssigner(LLA, PredictionAssigner):  # type: ignore[misc]
    """Loss-aware label assignment for mmdet's heads; see :class:`LLA` for rule and arguments.

    >>> from mmdet.registry import TASK_UTILS
    >>> TASK_UTILS.build(dict(type='LLAAssigner', topk=5)).topk
    5
    """

    counts_ignored = True

    @property
    def needs_strides(self) -> bool:  # type: ignore[override]
        return self.candidates == 'center'
