"""What is wrong with boxes that are well formed, the same for the check and for the converters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .image_sizes import Size
from .odgt import is_head_ignored, is_ignored

_TAGS = ('person', 'mask')


def find_box_faults(annotation: Mapping, size: Size | None) -> Iterator[tuple[str, str]]:
    """Yield (kind, what) of everything that is wrong with an annotation of an ``.odgt`` file.

    Boxes that reach beyond the image are no fault: in CrowdHuman the body of a person cut off by
    the border goes on outside, and the head may lie there. Nor is anything wrong with the visible
    and head boxes of what is to be ignored.

    Args:
        annotation: Of the right form, see :func:`mmdet_lla.datasets.odgt.find_record_fault`.
        size: (height, width) of its image; None if unknown, then nobody is outside.
    """
    if annotation['tag'] not in _TAGS:
        yield 'wrong tag', f"has tag {annotation['tag']!r}, not 'person' or 'mask'"
    ignored = is_ignored(annotation)
    checked = ['fbox']
    if not ignored:
        checked.append('vbox')
    if not is_head_ignored(annotation):
        checked.append('hbox')
    for key in checked:
        if key not in annotation:
            continue
        _, _, w, h = box = annotation[key]
        if w < 0 or h < 0:
            yield 'negative size', f'{key} {box}'
        elif w == 0 or h == 0:
            yield 'no area', f'{key} {box}'
        elif size and not ignored and key != 'hbox' and _is_outside(box, size):
            yield 'outside the image', f'{key} {box}, image {size[1]} x {size[0]}'


def _is_outside(box: Sequence[float], size: Size) -> bool:
    x, y, w, h = box
    return x >= size[1] or y >= size[0] or x + w <= 0 or y + h <= 0
