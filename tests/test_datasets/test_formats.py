"""YOLO, VOC, COCO and LabelMe become the same CrowdHuman layout; no record is lost silently."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mmdet_lla.datasets import CrowdDataset
from mmdet_lla.datasets.converters import CONVERTERS
from mmdet_lla.datasets.inspection import inspect_dataset

HEIGHT, WIDTH = 50, 100
# (image, split, [(class, x, y, w, h, ignored)])
CONTENT = [
    ('a.jpg', 'train', [('person', 10, 5, 20, 30, False), ('car', 0, 0, 50, 50, False)]),
    ('b.PNG', 'train', [('Pedestrian', 40, 10, 10, 20, False), ('person', 5, 5, 40, 40, True)]),
    ('c.jpg', 'val', [('person', 60, 20, 20, 25, False)]),
    ('d.jpg', 'val', []),
]
NAMES = ['person', 'car', 'Pedestrian', 'crowd']


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text))


def image(path, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(path)


def make_yolo(root):
    """Ultralytics' layout; YOLO has no ignore flag, so ignored boxes are of class crowd."""
    write(root / 'data.yaml', f'train: images/train\nval: images/val\nnames: {NAMES}\n')
    for name, split, boxes in CONTENT:
        image(root / 'images' / split / name)
        lines = [
            f'{3 if ignored else NAMES.index(kind)} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} '
            f'{w / WIDTH} {h / HEIGHT}\n'
            for kind, x, y, w, h, ignored in boxes
        ]
        write(root / 'labels' / split / f'{name[0]}.txt', ''.join(lines))


def make_voc(root):
    for split in ('train', 'val'):
        names = [name[0] for name, other, _ in CONTENT if other == split]
        write(root / 'ImageSets' / 'Main' / f'{split}.txt', '\n'.join(names))
    for name, _, boxes in CONTENT:
        image(root / 'JPEGImages' / name)
        objects = ''.join(
            f'<object><name>{kind}</name><difficult>{int(ignored)}</difficult><bndbox><xmin>{x + 1}'
            f'</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>'
            for kind, x, y, w, h, ignored in boxes
        )
        size = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>'
        write(
            root / 'Annotations' / f'{name[0]}.xml',
            f'<annotation><filename>{name}</filename>{size}{objects}</annotation>',
        )


def make_coco(root):
    for split in ('train', 'val'):
        coco = dict(images=[], annotations=[])
        coco['categories'] = [dict(id=i, name=name) for i, name in enumerate(NAMES)]
        for number, (name, other, boxes) in enumerate(CONTENT):
            if other == split:
                image(root / f'{split}2017' / name)
                coco['images'].append(dict(id=number, file_name=name, height=HEIGHT, width=WIDTH))
                coco['annotations'] += [
                    dict(image_id=number, category_id=NAMES.index(kind), bbox=box,
                         iscrowd=int(ignored))
                    for kind, *box, ignored in boxes
                ]  # fmt: skip
        write(root / 'annotations' / f'instances_{split}2017.json', coco)
        write(root / 'annotations' / f'captions_{split}2017.json', dict(images=[], annotations=[]))


def make_labelme(root):
    for name, split, boxes in CONTENT:
        image(root / split / name)
        shapes = [
            dict(label=kind, shape_type='rectangle', points=[[x + w, y], [x, y + h]],
                 flags=dict(ignore=ignored))
            for kind, x, y, w, h, ignored in boxes
        ]  # fmt: skip
        content = dict(shapes=shapes, imagePath=name, imageHeight=HEIGHT, imageWidth=WIDTH)
        write(root / split / f'{name[0]}.json', content)


MAKERS = {'yolo': make_yolo, 'voc': make_voc, 'coco': make_coco, 'labelme': make_labelme}


@pytest.fixture(params=CONVERTERS)
def source(request, tmp_path):
    MAKERS[request.param](tmp_path / 'source')
    return request.param, tmp_path / 'source'


