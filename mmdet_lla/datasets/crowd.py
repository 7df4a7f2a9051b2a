"""CrowdHuman and other data in its format, for mmdet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from .base import BaseCrowdDataset
from .checks import check_paths
from .image_sizes import Size, parse_sizes
from .odgt import BOXES, OdgtError, read_records
from .text import read_bytes, read_json


@DATASETS.register_module()
class CrowdDataset(BaseCrowdDataset):
    """CrowdHuman, or any data set in its ``.odgt`` format; replaces mmdet's ``CrowdHumanDataset``.

    With ``box='body'`` its data equal those of mmdet's class, with these differences: image sizes
    are read from file headers and cached per annotation file; IDs may include an extension and a
    subdirectory; ``filter_cfg`` works; malformed lines and missing images are reported with their
    line when the file is read, and so are repeated IDs with ``test_mode``; an instance may lack a
    head or visible box.

    Every instance has ``bbox``, ``bbox_label`` (0, or -1 for ignore regions), ``ignore_flag``, and
    ``fbox``, ``vbox``, ``hbox``, all boxes as x1, y1, x2, y2 in pixels.

    >>> import tempfile
    >>> from PIL import Image
    >>> from mmdet_lla.datasets.odgt import make_annotation, write_odgt
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Image.new('RGB', (60, 50)).save(f'{root}/a.jpg')
    ...     record = {'ID': 'a', 'gtboxes': [make_annotation([10, 5, 20, 30])]}
    ...     _ = write_odgt([record], f'{root}/annotation_train.odgt')
    ...     dataset = CrowdDataset(root, 'annotation_train.odgt', dict(img=''))
    >>> info = dataset.get_data_info(0)
    >>> info['height'], info['width'], info['instances'][0]['bbox']
    (50, 60, [10, 5, 30, 35])

    Args:
        data_root: Directory that ``ann_file`` and ``data_prefix`` start from.
        ann_file: The ``.odgt`` file.
        data_prefix: ``img``: the image directory.
        box: Which box becomes ``bbox``: 'body', 'visible' or 'head'. Heads are also ignored where
            ``head_attr.ignore`` is set, as in CrowdHuman's evaluation.
        img_suffix: Extension added to an ID to find its image.
        extra_ann_file: JSON file ``{ID: [height, width]}``, as for mmdet's class, to use instead of
            sizes from file headers.
        cache_dir: Where sizes are cached; by default beside the annotation file, or in the user's
            cache directory where that is not writable.
        filter_cfg: See :func:`mmdet_lla.datasets.filtering.filter_images`; not applied with
            ``test_mode``, as in mmdet's datasets.
        kwargs: Of mmdet's ``BaseDetDataset``.

    Raises:
        FileNotFoundError: Annotations or images are missing.
        OdgtError: A line is malformed (file, line number, reason).
        KeyError: An unknown filter.
    """

    METAINFO = {'classes': ('person',), 'palette': [(220, 20, 60)]}
    boxes = BOXES
    img_prefix = 'Images'

    def __init__(
        self, *args, img_suffix: str = '.jpg', extra_ann_file: str | None = None, **kwargs
    ) -> None:
        self.img_suffix = img_suffix
        self.extra_ann_file = extra_ann_file
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read annotations and image sizes.

        Returns:
            list[dict]: Per line a dict with ``img_id``, ``img_path``, ``height``, ``width`` and
            ``instances``.
        """
        check_paths(type(self).__name__, self.ann_file, self.data_prefix)
        content = read_bytes(self.ann_file, self.backend_args)
        lines = list(read_records(content, self.ann_file, BOXES[self.box]))
        img_ids = [img_id for _, img_id, _ in lines]
        self._check_ids(img_ids)
        self._warn_about_boxes(lines)
        paths = self._find_images(img_ids, self.img_suffix)
        sizes = self._load_sizes(img_ids, paths)
        return [
            {
                'img_id': img_id,
                'img_path': path,
                'height': sizes[img_id][0],
                'width': sizes[img_id][1],
                'instances': instances,
            }
            for (_, img_id, instances), path in zip(lines, paths, strict=True)
        ]

    def _check_ids(self, img_ids: Sequence[str]) -> None:
        """Raise if IDs occur twice with ``test_mode``, else warn."""
        repeated = [img_id for img_id, count in Counter(img_ids).items() if count > 1]
        if repeated:
            message = f'{self.ann_file}: {len(repeated)} IDs occur more than once: {repeated[:5]}'
            if self.test_mode:
                raise OdgtError(f'{message}; no evaluation can tell such images apart')
            MMLogger.get_current_instance().warning(message)

    def _warn_about_boxes(self, lines: Sequence[tuple[int, str, list[dict]]]) -> None:
        """Warn about boxes without area, and about negative ones, at which LLAHead stops."""
        empty, negative = [], []
        for number, _, instances in lines:
            sides = [
                min(x2 - x1, y2 - y1)
                for x1, y1, x2, y2 in (one['bbox'] for one in instances if not one['ignore_flag'])
            ]
            shortest = min(sides, default=1)
            if shortest <= 0:
                empty.append(number)
            if shortest < 0:
                negative.append(number)
        logger = MMLogger.get_current_instance()
        if empty:
            logger.warning(
                f'{self.ann_file}: {len(empty)} lines have {self.box} boxes without area, the '
                f'first is line {empty[0]}; tools/check_dataset.py lists them'
            )
        filtered = not self.test_mode and (self.filter_cfg or {}).get('min_box_size')
        if negative and not filtered:
            logger.warning(
                f'{self.ann_file}: {len(negative)} of them have boxes of negative size, the first '
                f'is line {negative[0]}; LLAHead stops a training there. Correct them, or turn '
                'them into ignore regions: filter_cfg=dict(min_box_size=1)'
            )

    def _load_sizes(self, img_ids: Sequence[str], paths: Sequence[str]) -> Mapping[str, Size]:
        if self.extra_ann_file is None:
            return self._read_sizes(img_ids, paths)
        table = read_json(self.extra_ann_file, self.backend_args)
        sizes = parse_sizes(table, self.extra_ann_file)
        missing = [img_id for img_id in img_ids if img_id not in sizes]
        if missing:
            raise KeyError(f'{self.extra_ann_file} lacks the size of {missing[:5]}')
        return sizes
