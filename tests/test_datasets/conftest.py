"""Small crowds in CrowdHuman's format: noise for images, random boxes."""

import json

import numpy as np
import pytest
from PIL import Image


def random_record(rng, name, height, width, people=6):
    """One annotation line with persons, ignored persons, masks and heads of all kinds."""
    boxes = []
    for index in range(people):
        w, h = int(rng.integers(4, width // 2)), int(rng.integers(4, height // 2))
        x, y = int(rng.integers(-5, width - w)), int(rng.integers(-5, height - h))
        box = {
            'tag': 'person' if rng.random() < 0.8 else 'mask',
            'fbox': [x, y, w, h],
            'vbox': [x, y, w, max(1, h // 2)],
            'hbox': [x + w // 4, y, max(1, w // 2), max(1, h // 6)],
        }
        kind = rng.integers(4)
        if kind == 0:
            box['extra'] = {'ignore': int(rng.integers(2)), 'box_id': index}
        elif kind == 1:
            box['extra'] = {'box_id': index, 'occ': 1}
        if rng.random() < 0.5:
            box['head_attr'] = {'ignore': int(rng.integers(2)), 'occ': 0, 'unsure': 0}
        boxes.append(box)
    return {'ID': name, 'gtboxes': boxes}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def write_crowd(tmp_path, rng):
    """Write images and an annotation file; returns the records written."""

    def write(names=('a', 'b', 'c'), ann='annotation_train.odgt', suffix='.jpg', size=None):
        records = []
        for name in names:
            height, width = size or (int(rng.integers(40, 90)), int(rng.integers(40, 90)))
            path = tmp_path / 'Images' / (name + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            records.append(random_record(rng, name, height, width))
        (tmp_path / ann).write_text(''.join(json.dumps(r) + '\n' for r in records))
        return records

    return write
