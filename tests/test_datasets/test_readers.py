"""Dataset, metric and check read every file in the same way."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from damage import break_text
from mmdet.datasets.samplers import ClassAwareSampler
from mmengine.dataset import ClassBalancedDataset
from PIL import Image
from scipy.io import savemat

from mmdet_lla.datasets import CityPersonsDataset, CrowdDataset
from mmdet_lla.datasets.inspection import inspect_dataset
from mmdet_lla.datasets.odgt import OdgtError, visible_ratio
from mmdet_lla.datasets.statistics import compute_statistics
from mmdet_lla.datasets.text import AnnotationError, decode, parse_json
from mmdet_lla.evaluation import CityPersonsMetric, CrowdMetric
from mmdet_lla.evaluation.annotations import load_odgt
from mmdet_lla.evaluation.citypersons import load_citypersons

NAMES = ('bonn_0_0_leftImg8bit', 'köln_0_1_leftImg8bit')
BOX = [4, 5, 20, 30]


def person(**changes):
    boxes = dict(fbox=BOX, vbox=[4, 5, 20, 15], hbox=[8, 5, 6, 6])
    return dict(tag='person', **boxes, extra=dict(ignore=0), head_attr=dict(ignore=0)) | changes


def records():
    return [dict(ID=name, gtboxes=[person(), person(tag='mask')]) for name in NAMES]


def coco(**changes):
    """CityPersons' JSON, which is COCO's as well; one person and one ignore region an image."""
    seen = dict(bbox=BOX, vis_bbox=[4, 5, 20, 15], height=30, vis_ratio=0.5, category_id=1)
    content = dict(
        images=[
            dict(id=i, file_name=f'{name.split("_")[0]}/{name}.png', height=48, width=64)
            for i, name in enumerate(NAMES, 1)
        ],
        categories=[dict(id=1, name='person')],
        annotations=[
            dict(seen, id=2 * i + k, image_id=i, ignore=k) for i in (1, 2) for k in (0, 1)
        ],
    )
    return content | changes


def lines(of):
    return ''.join(json.dumps(one, ensure_ascii=False) + '\n' for one in of)


# Without serialization, since mmengine collects garbage before it: slow in a big process.
crowd_dataset = partial(CrowdDataset, serialize_data=False)
city_dataset = partial(CityPersonsDataset, serialize_data=False)


@dataclass
class Reader:
    """Returns (number of gts, number of ignored regions) of every image, or raises."""

    name: str
    suffix: str
    read: Callable


def by_dataset(kind, **kwargs):
    def read(path):
        dataset = kind(
            ann_file=str(path),
            data_prefix=dict(img=str(path.parent / 'Images')),
            test_mode=True,
            serialize_data=False,
            **kwargs,
        )
        return {one['img_id']: counts([i['ignore_flag'] for i in one['instances']])
                for one in dataset.data_list}  # fmt: skip

    return read


def by_metric(kind):
    def read(path):
        return {one.img_id: counts(one.ignored) for one in kind(str(path)).annotations}

    return read


def by_check(path):
    """Read with the check, which names every fault; others stop at the first."""
    found = inspect_dataset(str(path), str(path.parent / 'Images'), decode=False)
    if found.problems:
        raise AnnotationError(f'{path}: ' + '\n'.join(map(str, found.problems)))
    return {
        i if '/' in one['ID'] else one['ID']: counts(
            [box['tag'] == 'mask' for box in one['gtboxes']]
        )
        for i, one in enumerate(found.records, 1)
    }


def counts(ignored):
    ignored = np.array(ignored, bool)
    return int((~ignored).sum()), int(ignored.sum())


READERS = [
    Reader('CrowdDataset', 'odgt', by_dataset(CrowdDataset)),
    Reader('CrowdMetric', 'odgt', by_metric(CrowdMetric)),
    Reader('check odgt', 'odgt', by_check),
    Reader('CityPersonsDataset', 'json', by_dataset(CityPersonsDataset)),
    Reader('CityPersonsMetric', 'json', by_metric(CityPersonsMetric)),
    Reader('check json', 'json', by_check),
]
MAT = [
    Reader('CityPersonsDataset', 'mat', by_dataset(CityPersonsDataset)),
    Reader('CityPersonsMetric', 'mat', by_metric(CityPersonsMetric)),
    Reader('check mat', 'mat', by_check),
]
ODGT = [one for one in READERS if one.suffix == 'odgt']
JSON = [one for one in READERS if one.suffix == 'json']


@pytest.fixture
def directory(tmp_path):
    for name in NAMES:
        for path in (f'{name}.jpg', f'{name.split("_")[0]}/{name}.png'):
            path = tmp_path / 'Images' / path
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (64, 48)).save(path)
    return tmp_path


def answers(readers, path):
    """Return the result of each reader, or 'refused'; an error must name the file."""
    found = {}
    for reader in readers:
        try:
            found[reader.name] = reader.read(path)
        except ValueError as error:
            assert path.name in str(error), (reader.name, str(error))
            assert len(str(error)) < 1500
            found[reader.name] = 'refused'
    return found


def agreed(readers, path):
    """Return the result that all readers agree on."""
    found = answers(readers, path)
    assert len({str(answer) for answer in found.values()}) == 1, found
    return found[readers[0].name]


TEXTS = {'odgt': lines(records()), 'json': json.dumps(coco(), ensure_ascii=False, indent=1)}
READ = {'odgt': dict.fromkeys(NAMES, (1, 1)), 'json': {1: (1, 1), 2: (1, 1)}}


@pytest.mark.parametrize(
    'encode, read',
    [
        (lambda text: text.encode(), True),
        (lambda text: text.encode('utf-8-sig'), True),
        (lambda text: text.replace('\n', '\r\n').encode(), True),
        (lambda text: text.replace('\n', '\r\n').encode('utf-8-sig'), True),
        (lambda text: text.encode('utf-16'), False),
        (lambda text: text.encode('utf-16-be'), False),
        (lambda text: b'\xfe\xff' + text.encode('utf-16-be'), False),
        (lambda text: text.encode('utf-32'), False),
        (lambda text: text.encode('latin-1'), False),
        (lambda text: b'', False),
        (lambda text: b'\xef\xbb\xbf', False),
        (lambda text: b' \r\n\n', False),
        (lambda text: text.encode()[: len(text) // 3], False),
        (lambda text: text.encode()[:-40], False),
        (lambda text: text.encode()[: text.encode().rindex('ö'.encode()) + 1], False),
        (lambda text: b'\x89PNG\r\n\x1a\n' + bytes(50), False),
    ],
    ids=[
        'utf8', 'bom', 'crlf', 'bom-crlf', 'utf16', 'utf16-unmarked', 'utf16-be', 'utf32',
        'latin1', 'empty', 'bom-alone', 'blank', 'third', 'cut', 'cut-in-character', 'binary',
    ],
)  # fmt: skip
@pytest.mark.parametrize('suffix', ['odgt', 'json'])
def test_encodings(directory, suffix, encode, read):
    path = directory / f'people.{suffix}'
    path.write_bytes(encode(TEXTS[suffix]))
    answer = agreed([one for one in READERS if one.suffix == suffix], path)
    assert answer == (READ[suffix] if read else 'refused')


def test_a_file_cut_off_anywhere_has_one_answer(directory):
    for suffix, text in TEXTS.items():
        content = text.encode()
        for end in range(1, len(content), 37):
            path = directory / f'cut.{suffix}'
            path.write_bytes(content[:end])
            agreed([one for one in READERS if one.suffix == suffix], path)


@pytest.mark.parametrize('suffix', TEXTS)
def test_random_damage_has_one_answer(directory, suffix):
    rng, path, num_read = np.random.default_rng(0), directory / f'bad.{suffix}', 0
    readers = [one for one in READERS if one.suffix == suffix]
    for _ in range(100):
        path.write_bytes(break_text(rng, TEXTS[suffix]))
        try:
            found = answers(readers, path)
        except FileNotFoundError:
            continue  # the name of an image is damaged, and the metric reads no images
        num_read += 'refused' not in found.values()
        if len({str(answer) for answer in found.values()}) > 1:
            # The check rejects more, such as a box outside of its image.
            assert found.pop(f'check {suffix}') == 'refused' and 'refused' not in found.values()
    assert 5 < num_read < 95


def mat(change=lambda rows: rows, variable='anno_val_aligned'):
    """CityPersons' MAT file; one person and one ignore region an image."""
    cells = np.empty((1, 2), dtype=object)
    for index, name in enumerate(('bonn_0_0_leftImg8bit', 'koeln_0_1_leftImg8bit')):
        rows = [[1, *BOX, 9, 4, 5, 20, 15], [0, *BOX, 9, 4, 5, 20, 15]]
        cells[0, index] = {'cityname': name.split('_')[0], 'im_name': f'{name}.png',
                           'bbs': np.array(change(rows), float)}  # fmt: skip
    file = io.BytesIO()
    savemat(file, {variable: cells})
    return file.getvalue()


