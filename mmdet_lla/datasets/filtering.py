"""Filter images and boxes by ``filter_cfg`` of the crowd datasets."""

from __future__ import annotations

from collections.abc import Mapping

from .odgt import visible_ratio

FILTERS = ('filter_empty_gt', 'min_size', 'min_box_size', 'min_height', 'min_visible')


def check_filter_cfg(filter_cfg: Mapping | None) -> None:
    """Raise KeyError for an unknown filter, so that no typing error goes unnoticed.

    >>> check_filter_cfg({'min_size': 32})
    """
    for key in filter_cfg or {}:
        if key not in FILTERS:
            raise KeyError(f'filter_cfg: {key!r} is unknown; known are {", ".join(FILTERS)}')


def filter_images(data_list: list[dict], filter_cfg: Mapping | None) -> list[dict]:
    """Apply a dataset's ``filter_cfg``, first to boxes, then to images.

    Boxes below a minimum become ignore regions (label -1): they are people, so a detector is
    neither required to find them nor penalized for it.

    >>> image = {'height': 50, 'width': 60, 'instances': []}
    >>> len(filter_images([image, {**image, 'height': 20}], {'min_size': 32}))
    1

    Args:
        data_list: Images as ``load_data_list`` returns them; instances are changed in place.
        filter_cfg: Any of

            - ``min_box_size`` (float): shorter side of a box, pixels;
            - ``min_height`` (float): height of a box, pixels;
            - ``min_visible`` (float): visible fraction of the body, 0 to 1; boxes of unknown
              fraction are kept (see :func:`mmdet_lla.datasets.odgt.visible_ratio`);
            - ``filter_empty_gt`` (bool): drop images without a person: no boxes at all, or only
              ignore regions;
            - ``min_size`` (float): drop images whose shorter side is less, pixels, as mmdet's
              ``CocoDataset`` does.

    Raises:
        ValueError: No image is left.
        KeyError: An unknown filter.
    """
    if not filter_cfg:
        return data_list
    check_filter_cfg(filter_cfg)
    min_box_size = filter_cfg.get('min_box_size', 0)
    min_height = filter_cfg.get('min_height', 0)
    min_visible = filter_cfg.get('min_visible', 0)
    if min_box_size or min_height or min_visible:
        for image in data_list:
            for instance in image['instances']:
                x1, y1, x2, y2 = instance['bbox']
                if (
                    min(x2 - x1, y2 - y1) < min_box_size
                    or y2 - y1 < min_height
                    or (min_visible and visible_ratio(instance) < min_visible)
                ):
                    instance['ignore_flag'] = 1
                    instance['bbox_label'] = -1
    min_size = filter_cfg.get('min_size', 0)
    keep_empty = not filter_cfg.get('filter_empty_gt', False)
    kept = [
        image
        for image in data_list
        if min(image['height'], image['width']) >= min_size
        and (keep_empty or any(not one['ignore_flag'] for one in image['instances']))
    ]
    if not kept:
        raise ValueError(f'filter_cfg {dict(filter_cfg)} leaves none of {len(data_list)} images')
    return kept
