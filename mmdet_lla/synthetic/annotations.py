"""CrowdHuman's annotation format."""

from collections.abc import Iterable, Sequence

from .scene import Annotated, Box


def _xywh(box: Box) -> list[int]:
    x0, y0, x1, y1 = (int(round(v)) for v in box)
    return [x0, y0, max(1, x1 - x0), max(1, y1 - y0)]


def _within(box: list[int], bounds: Sequence[float]) -> list[int]:
    """Move the sides of an x, y, w, h box into x0, y0, x1, y1 bounds, keeping an area."""
    x0 = min(max(box[0], bounds[0]), bounds[2] - 1)
    y0 = min(max(box[1], bounds[1]), bounds[3] - 1)
    x1 = max(min(box[0] + box[2], bounds[2]), x0 + 1)
    y1 = max(min(box[1] + box[3], bounds[3]), y0 + 1)
    return [x0, y0, x1 - x0, y1 - y0]


def to_record(name: str, people: Iterable[Annotated], width: int, height: int) -> dict:
    """Create a record of an ``.odgt`` file, with boxes x, y, w, h in whole pixels.

    Args:
        name (str): ID of the image.
        people (Iterable[Annotated]): People and ignored regions.
        width (int): Width of the image.
        height (int): Height of the image.
    """
    boxes = []
    for k, one in enumerate(people):
        fbox = _xywh(one.fbox)
        inside = (
            max(fbox[0], 0),
            max(fbox[1], 0),
            min(fbox[0] + fbox[2], width),
            min(fbox[1] + fbox[3], height),
        )
        extra = {'box_id': k, 'occ': int(one.visible < 0.9)}
        head = {'ignore': int(one.ignore), 'occ': int(one.visible < 0.9), 'unsure': 0}
        if one.ignore:
            extra['ignore'] = 1
        boxes.append(
            {
                'tag': one.tag,
                'fbox': fbox,
                'vbox': _within(_xywh(one.vbox), inside),
                'hbox': _xywh(one.hbox),
                'head_attr': head,
                'extra': extra,
            }
        )
    return {'ID': name, 'gtboxes': boxes}


def sizes(records: Iterable[dict], width: int, height: int) -> dict[str, tuple[int, int]]:
    """Return height and width by ID, as in ``id_hw_*.json`` of mmdet's reader."""
    return {r['ID']: (height, width) for r in records}
