"""What the datasets of people have in common."""

from __future__ import annotations

from mmdet.datasets import BaseDetDataset

from .filtering import filter_images


class BaseCrowdDataset(BaseDetDataset):
    """A dataset whose instances with label -1 are ignore regions."""

    def filter_data(self) -> list[dict]:
        """Apply ``filter_cfg`` unless ``test_mode``."""
        return self.data_list if self.test_mode else filter_images(self.data_list, self.filter_cfg)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Classes in a image, one an instance; ignore regions have none.

        ``ClassBalancedDataset`` and ``ClassAwareSampler`` ask for them, and would take the label
        of ignore regions for another class.
        """
        return [label for label in super().get_cat_ids(idx) if label >= 0]
