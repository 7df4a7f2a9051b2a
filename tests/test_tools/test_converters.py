"""Converters, run as a user runs them, on small files in the published forms."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mmdet_lla.datasets import CrowdDataset
from mmdet_lla.datasets.converters import (
    caltech_records,
    coco_person_records,
    mot_records,
    widerperson_records,
)

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a converter's command line, in this process since importing mmdet takes seconds."""

    def run(name, *args, status=0):
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(TOOLS / f'{name}.py'), run_name='__main__')
        said = capsys.readouterr()
        assert end.value.code == status, said
        return said.out if status < 2 else said.err

    return run


def read(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def flags(record):
    return [(b['tag'], b['extra']['ignore']) for b in record['gtboxes']]


@pytest.fixture
def sequence(tmp_path):
    """A MOT17-like sequence of three frames."""
    directory = tmp_path / 'MOT17-02-FRCNN'
    (directory / 'gt').mkdir(parents=True)
    (directory / 'img1').mkdir()
    for frame in (1, 2, 3):
        Image.new('RGB', (96, 54)).save(directory / 'img1' / f'{frame:06d}.jpg')
    (directory / 'seqinfo.ini').write_text(
        '[Sequence]\nname=MOT17-02-FRCNN\nimDir=img1\nframeRate=30\nseqLength=3\n'
        'imWidth=96\nimHeight=54\nimExt=.jpg\n'
    )
    lines = [
        '1,1,11,6,20,40,1,1,0.9',  # a pedestrian
        '1,2,31,6,20,40,1,1,0.1',  # hardly seen
        '1,3,1,1,5,5,0,1,1',  # a pedestrian not to be considered
        '1,4,1,1,5,5,1,2,1',  # on a vehicle
        '1,5,1,1,50,50,1,3,1',  # a car
        '1,6,1,1,50,50,0,11,1',  # an occluder
        '1,7,1,1,5,5,0,12,1',  # a reflection
        '3,1,12,6,20,40,1,1,1',
    ]
    (directory / 'gt' / 'gt.txt').write_text('\n'.join(lines) + '\n')
    return directory


def test_mot(run, sequence, tmp_path):
    out = tmp_path / 'mot.odgt'
    assert '3 images' in run('mot', out, sequence)
    records = read(out)
    assert [r['ID'] for r in records] == [f'MOT17-02-FRCNN/img1/00000{i}' for i in (1, 2, 3)]
    assert flags(records[0]) == [('person', 0)] * 2 + [('mask', 1)] * 3
    assert records[0]['gtboxes'][0]['fbox'] == [10, 5, 20, 40]  # from 1 to from 0
    assert records[0]['gtboxes'][1]['extra']['visibility'] == 0.1
    assert records[1]['gtboxes'] == []
    dataset = CrowdDataset(str(tmp_path), 'mot.odgt', dict(img=''))
    assert (dataset[0]['height'], dataset[0]['width']) == (54, 96)
    assert dataset[0]['img_path'].endswith('MOT17-02-FRCNN/img1/000001.jpg')


def test_mot_options(sequence):
    assert [r['ID'][-1] for r in mot_records(str(sequence), every=2)] == ['1', '3']
    hidden = next(mot_records(str(sequence), min_visibility=0.3))
    assert flags(hidden)[:2] == [('person', 0), ('mask', 1)]
    assert next(mot_records(str(sequence), root=str(sequence)))['ID'] == 'img1/000001'
    with pytest.raises(ValueError, match='every'):
        next(mot_records(str(sequence), every=0))


def test_mot15_has_no_classes(sequence):
    (sequence / 'gt' / 'gt.txt').write_text(
        '1,1,11.5,6,20,40,1,-1,-1,-1\n1,2,11,6,20,40,0,-1,-1,-1\n'
    )
    record = next(mot_records(str(sequence)))
    assert flags(record) == [('person', 0), ('mask', 1)]
    assert record['gtboxes'][0]['fbox'] == [10.5, 5, 20, 40]


def test_mot_faults_are_named(sequence):
    (sequence / 'gt' / 'gt.txt').write_text('1,1,11,6,20,40,1,1,1\n1,1,eleven,6,20,40,1,1,1\n')
    with pytest.raises(ValueError, match='gt.txt, line 2.*eleven'):
        next(mot_records(str(sequence)))
    with pytest.raises(FileNotFoundError, match='seqinfo.ini'):
        next(mot_records(str(sequence / 'img1')))


def test_coco_person(run, tmp_path):
    coco = {
        'images': [
            {'id': 7, 'file_name': '000007.jpg', 'height': 50, 'width': 60},
            {'id': 9, 'file_name': '000009.png', 'height': 50, 'width': 60},
            {'id': 8, 'file_name': '000008.jpg', 'height': 50, 'width': 60},
        ],
        'categories': [{'id': 1, 'name': 'person'}, {'id': 2, 'name': 'bicycle'}],
        'annotations': [
            {'image_id': 7, 'category_id': 1, 'bbox': [1, 2, 3.25, 4], 'iscrowd': 0},
            {'image_id': 7, 'category_id': 1, 'bbox': [0, 0, 30, 40], 'iscrowd': 1},
            {'image_id': 9, 'category_id': 1, 'bbox': [0, 0, 3, 4], 'iscrowd': 0},
            {'image_id': 8, 'category_id': 2, 'bbox': [0, 0, 3, 4], 'iscrowd': 0},
        ],
    }
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    out = tmp_path / 'person.odgt'
    run('coco_person', tmp_path / 'coco.json', out)
    records = read(out)
    assert [r['ID'] for r in records] == ['000007', '000009.png']
    assert flags(records[0]) == [('person', 0), ('mask', 1)]
    assert records[0]['gtboxes'][0]['fbox'] == [1, 2, 3.25, 4]
    assert [r['ID'] for r in coco_person_records(coco, keep_empty=True)][2] == '000008'
    with pytest.raises(ValueError, match="no category 'dog'; there are person, bicycle"):
        list(coco_person_records(coco, 'dog'))


@pytest.fixture
def wider(tmp_path):
    (tmp_path / 'Annotations').mkdir()
    (tmp_path / 'val.txt').write_text('000040\n000041\n')
    (tmp_path / 'Annotations' / '000040.jpg.txt').write_text(
        '5\n1 10 20 30 60\n2 0 0 5 5\n3 0 0 5 5\n4 0 0 9 9\n5 1 1 9 9\n'
    )
    (tmp_path / 'Annotations' / '000041.jpg.txt').write_text('0\n')
    return tmp_path


def test_widerperson(run, wider):
    run('widerperson', wider, 'val', wider / 'val.odgt')
    full, empty = read(wider / 'val.odgt')
    assert flags(full) == [('person', 0)] * 3 + [('mask', 1)] * 2
    assert full['gtboxes'][0]['fbox'] == [10, 20, 20, 40]
    assert empty == {'ID': '000041', 'gtboxes': []}


@pytest.mark.parametrize(
    'text, reason',
    [
        ('2\n1 0 0 5 5\n', '2 boxes announced, 1 found'),
        ('1\n1 0 0 5\n', 'line 2: not enough values'),
        ('1\n6 0 0 5 5\n', 'line 2: class must be 1 to 5, got 6'),
    ],
)
def test_widerperson_faults_are_named(wider, text, reason):
    (wider / 'Annotations' / '000041.jpg.txt').write_text(text)
    with pytest.raises(ValueError, match=f'000041.jpg.txt.*{reason}'):
        list(widerperson_records(str(wider), 'val'))


def write_vbb(path, frames, labels):
    """A .vbb file: the fields that matter, laid out as the published ones."""
    cells = np.empty((1, len(frames)), dtype=object)
    kinds = [(key, object) for key in ('id', 'pos', 'occl', 'lock', 'posv')]
    for index, objects in enumerate(frames):
        cells[0, index] = np.zeros((0, 0))
        if objects:
            cells[0, index] = np.array(
                [[(float(i), np.array([p], float), float(o), 0.0, np.array([v], float))
                  for i, p, o, v in objects]], dtype=kinds,
            )  # fmt: skip
    names = np.empty((1, len(labels)), dtype=object)
    names[0] = labels
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {'nFrame': float(len(frames)), 'objLists': cells, 'objLbl': names}
    with open(path, 'wb') as file:
        savemat(file, {'A': content})


def test_caltech(run, tmp_path):
    frames = [
        [],
        [
            (1, [11, 6, 20, 40], 1, [11, 6, 20, 10]),
            (2, [31, 6, 20, 40], 0, [0, 0, 0, 0]),
            (3, [1, 1, 5, 5], 0, [0, 0, 0, 0]),
            (4, [1, 1, 5, 5], 0, [0, 0, 0, 0]),
        ],
        [(2, [2, 2, 5, 5], 1, [0, 0, 0, 0])],
    ]
    write_vbb(tmp_path / 'set06' / 'V003.vbb', frames, ['person', 'people', 'person?', 'person-fa'])
    out = tmp_path / 'test.odgt'
    run('caltech', tmp_path, out, '--every', 1)
    records = read(out)
    assert [r['ID'] for r in records] == [f'set06_V003_I0000{i}' for i in range(3)]
    assert records[0]['gtboxes'] == []
    assert flags(records[1]) == [('person', 0), ('mask', 1), ('mask', 1)]
    person = records[1]['gtboxes'][0]
    assert (person['fbox'], person['vbox']) == ([10, 5, 20, 40], [10, 5, 20, 10])
    assert records[2]['gtboxes'][0]['vbox'] == [1, 1, 5, 5]
    assert [r['ID'] for r in caltech_records(str(tmp_path), every=2)] == ['set06_V003_I00001']
    with pytest.raises(FileNotFoundError, match='vbb'):
        list(caltech_records(str(out)))


def test_citypersons(run, tmp_path):
    cells = np.empty((1, 1), dtype=object)
    cells[0, 0] = {
        'cityname': 'munster', 'im_name': 'munster_000000_000019_leftImg8bit.png',
        'bbs': np.array([[1, 1, 2, 3, 4, 9, 1, 2, 3, 2], [2, 1, 2, 3, 4, 9, 1, 2, 3, 4]]),
    }  # fmt: skip
    savemat(tmp_path / 'anno_val.mat', {'anno_val_aligned': cells})
    run('citypersons', tmp_path / 'anno_val.mat', tmp_path / 'val.odgt')
    assert flags(read(tmp_path / 'val.odgt')[0]) == [('person', 0), ('mask', 1)]
    run('citypersons', tmp_path / 'anno_val.mat', tmp_path / 'val_gt.json')
    coco = json.loads((tmp_path / 'val_gt.json').read_text())
    assert [a['ignore'] for a in coco['annotations']] == [0, 1]


def test_nothing_is_left_of_an_interrupted_conversion(run, wider):
    (wider / 'Annotations' / '000041.jpg.txt').unlink()
    assert '000041' in run('widerperson', wider, 'val', wider / 'val.odgt', status=2)
    assert not list(wider.glob('val.odgt*'))
