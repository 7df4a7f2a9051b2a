"""Every kind of fault is found where it was put, and only there."""

import json

import numpy as np
import pytest
from PIL import Image

from mmdet_lla.datasets import CrowdDataset
from mmdet_lla.datasets.inspection import inspect_dataset


@pytest.fixture
def crowd(write_crowd, tmp_path):
    """Records without fault, and a function that writes them and inspects."""
    records = write_crowd(names=[f'p{i}' for i in range(6)], size=(50, 60))
    for record in records:
        for annotation in record['gtboxes']:
            annotation.update(fbox=[-5, 1, 20, 30], vbox=[0, 1, 15, 30], hbox=[0, 1, 5, 5])
    path = tmp_path / 'annotation_train.odgt'

    def inspect(**kwargs):
        path.write_text(''.join(json.dumps(r) + '\n' for r in records))
        return inspect_dataset(str(path), str(tmp_path / 'Images'), **kwargs)

    return records, inspect


def found(inspection):
    return [(p.line, p.image, p.kind) for p in inspection.problems]


def test_nothing_is_wrong_with_good_data(crowd):
    records, inspect = crowd
    result = inspect()
    assert result.problems == []
    assert result.records == records
    assert set(result.sizes.values()) == {(50, 60)}


PERSON = {'tag': 'person', 'extra': {}, 'head_attr': {'ignore': 0}}


@pytest.mark.parametrize(
    'change, kind',
    [
        (dict(fbox=[1, 1, 0, 5]), 'no area'),
        (dict(vbox=[1, 1, 5, 0]), 'no area'),
        (dict(fbox=[1, 1, 5, -2]), 'negative size'),
        (dict(hbox=[1, 1, -1, 2]), 'negative size'),
        (dict(fbox=[60, 1, 5, 5]), 'outside the image'),
        (dict(vbox=[-9, 1, 9, 5]), 'outside the image'),
        (dict(fbox=[1, -30, 5, 30]), 'outside the image'),
        (dict(tag='persn'), 'wrong tag'),
        (dict(tag='mask', fbox=[1, 1, -5, 5]), 'negative size'),
    ],
)
def test_box_faults(crowd, change, kind):
    records, inspect = crowd
    records[2]['gtboxes'][3].update({**PERSON, **change})
    result = inspect()
    assert found(result) == [(3, 'p2', kind)]
    assert 'gtboxes[3]' in result.problems[0].message


@pytest.mark.parametrize(
    'change',
    [
        dict(fbox=[-9, -9, 10, 100]),  # reaches beyond every border
        dict(tag='mask', fbox=[99, 1, 5, 5]),  # nobody is lost with an ignore region
        dict(tag='mask', vbox=[1, 1, 0, 0], hbox=[1, 1, 0, 0]),
        dict(head_attr={'ignore': 1}, hbox=[1, 1, 0, 0]),
        dict(hbox=[1, -9, 5, 5]),  # the head of a person cut off by the border
    ],
)
def test_conventions_of_crowdhuman_are_no_faults(crowd, change):
    records, inspect = crowd
    records[2]['gtboxes'][3].update({**PERSON, **change})
    assert inspect().problems == []


def test_bad_lines_and_repeated_ids(crowd, tmp_path):
    records, _ = crowd
    lines = [json.dumps(r) for r in records]
    lines[1] = lines[1][:-4]
    lines[2] = json.dumps({'ID': 'p2', 'gtboxes': [{'tag': 'person', 'fbox': [1, 2, 3]}]})
    lines[3] = '[]'
    lines.append(lines[0])
    path = tmp_path / 'bad.odgt'
    path.write_text('\n'.join(lines))
    result = inspect_dataset(str(path), str(tmp_path / 'Images'))
    assert found(result) == [
        (2, '', 'bad JSON'), (3, 'p2', 'malformed'), (4, '', 'bad JSON'), (7, 'p0', 'repeated ID'),
    ]  # fmt: skip
    assert 'line 1 already' in result.problems[-1].message
    assert str(result.problems[1]).startswith("line 3 p2: malformed: gtboxes[0]: 'fbox' must be")


def test_missing_unreadable_and_truncated_images(crowd, tmp_path):
    _, inspect = crowd
    images = tmp_path / 'Images'
    (images / 'p1.jpg').unlink()
    (images / 'p3.jpg').write_text('no image')
    data = (images / 'p4.jpg').read_bytes()
    (images / 'p4.jpg').write_bytes(data[: len(data) // 2])
    missing, unreadable = (2, 'p1', 'missing image'), (4, 'p3', 'unreadable image')
    assert found(inspect()) == [missing, unreadable, (5, 'p4', 'unreadable image')]
    assert found(inspect(decode=False)) == [missing, unreadable]


def test_sizes_that_disagree_with_a_cache(crowd, tmp_path):
    _, inspect = crowd
    assert inspect().problems == []
    CrowdDataset(str(tmp_path), 'annotation_train.odgt')  # leaves its cache
    Image.fromarray(np.zeros((51, 60, 3), np.uint8)).save(tmp_path / 'Images' / 'p2.jpg')
    result = inspect()
    assert found(result) == [(3, 'p2', 'other size')]
    assert '.json has (50, 60), the image (51, 60)' in result.problems[0].message