def changed_row(place, value):
    return lambda rows: [[*rows[0][:place], value, *rows[0][place + 1 :]], rows[1]]


@pytest.mark.parametrize(
    'content, read',
    [
        (mat(), True),
        (mat(changed_row(0, 6)), False),
        (mat(changed_row(0, np.nan)), False),
        (mat(changed_row(3, np.inf)), False),
        (mat(changed_row(8, np.nan)), False),
        (mat(lambda rows: np.array(rows)[:, :9]), False),
        (mat()[:-40], False),
        (mat()[:100], False),
        (b'', False),
        (b'no MAT file', False),
        (b'MATLAB 7.3 MAT-file'.ljust(124) + b'\0\2IM' + b'\x89HDF\r\n\x1a\n', False),
    ],
    ids='whole class nan inf visible columns cut head empty text hdf5'.split(),
)  # fmt: skip
def test_mat_files_have_one_answer(directory, content, read):
    (directory / 'Images' / 'koeln').mkdir()
    Image.new('RGB', (64, 48)).save(directory / 'Images' / 'koeln' / 'koeln_0_1_leftImg8bit.png')
    path = directory / 'anno_val.MAT'
    path.write_bytes(content)
    found = answers(MAT, path)
    expected = list(READ['json'].values()) if read else ['refused'] * 2
    for name, answer in found.items():
        assert (list(answer.values()) if read else [answer] * 2) == expected, name


