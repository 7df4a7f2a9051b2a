"""Base class of the datasets of people."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence

from mmdet.datasets import BaseDetDataset

from .filtering import check_filter_cfg, filter_images
from .image_paths import ImageLocator, guess_path
from .image_sizes import Size, digest, list_cache_paths, load_or_read_sizes, read_image_sizes
from .text import read_bytes


class BaseCrowdDataset(BaseDetDataset):
    """A dataset whose instances of label -1 are ignore regions.

    Args:
        data_prefix: ``img``: the image directory; ``img_prefix`` if None.
        box: Which box becomes ``bbox``: a key of ``boxes``.
        cache_dir: Where image sizes are cached, see :class:`CrowdDataset`.
        filter_cfg: See :func:`mmdet_lla.datasets.filtering.filter_images`.
        **kwargs: Of mmdet's ``BaseDetDataset``.
    """

    #: Keys of instances by the value of ``box``.
    boxes: Mapping[str, str] = {}
    #: Default of ``data_prefix['img']``.
    img_prefix = ''

    def __init__(
        self,
        data_root: str = '',
        ann_file: str = '',
        data_prefix: Mapping[str, str] | None = None,
        box: str = 'body',
        cache_dir: str | None = None,
        filter_cfg: Mapping | None = None,
        **kwargs,
    ) -> None:
        if box not in self.boxes:
            raise ValueError(f'box must be one of {", ".join(map(repr, self.boxes))}, got {box!r}')
        check_filter_cfg(filter_cfg)
        self.box = box
        self.cache_dir = cache_dir
        super().__init__(
            data_root=data_root,
            ann_file=ann_file,
            data_prefix=dict(img=self.img_prefix) if data_prefix is None else dict(data_prefix),
            filter_cfg=None if filter_cfg is None else dict(filter_cfg),
            **kwargs,
        )

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

    def _find_images(self, names: Sequence[str], suffix: str) -> list[str]:
        """Return the paths of images by ID or name."""
        directory = self.data_prefix['img']
        if self.backend_args is None:
            return ImageLocator(directory, suffix).find_all(names)
        return [guess_path(name, directory, suffix) for name in names]

    def _read_sizes(self, img_ids: Sequence[str], paths: Sequence[str]) -> dict[str, Size]:
        """Return image sizes by ID, from the cache or the image files."""
        return load_or_read_sizes(
            img_ids,
            lambda: read_image_sizes(paths, self.backend_args),
            digest(read_bytes(self.ann_file, self.backend_args)),
            list_cache_paths(self.ann_file, self.data_prefix['img'], self.cache_dir),
        )
