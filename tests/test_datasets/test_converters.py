"""Converters write the expected records, and reject or skip none silently."""

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from damage import break_text
from PIL import Image
from scipy.io import savemat
from test_datasets.test_formats import MAKERS

from mmdet_lla.cli import convert as command
from mmdet_lla.datasets import CrowdDataset
from mmdet_lla.datasets.coco_json import read_coco
from mmdet_lla.datasets.converters import (
    CONVERTERS,
    caltech_records,
    coco_person_records,
    convert,
    mot_records,
    widerperson_records,
)
from mmdet_lla.datasets.inspection import inspect_dataset
from mmdet_lla.datasets.odgt import is_ignored

HEIGHT, WIDTH = 54, 96
NAN = float('nan')


def image(path, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(path)


@dataclass
class Outcome:
    status: int
    records: list
    text: str

    @property
    def people(self):
        return sum(not is_ignored(box) for one in self.records for box in one['gtboxes'])


def flags(record):
    return [(box['tag'], box['extra']['ignore']) for box in record['gtboxes']]


@pytest.fixture
def run(tmp_path, capsys):
    """Run the command and check what holds for every source."""

    def run(name, *args, out, num_records=None, images=None):
        out = Path(out)
        status = command.main([name, *map(str, args)])
        text = capsys.readouterr()
        assert not list(tmp_path.rglob('*.part*')), 'incomplete output'
        if status == 2:
            assert not out.exists()
            return Outcome(2, [], text.err)
        text = text.out
        num_skipped = sum(map(int, re.findall(r'skipped: (\d+) (?!images)', text)))
        rejected = re.findall(r'^rejected: (\d+) of', text, re.M)
        assert bool(rejected) == (status == 1), text
        records = []
        if out.exists():
            if out.suffix == '.json':
                coco = json.loads(out.read_text())
                records = list(
                    coco_person_records({**coco, 'categories': [dict(id=1, name='person')]})
                )
            else:
                records = [json.loads(line) for line in out.read_text().splitlines()]
            problems = inspect_dataset(str(out), str(images)).problems if images else []
            assert not problems, 'check finds faults in what was written'
        else:
            assert 'nothing was written' in text and status == 1
        written = sum(len(one['gtboxes']) for one in records)
        if num_records is not None:
            assert written + num_skipped + sum(map(int, rejected)) == num_records, text
        return Outcome(status, records, text)

    return run


# --- MOT

ROWS = [
    '1,1,11,6,20,40,1,1,0.9',  # a pedestrian
    '1,2,31,6,20,40,0,1,1',  # not to be considered
    '1,3,1,1,50,50,1,3,1',  # a car
    '2,1,12,6,20,40,1,1,0.4',
    '3,1,13,6,20,40,1,1,1',
]
INI = '[Sequence]\nname=one\nimDir=img1\nseqLength=3\nimWidth=96\nimHeight=54\nimExt=.jpg\n'


@pytest.fixture
def mot(tmp_path, run):
    def convert_mot(rows=(), ini=INI, names=('000001.jpg', '000002.jpg', '000003.jpg'), labels=None,
            options=(), encoding='utf-8', directory='img1', base=ROWS):  # fmt: skip
        sequence = tmp_path / 'one'
        for name in names:
            image(sequence / directory / name)
        rows = [*base, *rows]
        (sequence / 'gt').mkdir(parents=True)
        (sequence / 'gt' / 'gt.txt').write_text('\n'.join(rows) + '\n', encoding=encoding)
        if ini is not None:
            (sequence / 'seqinfo.ini').write_text(ini)
        if labels is not None:
            (sequence / 'gt' / 'labels.txt').write_text(labels)
        out = tmp_path / 'mot.odgt'
        return run('mot', sequence, out, *options, out=out, num_records=len(rows), images=tmp_path)

    return convert_mot


@pytest.mark.parametrize(
    'row, message',
    [
        ('1,9,eleven,6,20,40,1,1,1', 'could not convert string to float'),
        ('1,9,11,6,20,40,1,1,1,1,1', '11 columns, expected 9 .*12 .*10 or 7'),
        ('1;9;11;6;20;40;1;1;1', '1 columns, expected'),
        ('1,9,nan,6,20,40,1,1,1', 'x, y, w, h must be finite numbers, got nan,6'),
        ('1,9,11,6,inf,40,1,1,1', 'x, y, w, h must be finite'),
        ('1,9,11,6,20,40,1,14,1', 'class must be one of 1 to 13, got 14'),
        ('1,9,11,6,20,40,1,1.5,1', 'class must be one of 1 to 13, got 1.5'),
        ('1,9,11,6,20,40,1,1,2', 'visibility must be 0 to 1'),
        ('1.5,9,11,6,20,40,1,1,1', 'frame must be a whole number'),
        ('0,9,11,6,20,40,1,1,1', 'frame 0 has no image in .*img1'),
        ('9,9,11,6,20,40,1,1,1', 'frame 9 has no image in .*img1'),
        ('1,9,11,6,0,40,1,1,1', 'image one/img1/000001: no area'),
        ('1,9,11,6,-2,40,1,1,1', 'negative size'),
        ('1,9,97,6,20,40,1,1,1', 'outside the image'),
    ],
)
def test_invalid_rows_of_mot_are_rejected(mot, row, message):
    result = mot([row])
    assert result.status == 1 and result.people == 3
    assert re.search(rf'gt.txt, line 6: .*{message}', result.text), result.text
    assert 'rejected: 1 of 6 records' in result.text
    assert 'skipped: 1 of class car' in result.text


@pytest.mark.parametrize(
    'change',
    [
        dict(ini=None),  # MOT15's and CVAT's archives
        dict(ini=INI.replace('imDir=img1\n', '')),
        dict(ini=INI.replace('imExt=.jpg\n', '')),
        dict(ini=INI.replace('=3', '=3 ; frames').replace('=96', '=96  # pixels')),
        dict(ini='\ufeff' + INI.replace('\n', '\r\n')),
        dict(names=('00000001.jpg', '00000002.jpg', '00000003.jpg')),
        dict(names=('0001.jpg', '0002.jpg', '0003.jpg')),
        dict(names=('000001.png', '000002.png', '000003.png'), ini=None),
        dict(names=('a9.jpg', 'a10.jpg', 'a11.jpg'), ini=None),  # CVAT's, in their order
        dict(ini=INI.replace('img1', 'images'), directory='images'),
        dict(ini=INI.replace('=3', '=1')),  # truth beyond the length, and images for it
        dict(encoding='utf-8-sig'),
        dict(options=('--min-visibility', '0.5')),
        dict(labels='pedestrian\nperson_on_vehicle\ncar\n'),
    ],
)  # fmt: skip
def test_all_forms_of_a_sequence_are_read(mot, change):
    result = mot(**change)
    assert result.status == 0
    assert [len(one['gtboxes']) for one in result.records] == [2, 1, 1]
    assert result.people == (2 if 'options' in change else 3)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(ini=INI.replace('=3', '=three')), "seqinfo.ini: seqlength must be .*'three'"),
        (dict(ini='seqLength=3\n'), r'seqinfo.ini: a section \[Sequence\] was expected'),
        (dict(ini='[Other]\n'), r'seqinfo.ini: a section \[Sequence\] was expected'),
        (dict(names=()), 'no images .* in .*img1'),
        (dict(names=('1.jpg', '01.jpg'), ini=None), 'two images have the number of one frame'),
        (dict(encoding='utf-16'), 'gt.txt is not UTF-8 text .*iconv -f UTF-16'),
        (dict(labels='car\nbus\n'), 'labels.txt: a class named pedestrian or person was expected'),
    ],
)
def test_sequences_that_cannot_be_read_are_named(mot, change, message):
    result = mot(**change)
    assert result.status == 2 and re.search(message, result.text), result.text


