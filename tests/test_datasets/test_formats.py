"""YOLO, VOC, COCO and LabelMe become the same CrowdHuman layout; no record is lost silently."""

import json
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
