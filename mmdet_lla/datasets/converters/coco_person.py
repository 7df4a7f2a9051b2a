"""People in COCO. Source: https://cocodataset.org/#format-data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from ..odgt import make_annotation


def coco_person_records(
    coco: Mapping, category: str = 'person', keep_empty: bool = False
) -> Iterator[dict]:
    """Records of a COCO annotation file; crowds (``iscrowd``) become ignore regions.

    Args:
        coco: The file's content.
        category: Name of the category taken.
        keep_empty: Whether to keep pictures without any of them.

    Raises:
        ValueError: There is no such category.
    """
    wanted = {c['id'] for c in coco['categories'] if c['name'] == category}
    if not wanted:
        known = ', '.join(c['name'] for c in coco['categories'])
        raise ValueError(f'no category {category!r}; there are {known}')
    boxes = defaultdict(list)
    for annotation in coco['annotations']:
        if annotation['category_id'] in wanted:
            ignore = bool(annotation.get('iscrowd', 0) or annotation.get('ignore', 0))
            boxes[annotation['image_id']].append(make_annotation(annotation['bbox'], ignore=ignore))
    for image in coco['images']:
        if keep_empty or image['id'] in boxes:
            name = image['file_name']
            # mmdet's own reader adds .jpg to every ID.
            yield {'ID': name.removesuffix('.jpg'), 'gtboxes': boxes[image['id']]}