def test_frames_that_are_not_taken_are_counted(mot):
    result = mot(options=('--every', '2'))
    assert [one['ID'] for one in result.records] == ['one/img1/000001', 'one/img1/000003']
    assert 'skipped: 1 in frames that are not taken (1 of 2 is)' in result.text


def test_classes_of_motsynth_and_of_labels(mot):
    """Rows of 12 columns were read as MOT15's: a car became a person of visibility 1."""
    rows = [f'{row},1.5,2.5,3.5' for row in ROWS]
    result = mot(base=rows)
    assert (result.status, result.people) == (0, 3)
    assert result.records[1]['gtboxes'][0]['extra']['visibility'] == 0.4
    assert 'skipped: 1 of class car' in result.text


def test_classes_by_their_names(mot):
    result = mot(labels='car\nbus\nperson\n')
    assert result.people == 1 and result.records[0]['gtboxes'][0]['fbox'] == [0, 0, 50, 50]
    assert 'skipped: 4 of class car' in result.text


def test_mot15_knows_no_visibility(mot):
    result = mot(base=[','.join(row.split(',')[:7] + ['-1', '-1', '-1']) for row in ROWS])
    assert result.people == 4
    assert 'visibility' not in result.records[0]['gtboxes'][0]['extra']


def test_mot_records(tmp_path, mot):
    """Coordinates count from 0, IDs start with the sequence, the visible fraction is kept."""
    result = mot(rows=['1,5,1,1,50,50,0,12,1', '3,6,1,1,5,5,1,2,1'])
    assert [one['ID'] for one in result.records] == [f'one/img1/00000{i}' for i in (1, 2, 3)]
    assert flags(result.records[0]) == [('person', 0), ('mask', 1), ('mask', 1)]
    assert flags(result.records[2]) == [('person', 0), ('mask', 1)]
    assert result.records[0]['gtboxes'][0]['fbox'] == [10, 5, 20, 40]
    assert result.records[0]['gtboxes'][0]['extra']['visibility'] == 0.9
    dataset = CrowdDataset(str(tmp_path), 'mot.odgt', dict(img=''))
    assert (dataset[0]['height'], dataset[0]['width']) == (54, 96)
    assert dataset[0]['img_path'].endswith('one/img1/000001.jpg')
    sequence = str(tmp_path / 'one')
    assert next(mot_records(sequence, root=sequence))['ID'] == 'img1/000001'
    assert flags(next(mot_records(sequence, min_visibility=0.95)))[0] == ('mask', 1)