@pytest.mark.parametrize(
    'content, message',
    [
        ('a'.encode('utf-16'), 'line 1: .*iconv -f UTF-16 -t UTF-8'),
        ('ab\ncd'.encode('utf-16-le'), 'line 1: a zero byte.*iconv -f UTF-16LE'),
        ('a\nb\ncafé'.encode('latin-1'), 'line 3: .*iconv -f WINDOWS-1252'),
        ('a\ncafé'.encode()[:-1], 'line 2: .*it may be cut off'),
    ],
)
def test_other_encodings_are_reported_with_a_remedy(content, message):
    with pytest.raises(AnnotationError, match=f'names.txt is not UTF-8 text .*{message}'):
        decode(content, 'names.txt')


def test_repeated_keys_and_truncated_json_are_reported():
    twice = b'{"images": [1], "images": [2]}'
    with pytest.raises(AnnotationError, match="a.json: field 'images' occurs more than once"):
        parse_json(twice, 'a.json', once=('images',))
    assert parse_json(b'[{"images": 1}, {"images": 2}]', 'a.json', once=('images',))
    with pytest.raises(AnnotationError, match='a.json: not JSON.*line 1.*it may be cut off'):
        parse_json(b'{"images": [1', 'a.json')


# What a value may be in JSON, and the flags and boxes it may stand in.
INVALID = ['"0"', '"1"', '""', 'null', 'NaN', '1e999', '[]', '[0]', '{}', '"no"']
VALUES = [*INVALID, '0', '1', '-1', '2', '0.0', 'true', 'false', '1e10', '[1,2,3,4]', '[1,2,3,"4"]']
VALUES += ['[1,2,3,NaN]', '[1e300,-1e300,3,4]', '[1,2,3]', '[null,1,2,3]', '{"ignore":"0"}']


def malformed_records():
    for place in ('ignore', 'head_ignore', 'tag', 'fbox', 'vbox', 'hbox', 'extra', 'head_attr',
                  'ID', 'gtboxes', 'box'):  # fmt: skip
        for value in VALUES:
            record = records()[1]
            target = dict(ignore=record['gtboxes'][0]['extra'],
                          head_ignore=record['gtboxes'][0]['head_attr'],
                          ID=record, gtboxes=record).get(place, record['gtboxes'][0])  # fmt: skip
            if place == 'ID' and re.fullmatch('".+"', value):
                continue  # a text like any other
            if place == 'box':
                record['gtboxes'][0] = '@'
            else:
                target[place.replace('head_ignore', 'ignore')] = '@'
            yield place, value, json.dumps(record, ensure_ascii=False).replace('"@"', value)