@pytest.fixture
def run(tmp_path, capsys):
    """Convert and check what always holds: all records are accounted for, the result is valid."""

    def run(name, source, **options):
        out = tmp_path / 'out'
        status = CONVERTERS[name](source, out, **options)
        text = capsys.readouterr()
        assert not list(tmp_path.glob('*.part'))
        if status == 2:
            assert not (out / 'Images').exists()
            return status, {}, text.err or text.out
        records = {}
        for path in sorted(out.glob('*.odgt')):
            assert not inspect_dataset(str(path), str(out / 'Images')).problems
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            records[path.stem.removeprefix('annotation_')] = {
                Path(one['ID']).name: [(box['fbox'], box['tag']) for box in one['gtboxes']]
                for one in lines
            }
        return status, records, text.out

    return run


EXPECTED = {
    'train': {
        'a': [([10, 5, 20, 30], 'person')],
        'b.PNG': [([40, 10, 10, 20], 'person'), ([5, 5, 40, 40], 'mask')],
    },
    'val': {'c': [([60, 20, 20, 25], 'person')], 'd': []},
}


def test_every_format_gives_the_same_layout(source, run, tmp_path):
    status, records, text = run(*source)
    assert status == 0 and records == EXPECTED
    assert 'train: 2 images, 2 people and 1 ignore regions; val: 2 images' in text
    assert 'skipped: 1 of class car' in text
    dataset = CrowdDataset(str(tmp_path / 'out'), 'annotation_train.odgt', serialize_data=False)
    assert [one['img_path'][-5:] for one in dataset.data_list] == ['a.jpg', 'b.PNG']


def edit(pattern, old, new):
    """Return a function that changes the text of the one file that a pattern finds."""

    def change(root):
        (path,) = root.rglob(pattern)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda root: next(root.rglob('c.jpg')).unlink(), 'no image'),
        (lambda root: next(root.rglob('c.jpg')).write_bytes(b'x'), 'c.jpg: cannot identify'),
    ],
)
def test_records_of_unusable_images_are_rejected(source, run, change, message):
    change(source[1])
    status, records, text = run(*source)
    assert status == 1 and message in text, text
    assert 'rejected: 1 of 5 records' in text
    assert records['train'] == EXPECTED['train'] and 'c' not in records.get('val', {})


@pytest.mark.parametrize(
    'name, change, message',
    [
        ('yolo', edit('c.txt', '0 ', '9 '), 'c.txt, line 1: class must be one of 0, 1, 2, 3'),
        ('yolo', edit('c.txt', '0 ', '0.5 '), 'class must be one of'),
        ('yolo', edit('c.txt', '0 ', 'zero '), 'c.txt, line 1: could not convert'),
        ('yolo', edit('c.txt', '0 0.7', '0 70'), 'must be fractions of the image size'),
        ('yolo', edit('c.txt', '0 0.7', '0 nan'), 'must be fractions of the image size'),
        ('yolo', edit('c.txt', '0.7 ', '0.7 0.7 '), 'c.txt, line 1: 6 columns, expected 5 or'),
        ('yolo', edit('c.txt', ' 0.2 ', ' 0 '), 'c.txt, line 1: image val/c: no area'),
        ('voc', edit('c.xml', '<name>person</name>', ''), 'c.xml, object 1: the name is missing'),
        ('voc', edit('c.xml', '<ymin>21</ymin>', ''), 'c.xml, object 1: bndbox must hold'),
        ('voc', edit('c.xml', '>61<', '>x<'), 'c.xml, object 1: bndbox must hold'),
        ('voc', edit('c.xml', '>61<', '>nan<'), 'c.xml, object 1: image c: malformed'),
        ('voc', edit('c.xml', '>61<', '>90<'), 'c.xml, object 1: image c: negative size'),
        ('voc', edit('c.xml', '>100</width>', '>200</width>'), 'its annotation is for 200 x 50'),
        ('coco', edit('instances_val*', '"bbox": [', '"box": ['), "field 'bbox' is missing"),
        ('coco', edit('instances_val*', '"category_id": 0', '"category_id": 9'), 'no category has'),
        ('coco', edit('instances_val*', '"image_id": 2', '"image_id": 9'), 'which no image has'),
        ('coco', edit('instances_val*', '"c.jpg"', '5'), "'file_name' must be a text"),
        ('coco', edit('instances_val*', '"height": 50', '"height": 60'), 'is for 100 x 60'),
        ('labelme', edit('c.json', '"label"', '"lable"'), "shapes[0]: an object with a text 'lab"),
        ('labelme', edit('c.json', '[60, 45]', '[60]'), "'points' must be a list of finite"),
        ('labelme', edit('c.json', '[60, 45]', '[60, NaN]'), "'points' must be a list of finite"),
        ('labelme', edit('c.json', 'rectangle', 'line'), 'a line of 2 points has no box'),
        ('labelme', edit('c.json', '"imagePath": "c', '"imagePath": "x'), 'no image x.jpg'),
    ],
)  # fmt: skip
def test_invalid_records_are_named(tmp_path, run, name, change, message):
    MAKERS[name](tmp_path / 'source')
    change(tmp_path / 'source')
    status, records, text = run(name, tmp_path / 'source')
    assert status == 1 and message in text, text
    assert 'rejected: 1 of 5 records' in text
    assert records['train'] == EXPECTED['train'] and not records.get('val', {}).get('c')