# --- COCO


def coco(**changes):
    one = dict(category_id=1, bbox=[1, 2, 30, 40], iscrowd=0)
    content = dict(
        images=[
            dict(id=i, file_name=f'd/{i:06}.jpg', height=HEIGHT, width=WIDTH) for i in (7, 8, 9)
        ],
        categories=[dict(id=1, name='person'), dict(id=2, name='bicycle')],
        annotations=[
            dict(one, id=1, image_id=7), dict(one, id=2, image_id=7, iscrowd=1),
            dict(one, id=3, image_id=8), dict(one, id=4, image_id=8, category_id=2),
        ],
    )  # fmt: skip
    return content | changes


@pytest.fixture
def from_coco(tmp_path, run):
    def convert_coco(content, options=('--keep-empty',), encoding='utf-8', num_records=None):
        path, out = tmp_path / 'coco.json', tmp_path / 'person.odgt'
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding=encoding)
        for i in (7, 8, 9):
            image(tmp_path / 'Images' / 'd' / f'{i:06}.jpg')
        if num_records is None and isinstance(content, dict):
            num_records = len(content.get('annotations', []))
        return run('coco_person', path, out, *options, out=out, num_records=num_records,
                       images=tmp_path / 'Images')  # fmt: skip

    return convert_coco


def test_other_categories_and_empty_images_are_skipped(from_coco):
    result = from_coco(coco(), options=())
    assert result.status == 0 and result.people == 2
    assert '2 images, 2 people and 1 ignore regions' in result.text
    assert 'skipped: 1 of other categories' in result.text
    assert 'skipped: 1 images without any person' in result.text


def test_coco_records(tmp_path, from_coco):
    content = coco()
    content['images'][1]['file_name'] = 'd/000008.png'
    content['annotations'][0]['bbox'] = [1, 2, 3.25, 4]
    image(tmp_path / 'Images' / 'd' / '000008.png')
    result = from_coco(content)
    assert [one['ID'] for one in result.records] == ['d/000007', 'd/000008.png', 'd/000009']
    assert flags(result.records[0]) == [('person', 0), ('mask', 1)]
    assert result.records[0]['gtboxes'][0]['fbox'] == [1, 2, 3.25, 4]