def test_malformed_values_of_an_odgt_file_have_one_answer(directory):
    path = directory / 'bad.odgt'
    refused = set()
    for place, value, line in malformed_records():
        path.write_text(lines(records()[:1]) + line + '\n', encoding='utf-8')
        found = answers(ODGT, path)
        kinds = {str(answer) if answer == 'refused' else 'read' for answer in found.values()}
        if len(kinds) > 1:
            # A tag or box that can be read may still be wrong.
            assert found.pop('check odgt') == 'refused' and 'refused' not in found.values()
            assert place in ('tag', 'fbox', 'vbox', 'hbox')
        if 'refused' in found.values():
            refused.add((place, value))
    for place in ('ignore', 'head_ignore'):
        assert {value for at, value in refused if at == place} == {
            *INVALID, *(v for v in VALUES if v[0] in '[{')
        }  # fmt: skip
    assert len(refused) > 150


def changed_annotation(**changes):
    content = coco()
    content['annotations'][2].update(changes)
    return content


def changed_image(**changes):
    content = coco()
    for key, value in changes.items():
        if value is None:
            del content['images'][1][key]
        else:
            content['images'][1][key] = value
    return content


def without(key):
    content = coco()
    del content['annotations'][2][key]
    return content


UNDECLARED = {key: value for key, value in coco().items() if key != 'categories'}
POLYGONS = dict(imgHeight=1024, imgWidth=2048, objects=[dict(label='person', polygon=[[1, 2]])])


@pytest.mark.parametrize(
    'content, message',
    [
        (changed_annotation(iscrowd='0'), r"annotations\[2\]: image 2 .*'iscrowd' must be a"),
        (changed_annotation(ignore='0'), "'ignore' must be a number, 0 if it is not set, got '0'"),
        (changed_annotation(ignore=None), "'ignore' must be a number"),
        (changed_annotation(category_id=0), "'category_id' is 0, expected 1"),
        (changed_annotation(category_id='1'), "'category_id' must be a number, got '1'"),
        (changed_annotation(category_id=7), "'category_id' is 7, expected 1"),
        (
            coco(categories=[dict(id=0, name='pedestrian'), dict(id=1, name='rider')]),
            r"categories\[0\]: 'pedestrian' has id 0, expected 1",
        ),
        (changed_annotation(vis_ratio='0.5'), "'vis_ratio' must be a number"),
        (changed_annotation(vis_ratio=float('nan')), "'vis_ratio' must be a number"),
        (changed_annotation(vis_bbox=[1, 2]), "'vis_bbox' must be four finite numbers"),
        (changed_annotation(bbox=[]), "'bbox' must be four finite numbers x, y, w, h, got "),
        (changed_annotation(bbox=[1, 2, float('nan'), 4]), "'bbox' must be four finite"),
        (changed_annotation(bbox=['1', 2, 3, 4]), "'bbox' must be four finite"),
        (without('bbox'), r"annotations\[2\].*field 'bbox' is missing"),
        (without('image_id'), r"annotations\[2\].*field 'image_id' is missing"),
        (changed_annotation(image_id='2'), "image_id '2', which no image has, though one has 2;"),
        (changed_annotation(image_id=99), 'image_id 99, which no image has$'),
        (changed_image(height=-1), r"images\[1\]: 'height' and 'width' must be whole num"),
        (changed_image(height=None), r'images\[1\]: .*got .None, 64.'),
        (changed_image(width='64'), r"images\[1\]: .*got .48, '64'."),
        (changed_image(id=None), r"images\[1\]: field 'id' must be"),
        (changed_image(id=1), r'images\[1\]: two images have the same id 1'),
        (changed_image(file_name=None), r"images\[1\]: field 'file_name' is missing"),
        (POLYGONS, "'images' and 'annotations' were expected; this is the file of a single C"),
        ([coco()], "an object with 'images' and 'annotations' was expected, got a list"),
        ({}, "'images' is missing or empty, a list was expected"),
        (coco(images=[]), "'images' is missing or empty"),
        (coco(annotations=[]), "'annotations' is empty"),
        (coco(annotations={}), "'annotations' is missing or empty, a list was expected"),
    ],
)  # fmt: skip
@pytest.mark.parametrize('reader', JSON, ids=lambda one: one.name)
def test_malformed_values_of_a_json_file_are_named(directory, reader, content, message):
    path = directory / 'bad.json'
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=f'(?m)bad.json.*{message}'):
        reader.read(path)


