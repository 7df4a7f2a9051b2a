"""Base class of the datasets of people."""

from __future__ import annotations

import gc
from collections.abc import Mapping

from mmdet.datasets import BaseDetDataset

from .filtering import check_filter_cfg, filter_images


class BaseCrowdDataset(BaseDetDataset):
    """A dataset whose instances of label -1 are ignore regions.

    Args:
        box: Which box becomes ``bbox``: a key of ``boxes``.
        filter_cfg: See :func:`mmdet_lla.datasets.filtering.filter_images`.
        **kwargs: Of mmdet's ``BaseDetDataset``.
    """

    #: Keys of instances by the value of ``box``.
    boxes: Mapping[str, str] = {}

    def __init__(self, *, box: str, filter_cfg: Mapping | None, **kwargs) -> None:
        if box not in self.boxes:
            raise ValueError(f'box must be one of {", ".join(map(repr, self.boxes))}, got {box!r}')
        check_filter_cfg(filter_cfg)
        self.box = box
        super().__init__(filter_cfg=None if filter_cfg is None else dict(filter_cfg), **kwargs)

    def full_init(self) -> None:
        """Load, filter and serialize once; see mmdet's ``BaseDetDataset``."""
        enabled = gc.isenabled()
        gc.disable()  # loading makes no garbage, and searching for it doubles the time
        try:
            super().full_init()
        finally:
            if enabled:
                gc.enable()

    def filter_data(self) -> list[dict]:
        """Apply ``filter_cfg`` unless ``test_mode``."""
        return self.data_list if self.test_mode else filter_images(self.data_list, self.filter_cfg)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the classes of an image, one per instance, without ignore regions.

        ``ClassBalancedDataset`` and ``ClassAwareSampler`` use them and would take the label of
        ignore regions for another class.
        """
        return [label for label in super().get_cat_ids(idx) if label >= 0]