def changed(index=2, **changes):
    content = coco()
    target = content['annotations'][index]
    target.update(changes)
    for key in [key for key, value in changes.items() if value is KeyError]:
        del target[key]
    return content


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(bbox=[]), "'bbox' must be four finite numbers x, y, w, h, got []"),
        (dict(bbox=[1, 2, NAN, 4]), "'bbox' must be four finite numbers"),
        (dict(bbox=[1, 2, float('inf'), 4]), "'bbox' must be four finite numbers"),
        (dict(bbox='1 2 3 4'), "'bbox' must be four finite numbers"),
        (dict(bbox=['1', '2', '3', '4']), "'bbox' must be four finite numbers"),
        (dict(bbox=KeyError), "field 'bbox' is missing"),
        (dict(bbox=[1, 2, 0, 4]), 'no area'),
        (dict(bbox=[1, 2, 3e-4, 4]), 'no area'),
        (dict(bbox=[1, 2, -3, 4]), 'negative size'),
        (dict(bbox=[96, 2, 3, 4]), 'outside the image'),
        (dict(image_id=99), 'image_id 99, which no image has'),
        (dict(image_id='8'), "image_id '8', which no image has, though one has 8"),
        (dict(image_id=[8]), 'image_id [8], which no image has'),
        (dict(image_id=KeyError), "field 'image_id' is missing"),
        (dict(category_id=KeyError), "'category_id' is None, which no category has"),
        (dict(category_id='1'), "'category_id' is '1', which no category has"),
        (dict(category_id=77), "'category_id' is 77, which no category has"),
        (dict(iscrowd='0'), "'iscrowd' must be a number"),
        (dict(iscrowd=None), "'iscrowd' must be a number"),
        (dict(ignore='0'), "'ignore' must be a number"),
    ],
)
def test_invalid_annotations_of_coco_are_rejected(from_coco, changes, message):
    result = from_coco(changed(**changes))
    assert result.status == 1 and result.people == 1
    assert 'coco.json, annotations[2]: ' in result.text and message in result.text, result.text
    assert 'rejected: 1 of 4 records' in result.text


def with_image(index=1, **changes):
    content = coco()
    content['images'][index].update(changes)
    for key in [key for key, value in changes.items() if value is KeyError]:
        del content['images'][index][key]
    return content


@pytest.mark.parametrize(
    'content, num_rejected, message',
    [
        (with_image(id='8'), 2, "image_id 8, which no image has, though one has '8'"),
        (with_image(id=7), 2, 'images[1]: two images have the same id 7'),
        (with_image(id=KeyError), 2, "images[1]: field 'id' must be"),
        (with_image(file_name=KeyError), 2, "images[1]: field 'file_name' is missing"),
        (with_image(file_name='d/000007.jpg'), 2, "images[1]: two images have the name 'd/0"),
        (with_image(height=-1), 0, "images[1]: 'height' and 'width' must be"),
        (coco(images=[*coco()['images'], 5]), 0, 'images[3]: a JSON object was expected'),
        (coco(annotations=[*coco()['annotations'], 'x']), 1, 'annotations[4]: a JSON object was'),
        (coco(annotations=[dict(one, image_id=str(one['image_id']))
                           for one in coco()['annotations']]), 4, 'nothing was written to '),
    ],
)  # fmt: skip
def test_invalid_images_of_coco_are_rejected(from_coco, content, num_rejected, message):
    result = from_coco(content)
    assert result.status == 1 and message in result.text, result.text
    assert f'rejected: {num_rejected} of {len(content["annotations"])} records' in result.text


def test_backslashes_separate_directories(from_coco):
    content = coco()
    for one in content['images']:
        one['file_name'] = one['file_name'].replace('/', '\\')
    result = from_coco(content)
    assert result.status == 0 and result.records[0]['ID'] == 'd/000007'
    assert 'separates directories by \\, which is read as /' in result.text