@pytest.mark.parametrize(
    'content',
    [
        changed_annotation(category_id=0, ignore=1),
        changed_annotation(ignore=True),
        changed_annotation(iscrowd=1),
        UNDECLARED | dict(annotations=changed_annotation(category_id=2)['annotations']),
        coco(categories=[dict(id=1, name='pedestrian'), dict(id=0, name='ignore')])
        | dict(annotations=changed_annotation(category_id=0)['annotations']),
    ],
)
def test_ignored_annotations_are_ignored_by_every_reader(directory, content):
    path = directory / 'marked.json'
    path.write_text(json.dumps(content))
    # The check takes a category by its name.
    assert agreed(JSON, path) == {1: (1, 1), 2: (0, 2)}


def test_a_json_without_sizes_has_those_of_its_images(directory):
    content = coco()
    for image in content['images']:
        del image['height'], image['width']
    path = directory / 'people.json'
    path.write_text(json.dumps(content))
    assert agreed(JSON, path) == READ['json']
    dataset = CityPersonsDataset(
        ann_file=str(path), data_prefix=dict(img=str(directory / 'Images')), serialize_data=False
    )
    assert {(one['height'], one['width']) for one in dataset.data_list} == {(48, 64)}


def test_the_check_reports_faults_that_readers_tolerate(directory):
    content = coco()
    content['annotations'][0]['vis_ratio'] = 0.9  # the boxes say 0.5
    content['images'][1]['height'] = 49
    content['images'][1]['file_name'] = content['images'][1]['file_name'].replace('/', '\\')
    path = directory / 'bad.json'
    path.write_text(json.dumps(content))
    found = {
        one.kind: str(one) for one in inspect_dataset(str(path), str(directory / 'Images')).problems
    }
    assert set(found) == {'two visible ratios', 'other size', 'unusual name'}
    assert "annotations[0]: 'vis_ratio' is 0.9" in found['two visible ratios']
    assert 'bad.json has (49, 64), the image (48, 64)' in found['other size']
    for reader in JSON[:2]:
        assert reader.read(path) == READ['json']


SHARES = {
    'boxes': (person(), 0.5),
    'message': (person(extra=dict(visibility=0.2)), 0.2),
    'boxes that overlap': (person(vbox=[4, 5, 40, 60]), 1.0),
    'unknown': ({key: value for key, value in person().items() if key != 'vbox'}, np.nan),
    'no area': (person(fbox=[4, 5, 0, 30]), np.nan),
}


@pytest.mark.parametrize('case', SHARES)
def test_visible_share_is_one_for_filter_metric_and_statistics(directory, case):
    annotation, expected = SHARES[case]
    path = directory / 'people.odgt'
    record = dict(ID=NAMES[0], gtboxes=[annotation])
    path.write_text(lines([record]), encoding='utf-8')
    by_the_metric = float(load_odgt(str(path))[0].visible[0])
    assert by_the_metric == pytest.approx(expected, nan_ok=True)
    shares = compute_statistics([record]).visible
    assert shares.tolist() == ([] if np.isnan(expected) or case == 'no area' else [by_the_metric])
    prefix = dict(img=str(directory / 'Images'))
    instance = crowd_dataset(ann_file=str(path), data_prefix=prefix)[0]['instances'][0]
    assert visible_ratio(instance) == pytest.approx(by_the_metric, nan_ok=True)
    for threshold in (0.1, 0.3, 0.7):
        hidden = crowd_dataset(
            ann_file=str(path), data_prefix=prefix, filter_cfg=dict(min_visible=threshold)
        )[0]['instances'][0]['ignore_flag']
        assert bool(hidden) == (expected < threshold)