@pytest.mark.parametrize(
    'name, change, message',
    [
        ('voc', edit('c.xml', '</annotation>', ''), 'c.xml: not a VOC annotation'),
        ('voc', edit('c.xml', '<annotation>', '<other>'), 'c.xml: not a VOC annotation'),
        ('labelme', edit('c.json', '}', ''), 'c.json: not JSON'),
        ('labelme', edit('c.json', '"shapes"', '"forms"'), "'shapes' is missing"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, run, name, change, message):
    MAKERS[name](tmp_path / 'source')
    change(tmp_path / 'source')
    status, records, text = run(name, tmp_path / 'source')
    assert status == 1 and message in text, text
    assert records == {'train': EXPECTED['train'], 'val': {'d': []}}


def without(*patterns):
    def change(root):
        for pattern in patterns:
            for path in root.glob(pattern):
                path.unlink()

    return change


def flatten(root):
    """All images and label files in one directory, without data.yaml."""
    for path in [*root.rglob('*.*')]:
        path.rename(root / path.name)
    (root / 'data.yaml').unlink()
    (root / 'classes.txt').write_text('\n'.join(NAMES))


@pytest.mark.parametrize(
    'change',
    [
        edit('data.yaml', 'train: images/train', f'path: {"."}\ntrain: [images/train]'),
        edit('data.yaml', 'train: images', 'train: ../images'),  # as Roboflow writes it
        edit('data.yaml', str(NAMES), '{0: person, 1: car, 2: Pedestrian, 3: crowd}'),
        edit('c.txt', '0 0.7 0.65 0.2 0.5', '0 0.6 0.4 0.8 0.4 0.8 0.9 0.6 0.9'),  # a polygon
        lambda root: (edit('data.yaml', 'names', 'kpt_shape: [1, 3]\nnames')(root),
                      edit('c.txt', ' 0.5', ' 0.5 0.7 0.7 2')(root)),
        lambda root: ((root / 'data.yaml').unlink(),
                      (root / 'classes.txt').write_text('\n'.join(NAMES))),
        without('labels/val/d.txt'),
    ],
)  # fmt: skip
def test_forms_of_yolo(tmp_path, run, change):
    make_yolo(tmp_path / 'source')
    change(tmp_path / 'source')
    status, records, text = run('yolo', tmp_path / 'source')
    assert status == 0 and records == EXPECTED, text


def test_lists_of_images_may_lead_outside(tmp_path, run):
    """Nothing is written outside of the output, wherever the images are."""
    make_yolo(tmp_path / 'source')
    shutil.move(tmp_path / 'source' / 'images' / 'train', tmp_path / 'elsewhere')
    names = sorted(path.name for path in (tmp_path / 'elsewhere').iterdir())
    (tmp_path / 'source' / 'train.txt').write_text(''.join(f'../elsewhere/{n}\n' for n in names))
    for path in (tmp_path / 'source' / 'labels' / 'train').iterdir():
        shutil.move(path, tmp_path / 'elsewhere')
    edit('data.yaml', 'images/train', 'train.txt')(tmp_path / 'source')
    before = set(tmp_path.rglob('*'))
    status, records, _ = run('yolo', tmp_path / 'source')
    assert status == 0 and records == EXPECTED
    assert all(
        tmp_path / 'out' in [path, *path.parents] for path in {*tmp_path.rglob('*')} - before
    )


def test_coco_files_without_annotations_are_named(tmp_path, run):
    make_coco(tmp_path / 'source')
    path = tmp_path / 'source' / 'annotations' / 'instances_test2017.json'
    write(path, dict(images=[dict(id=1)], annotations=[], categories=[dict(id=1, name='person')]))
    status, records, text = run('coco', tmp_path / 'source')
    assert status == 0 and records == EXPECTED
    assert 'instances_test2017.json: not read: ' in text and "'annotations' is empty" in text


def test_label_files_without_an_image_are_named(tmp_path, run):
    make_yolo(tmp_path / 'source')
    write(tmp_path / 'source' / 'labels' / 'train' / 'z.txt', '0 0.5 0.5 0.1 0.1\n' * 3)
    status, _, text = run('yolo', tmp_path / 'source')
    assert status == 1 and 'z.txt: no image of this name' in text
    assert 'rejected: 3 of 8 records' in text


def test_a_fraction_is_chosen_where_the_source_has_no_split(tmp_path, run):
    make_yolo(tmp_path / 'source')
    flatten(tmp_path / 'source')
    _, records, _ = run('yolo', tmp_path / 'source', val_fraction=0.5, seed=1)
    assert [len(records[split]) for split in ('train', 'val')] == [2, 2]
    assert {**records['train'], **records['val']} == {**EXPECTED['train'], **EXPECTED['val']}
    shutil.rmtree(tmp_path / 'out')
    assert run('yolo', tmp_path / 'source', val_fraction=0.5, seed=1)[1] == records
    shutil.rmtree(tmp_path / 'out')
    assert list(run('yolo', tmp_path / 'source', val_fraction=0)[1]) == ['train']


def test_voc_images_in_no_list_are_skipped(tmp_path, run):
    make_voc(tmp_path / 'source')
    write(tmp_path / 'source' / 'ImageSets' / 'Main' / 'val.txt', 'd')
    status, records, text = run('voc', tmp_path / 'source')
    assert status == 0 and records == {'train': EXPECTED['train'], 'val': {'d': []}}
    assert 'skipped: 1 of images in no list' in text and 'skipped: 1 images in no list' in text


def test_the_directory_decides_among_images_of_one_name(tmp_path, run):
    make_labelme(tmp_path / 'source')
    image(tmp_path / 'source' / 'val' / 'a.jpg', (30, 30))
    assert run('labelme', tmp_path / 'source')[:2] == (0, EXPECTED)


def test_links_copies_and_existing_output(tmp_path, run):
    make_coco(tmp_path / 'source')
    assert run('coco', tmp_path / 'source', link=True)[0] == 0
    linked = tmp_path / 'out' / 'Images' / 'train2017' / 'a.jpg'
    assert linked.is_symlink() and linked.samefile(tmp_path / 'source' / 'train2017' / 'a.jpg')
    content = sorted(tmp_path.rglob('*'))
    for out in (tmp_path / 'out', tmp_path / 'source', linked):
        assert CONVERTERS['coco'](tmp_path / 'source', out) == 2
    assert sorted(tmp_path.rglob('*')) == content


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(classes=['persn']), "no annotation has class 'persn'; the source has person ("),
        (dict(val_fraction=1), r'val_fraction must be in [0, 1)'),
        (dict(source='nowhere'), 'nowhere does not exist'),
    ],
)
def test_nothing_is_written_where_options_do_not_fit(source, run, tmp_path, options, message):
    name, path = source
    status, _, text = run(name, **{'source': path, **options})
    assert status == 2 and message in text
    assert not (tmp_path / 'out').exists()


def test_classes_can_be_chosen(source, run):
    _, records, text = run(*source, classes=['CAR'], ignore_classes=['pedestrian'])
    assert records['train']['a'] == [([0, 0, 50, 50], 'person')]
    assert ([40, 10, 10, 20], 'mask') in records['train']['b.PNG']
    assert 'skipped: ' in text and 'of class person' in text


@pytest.mark.parametrize('name', CONVERTERS)
def test_an_empty_source_is_an_error(name, run, tmp_path):
    (tmp_path / 'source').mkdir()
    assert run(name, tmp_path / 'source')[0] == 2