@pytest.mark.parametrize(
    'content, options, message',
    [
        ('', {}, 'not JSON, it is empty'),
        ('{"images": [', {}, 'it may be cut off'),
        ([], {}, "an object with 'images' and 'annotations' was expected"),
        (coco(categories=[]), {}, "'categories' is missing or empty"),
        (coco(categories=[3]), {}, "categories[0]: 'id' and 'name' were expected"),
        (coco(categories=[dict(id=1, name='dog')]), {}, "no category 'person'; there are dog"),
        (json.dumps(coco())[:-1] + ', "annotations": []}', {}, "'annotations' occurs more"),
        (coco(), dict(encoding='utf-16'), 'iconv -f UTF-16'),
    ],
)  # fmt: skip
def test_files_that_are_not_of_coco_are_named(from_coco, content, options, message):
    result = from_coco(content, **options)
    assert result.status == 2 and 'coco.json' in result.text and message in result.text


def test_a_mark_and_windows_lines_are_read(from_coco):
    text = json.dumps(coco(), indent=1).replace('\n', '\r\n')
    assert from_coco(text, encoding='utf-8-sig', num_records=4).people == 2


# --- WiderPerson


@pytest.fixture
def wider(tmp_path, run):
    def convert_wider(
        text='2\n1 10 20 30 50\n4 0 0 9 9\n',
        names='000040\n000041\n',
        encoding='utf-8',
        num_records=4,
        images=True,
    ):
        (tmp_path / 'Annotations').mkdir()
        (tmp_path / 'val.txt').write_text(names, encoding=encoding)
        for name, content in (('000040', '2\n1 10 20 30 50\n4 0 0 9 9\n'), ('000041', text)):
            if content is not None:
                path = tmp_path / 'Annotations' / f'{name}.jpg.txt'
                path.write_text(content, encoding=encoding)
            if images:
                image(tmp_path / 'Images' / f'{name}.jpg')
        out = tmp_path / 'val.odgt'
        return run('widerperson', tmp_path, 'val', out, out=out, num_records=num_records,
                       images=tmp_path / 'Images' if images else None)  # fmt: skip

    return convert_wider


def test_widerperson_records(wider):
    result = wider('5\n1 10 20 30 50\n2 1 1 5 5\n3 1 1 5 5\n4 0 0 9 9\n5 1 1 9 9\n', num_records=7)
    assert flags(result.records[1]) == [('person', 0)] * 3 + [('mask', 1)] * 2
    assert result.records[1]['gtboxes'][0]['fbox'] == [10, 20, 20, 30]


@pytest.mark.parametrize(
    'line, message',
    [
        ('1 10 20 30', 'not enough values'),
        ('1 10 20 30 50 6', 'too many values'),
        ('one 10 20 30 50', 'could not convert string'),
        ('6 10 20 30 50', 'class must be 1 to 5, got 6'),
        ('1 nan 20 30 50', 'must be finite numbers'),
        ('1 30 20 10 50', 'negative size'),
        ('1 10 20 10 50', 'no area'),
        ('1 96 20 99 50', 'outside the image'),
    ],
)
def test_invalid_lines_of_widerperson_are_rejected(wider, line, message):
    result = wider(f'2\n1 10 20 30 50\n{line}\n')
    assert result.status == 1 and result.people == 2
    assert re.search(f'000041.jpg.txt, line 3: .*{message}', result.text), result.text


@pytest.mark.parametrize(
    'change, num_rejected, message',
    [
        (dict(text='5\n1 10 20 30 50\n', num_records=7), 4, '5 boxes announced, 1 found'),
        (dict(text='0\n1 10 20 30 50\n', num_records=3), 0, '0 boxes announced, 1 found'),
        (dict(names='000040\n000040\n'), 2, 'image 000040: ID occurs more than once'),
    ],
)
def test_wrong_counts_of_widerperson_are_named(wider, change, num_rejected, message):
    result = wider(**change)
    assert result.status == 1 and message in result.text
    assert f'rejected: {num_rejected} of' in result.text