@pytest.mark.parametrize(
    'changes, expected',
    [
        (dict(vis_ratio=0.8), 0.8),  # what the benchmark takes, whatever the boxes are
        (dict(vis_ratio=0.8, vis_bbox=None), 0.8),
        (dict(vis_ratio=None), 0.5),
        (dict(vis_ratio=1), 1.0),
    ],
)
def test_visible_share_is_one_for_dataset_and_metric_of_citypersons(directory, changes, expected):
    content = coco()
    content['annotations'][0].update(changes)
    content['annotations'][0] = {
        key: value for key, value in content['annotations'][0].items() if value is not None
    }
    path = directory / 'people.json'
    path.write_text(json.dumps(content))
    assert load_citypersons(str(path))[0].visible[0] == expected
    prefix = dict(img=str(directory / 'Images'))
    instance = city_dataset(ann_file=str(path), data_prefix=prefix)[0]['instances'][0]
    assert visible_ratio(instance) == expected
    if 'vis_bbox' in changes:
        with pytest.raises(AnnotationError, match="image 1: .*no 'vis_bbox', which box='visible'"):
            city_dataset(ann_file=str(path), data_prefix=prefix, box='visible')


@pytest.mark.parametrize('box, key, mode', [('visible', 'vbox', 'visible'), ('head', 'hbox', 1)])
def test_only_the_box_that_is_asked_for_is_needed(directory, box, key, mode):
    path = directory / 'people.odgt'
    annotation = {name: value for name, value in person().items() if name in ('tag', key)}
    path.write_text(lines([dict(ID=NAMES[0], gtboxes=[annotation])]), encoding='utf-8')
    images = str(directory / 'Images')
    dataset = crowd_dataset(ann_file=str(path), data_prefix=dict(img=images), box=box)
    x, y, w, h = annotation[key]
    assert dataset[0]['instances'][0]['bbox'] == [x, y, x + w, y + h]
    assert load_odgt(str(path), key)[0].boxes.tolist() == [[x, y, x + w, y + h]]
    found = inspect_dataset(str(path), images, box=box)
    assert not found.problems
    assert compute_statistics(found.records, found.sizes, box).heights.tolist() == [h]
    with pytest.raises(OdgtError, match="line 1: .*'fbox' is missing"):
        crowd_dataset(ann_file=str(path), data_prefix=dict(img=images))
    with pytest.raises(OdgtError, match="line 1: .*'fbox' is missing"):
        CrowdMetric(str(path))
    (problem,) = inspect_dataset(str(path), images).problems
    assert "'fbox' is missing" in problem.message
    assert CrowdMetric(str(path), eval_mode=mode).annotations[0].ignored.tolist() == [False]


@pytest.mark.parametrize('kind', [CrowdDataset, CityPersonsDataset])
def test_ignore_regions_are_no_class(directory, kind):
    """-1 was one more class to mmdet's samplers: rare, so to be repeated, or a KeyError."""
    if kind is CrowdDataset:
        path = directory / 'people.odgt'
        full = [dict(ID=NAMES[0], gtboxes=[person(), person(tag='mask')]),
                dict(ID=NAMES[1], gtboxes=[person(tag='mask')])]  # fmt: skip
        path.write_text(lines(full), encoding='utf-8')
    else:
        path = directory / 'people.json'
        path.write_text(json.dumps(changed_annotation(ignore=1)))
    dataset = kind(ann_file=str(path), data_prefix=dict(img=str(directory / 'Images')))
    assert [dataset.get_cat_ids(i) for i in range(2)] == [[0], []]
    assert len(ClassBalancedDataset(dataset, oversample_thr=0.5)) == 2
    sampler = ClassAwareSampler(dataset, seed=0)
    assert sampler.cat_dict == {0: [0]} and list(sampler)


def test_annotations_are_opened_in_one_place():
    """Whoever opens one otherwise reads another file than the rest does."""
    package = Path(__file__).parents[2] / 'mmdet_lla'
    opening = re.compile(
        r'json\.loads?\(|(?<![.\w])open\(|(?<![.\w])get(_text)?\(|loadmat\(|\.decode\('
    )
    found = {
        f'{path.parent.name}/{path.name}'
        for part in ('datasets', 'datasets/converters', 'synthetic', 'evaluation')
        for path in (package / part).glob('*.py')
        if opening.search(path.read_text(encoding='utf-8'))
    }
    # image_sizes.py opens images, build.py what the generator remembers, detection_files.py
    # what detectors found
    assert found - {'synthetic/build.py', 'evaluation/detection_files.py'} == {
        'datasets/text.py', 'datasets/mat.py', 'datasets/image_sizes.py'
    }  # fmt: skip
