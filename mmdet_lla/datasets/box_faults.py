"""Find faults in well-formed boxes, the same for the check and for the converters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .image_sizes import Size
from .odgt import is_head_ignored, is_ignored

_TAGS = ('person', 'mask')


def find_box_faults(annotation: Mapping, size: Size | None) -> Iterator[tuple[str, str]]:
    """Yield (kind, description) of the faults of an entry of ``gtboxes``.

    A box that reaches beyond the image is no fault: in CrowdHuman the body of a person cut off by
    the border continues outside, and the head may be there. Visible and head boxes of what is
    ignored are not checked.

    >>> list(find_box_faults({'tag': 'person', 'fbox': [0, 0, 10, 0]}, None))
    [('no area', 'fbox [0, 0, 10, 0]')]

    Args:
        annotation: Well-formed, see :func:`mmdet_lla.datasets.odgt.find_record_fault`.
        size: (height, width) of its image; None if unknown, then no box is outside.
    """
    if annotation['tag'] not in _TAGS:
        yield 'wrong tag', f"has tag {annotation['tag']!r}, not 'person' or 'mask'"
    ignored = is_ignored(annotation)
    checked = ['fbox'] + ['vbox'] * (not ignored) + ['hbox'] * (not is_head_ignored(annotation))
    for key in checked:
        if key not in annotation:
            continue
        x, y, w, h = box = annotation[key]
        if w < 0 or h < 0:
            yield 'negative size', f'{key} {box}'
        elif w == 0 or h == 0:
            yield 'no area', f'{key} {box}'
        elif size and not ignored and key != 'hbox':
            height, width = size
            if x >= width or y >= height or x + w <= 0 or y + h <= 0:
                yield 'outside the image', f'{key} {box}, image {width} x {height}'