@pytest.mark.parametrize(
    'change',
    [
        dict(encoding='utf-8-sig'),  # the mark was kept in the first name
        dict(names='000040\r\n000041\r\n', text='2\r\n1 10 20 30 50\r\n4 0 0 9 9\r\n'),
        dict(names='000040.jpg\n000041.jpg\n'),
        dict(images=False),
    ],
)
def test_all_forms_of_widerperson_are_read(wider, change):
    result = wider(**change)
    assert result.status == 0 and [one['ID'] for one in result.records] == ['000040', '000041']


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(encoding='utf-16'), 'val.txt is not UTF-8 text'),
        (dict(names=''), 'val.txt is empty'),
        (dict(text=''), '000041.jpg.txt, line 1: the number of boxes was expected'),
        (dict(text='two\n'), '000041.jpg.txt, line 1: the number of boxes was expected'),
        (dict(text=None), '000041.jpg.txt'),
    ],
)
def test_widerperson_that_cannot_be_read_is_named(wider, change, message):
    result = wider(**change)
    assert result.status == 2 and message in result.text


# --- Caltech


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


LABELS = ['person', 'people', 'person-fa', 'rider']
NOBODY = [0, 0, 0, 0]


def test_caltech_records(tmp_path, run):
    frames = [
        [],
        [(1, [11, 6, 20, 40], 1, [11, 6, 20, 10]), (2, [31, 6, 20, 40], 0, NOBODY)],
        [(1, [2, 2, 5, 5], 1, NOBODY)],
    ]
    annotations = tmp_path / 'annotations [v1]'  # brackets are no pattern
    write_vbb(annotations / 'set06' / 'V003.vbb', frames, LABELS)
    out = tmp_path / 'test.odgt'
    result = run('caltech', annotations, out, '--every', 1, out=out, num_records=3)
    assert [one['ID'] for one in result.records] == [f'set06_V003_I0000{i}' for i in range(3)]
    assert [flags(one) for one in result.records[:2]] == [[], [('person', 0), ('mask', 1)]]
    person = result.records[1]['gtboxes'][0]
    assert (person['fbox'], person['vbox']) == ([10, 5, 20, 40], [10, 5, 20, 10])
    assert result.records[2]['gtboxes'][0]['vbox'] == [1, 1, 5, 5]
    assert [one['ID'] for one in caltech_records(str(annotations), 2)] == ['set06_V003_I00001']
    with pytest.raises(FileNotFoundError, match='vbb'):
        list(caltech_records(str(out)))


@pytest.mark.parametrize(
    'item, message',
    [
        ((9, [11, 6, 20, 40], 0, NOBODY), 'id must be one of 1 to 4, got 9'),
        ((1.5, [11, 6, 20, 40], 0, NOBODY), 'id must be one of 1 to 4, got 1.5'),
        ((1, [11, 6, 20], 0, NOBODY), 'pos must be four finite numbers'),
        ((1, [11, NAN, 20, 40], 0, NOBODY), 'pos must be four finite numbers'),
        ((1, [11, 6, 0, 40], 0, NOBODY), 'no area'),
        ((1, [11, 6, -3, 40], 0, NOBODY), 'negative size'),
        ((1, [641, 6, 20, 40], 0, NOBODY), 'outside the image'),
    ],
)
def test_invalid_objects_of_caltech_are_rejected(run, tmp_path, item, message):
    good = (1, [11, 6, 20, 40], 1, [11, 6, 20, 10])
    frames = [[good], [good, item, (2, [1, 1, 9, 9], 0, NOBODY), (3, [1, 1, 9, 9], 0, NOBODY),
                       (4, [1, 1, 9, 9], 0, NOBODY)]]  # fmt: skip
    write_vbb(tmp_path / 'set06' / 'V003.vbb', frames, LABELS)
    for frame in (0, 1):
        image(tmp_path / 'Images' / f'set06_V003_I{frame:05}.jpg', (640, 480))
    out = tmp_path / 'test.odgt'
    result = run('caltech', tmp_path, out, '--every', 2, out=out, num_records=6,
                     images=tmp_path / 'Images')  # fmt: skip
    assert result.status == 1 and result.people == 1
    assert re.search(f'V003.vbb, frame 1, object 1: .*{message}', result.text), result.text
    for reason in ('1 labelled person-fa', '1 labelled rider', '1 in frames that are not taken'):
        assert f'skipped: {reason}' in result.text


@pytest.mark.parametrize('content', [b'', b'no MAT file', 'cut', 'other'])
def test_caltech_that_cannot_be_read_is_named(run, tmp_path, content):
    path = tmp_path / 'set06' / 'V003.vbb'
    write_vbb(path, [[(1, [11, 6, 20, 40], 0, NOBODY)]], LABELS)
    if content == 'cut':
        content = path.read_bytes()[:-50]
    if content == 'other':
        with open(path, 'wb') as file:
            savemat(file, {'B': 1})
    else:
        path.write_bytes(content)
    out = tmp_path / 'test.odgt'
    result = run('caltech', tmp_path, out, out=out)
    assert result.status == 2 and 'V003.vbb' in result.text


# --- CityPersons


def write_mat(path, rows, columns=10):
    cells = np.empty((1, 2), dtype=object)
    for index, some in enumerate((rows, [[1, 10, 5, 20, 50, 1, 10, 5, 20, 25]])):
        cells[0, index] = {
            'cityname': 'bonn',
            'im_name': f'bonn_0_{index}_leftImg8bit.png',
            'bbs': np.array(some, float).reshape(-1, columns if index == 0 else 10),
        }
    savemat(path, {'anno_val_aligned': cells})


@pytest.mark.parametrize(
    'row, message',
    [
        ([6, 10, 5, 20, 50, 1, 10, 5, 20, 25], 'class must be 0 to 5, got 6'),
        ([NAN, 10, 5, 20, 50, 1, 10, 5, 20, 25], 'class must be 0 to 5, got nan'),
        ([1, NAN, 5, 20, 50, 1, 10, 5, 20, 25], 'box must be four finite numbers'),
        ([1, 10, 5, 20, 50, 1, 10, 5, np.inf, 25], 'visible box must be four finite numbers'),
        ([1, 10, 5, 0, 50, 1, 10, 5, 20, 25], 'no area'),
        ([1, 10, 5, -9, 50, 1, 10, 5, 20, 25], 'negative size'),
        ([1, 10, 5, 20, 50, 1, 10, 5, 0, 0], 'no area'),
        ([1, 2048, 5, 20, 50, 1, 2048, 5, 20, 25], 'outside the image'),
    ],
)
@pytest.mark.parametrize('suffix', ['odgt', 'json'])
def test_invalid_rows_of_citypersons_are_rejected(run, tmp_path, row, message, suffix):
    write_mat(tmp_path / 'anno_val.mat', [[1, 10, 5, 20, 50, 1, 10, 5, 20, 25], row])
    for index in (0, 1):
        image(tmp_path / 'val' / 'bonn' / f'bonn_0_{index}_leftImg8bit.png', (2048, 1024))
    out = tmp_path / f'val.{suffix}'
    result = run('citypersons', tmp_path / 'anno_val.mat', out, out=out, num_records=3,
                     images=tmp_path / 'val')  # fmt: skip
    assert result.status == 1 and result.people == 2
    assert 'anno_val.mat' in result.text and message in result.text, result.text
    assert 'rejected: 1 of 3 records' in result.text


# --- All


def test_without_a_report_the_first_invalid_record_raises(tmp_path, mot, wider):
    mot(['1,1,eleven,6,20,40,1,1,1'])
    with pytest.raises(ValueError, match='gt.txt, line 6: .*eleven'):
        list(mot_records(str(tmp_path / 'one')))
    wider('2\n1 0 0 5 5\n', num_records=4)
    with pytest.raises(ValueError, match='000041.jpg.txt: 2 boxes announced, 1 found'):
        list(widerperson_records(str(tmp_path), 'val'))
    with pytest.raises(ValueError, match="no category 'dog'; there are person, bicycle"):
        list(coco_person_records(coco(), 'dog'))
    for records in (mot_records, caltech_records):
        with pytest.raises(ValueError, match='every must be at least 1'):
            next(records(str(tmp_path / 'one'), every=0))


def test_no_input_is_overwritten(tmp_path, capsys, mot, from_coco):
    mot()
    from_coco(coco())
    for name, *args in (
        ('mot', 'one', 'one/gt/gt.txt'),
        ('coco_person', 'coco.json', 'coco.json'),
        ('coco', '.', 'Images/d'),
    ):
        before = {path: path.read_bytes() for path in tmp_path.rglob('*.*') if path.is_file()}
        assert command.main([name, *(str(tmp_path / arg) for arg in args)]) == 2
        assert 'would overwrite input' in capsys.readouterr().err
        assert {path: path.read_bytes() for path in before} == before
    assert command.main(['mot', str(tmp_path / 'out.odgt'), str(tmp_path / 'one')]) == 2
    assert 'the file to write comes last' in capsys.readouterr().err


# --- Broken at random


@pytest.mark.parametrize('name', ['mot', 'coco_person', 'widerperson'])
def test_random_damage_loses_no_record_silently(tmp_path, capsys, name):
    rng = np.random.default_rng(0)
    out, images = tmp_path / 'out.odgt', tmp_path / 'Images'
    for one in itertools.chain(
        (f'd/{i:06}.jpg' for i in (7, 8, 9)),
        (f'one/img1/{i:06}.jpg' for i in (1, 2, 3)),
        ('000040.jpg', '000041.jpg'),
    ):
        image(images / one)
    (tmp_path / 'Annotations').mkdir()
    (images / 'one' / 'gt').mkdir()
    (images / 'one' / 'seqinfo.ini').write_text(INI)
    (tmp_path / 'Annotations' / '000040.jpg.txt').write_text('1\n1 10 20 30 50\n')
    (tmp_path / 'val.txt').write_text('000040\n000041\n')
    path, text, make = {
        'mot': (
            images / 'one' / 'gt' / 'gt.txt',
            '\n'.join(ROWS) + '\n',
            lambda report: mot_records(str(images / 'one'), report=report),
        ),
        'coco_person': (
            tmp_path / 'coco.json',
            json.dumps(coco(), indent=1),
            lambda report: coco_person_records(
                read_coco(str(tmp_path / 'coco.json')), report=report, where='coco.json'
            ),
        ),
        'widerperson': (
            tmp_path / 'Annotations' / '000041.jpg.txt',
            '3\n1 10 20 30 50\n4 0 0 9 9\n2 1 2 30 40\n',
            lambda report: widerperson_records(str(tmp_path), 'val', report),
        ),
    }[name]
    statuses = []
    for _ in range(120):
        path.write_bytes(break_text(rng, text))
        out.unlink(missing_ok=True)
        status = convert(make, str(out))  # adds up read, written and named records
        output = capsys.readouterr()
        statuses.append(status)
        assert not list(tmp_path.glob('*.part'))
        if status == 2:
            assert not out.exists() and path.name in output.err, output.err
        elif out.exists():
            problems = inspect_dataset(str(out), str(images), decode=False).problems
            # COCO's converter is not told where the images are
            kinds = {one.kind for one in problems} - {
                'missing image' if name == 'coco_person' else ''
            }
            assert not kinds, problems
        else:
            assert status == 1
        assert ('rejected: ' in output.out) == (status == 1)
    assert {0, 1, 2} == set(statuses)


@pytest.mark.parametrize(
    'name, pattern',
    [('yolo', 'a.txt'), ('voc', 'a.xml'), ('coco', 'instances_val*'), ('labelme', 'b.json')],
)
def test_random_damage_of_a_data_set_loses_no_record_silently(tmp_path, capsys, name, pattern):
    rng = np.random.default_rng(0)
    MAKERS[name](tmp_path / 'source')
    (path,) = (tmp_path / 'source').rglob(pattern)
    text = path.read_text()
    statuses = set()
    for number in range(80):
        path.write_bytes(break_text(rng, text))
        out = tmp_path / str(number)
        status = CONVERTERS[name](tmp_path / 'source', out, link=True)  # adds up the records
        output = capsys.readouterr()
        statuses.add(status)
        assert not list(tmp_path.glob('*.part'))
        assert out.exists() == (status < 2) or 'nothing was written' in output.out + output.err
        assert ('rejected: ' in output.out) == (status == 1)
        for file in out.glob('*.odgt'):
            assert not inspect_dataset(str(file), str(out / 'Images'), decode=False).problems
    assert {0, 1} <= statuses
