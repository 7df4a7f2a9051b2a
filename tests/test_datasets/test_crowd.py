"""CrowdDataset: the same data as mmdet's class, and what that class cannot do."""

import json

import pytest
from mmdet.datasets import CrowdHumanDataset
from mmengine.logging import MMLogger

from mmdet_lla.datasets import CrowdDataset
from mmdet_lla.datasets.odgt import OdgtError


@pytest.fixture
def load(tmp_path):
    def load(ann='annotation_train.odgt', **kwargs):
        # Without serialization, since mmengine collects garbage before it: slow in a big process.
        return CrowdDataset(
            data_root=str(tmp_path),
            ann_file=ann,
            data_prefix=dict(img='Images/'),
            serialize_data=False,
            **kwargs,
        )

    return load


def infos(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def rewrite(tmp_path, records, ann='annotation_train.odgt'):
    (tmp_path / ann).write_text(''.join(json.dumps(r) + '\n' for r in records))


def test_equals_mmdet_on_crowdhuman_data(write_crowd, load, tmp_path):
    records = write_crowd(names=[f'273{i},c9db000d{i}' for i in range(8)])
    records[0]['gtboxes'] = []
    records[1]['gtboxes'][0]['fbox'] = [5, 5, 0, 10]  # no area
    records[2]['gtboxes'][0]['fbox'] = [5, 5, -3, 10]
    records[3]['gtboxes'][0].update(tag='person', extra={'ignore': 1})
    rewrite(tmp_path, records)
    ours = infos(load())
    theirs = infos(
        CrowdHumanDataset(
            data_root=str(tmp_path),
            ann_file='annotation_train.odgt',
            data_prefix=dict(img='Images/'),
        )
    )
    assert ours == theirs


def test_boxes_of_negative_size_are_reported(write_crowd, load, tmp_path, monkeypatch):
    records = write_crowd()
    records[0]['gtboxes'] = make_boxes([5, 5, 0, 10])
    records[2]['gtboxes'] = make_boxes([5, 5, -3, 10])
    rewrite(tmp_path, records)
    messages = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text, *args: messages.append(text % args))
    load()
    assert '2 lines have body boxes without area, the first is line 1' in messages[0]
    assert '1 of them have boxes of negative size, the first is line 3' in messages[1]
    boxes = infos(load(filter_cfg=dict(min_box_size=1)))[2]['instances']
    assert len(messages) == 3 and [box['ignore_flag'] for box in boxes] == [1]


def test_two_annotation_files_in_one_directory(write_crowd, load):
    # mmdet keeps one size cache for both and stops with a KeyError.
    write_crowd(names=('a', 'b'), ann='train_one.odgt')
    write_crowd(names=('c', 'd'), ann='train_two.odgt')
    for _ in range(2):
        assert [i['img_id'] for i in infos(load('train_one.odgt'))] == ['a', 'b']
        assert [i['img_id'] for i in infos(load('train_two.odgt'))] == ['c', 'd']


def test_any_file_name_directory_and_extension(write_crowd, load, tmp_path):
    # The name holds neither "train" nor "val", which mmdet's class needs.
    write_crowd(names=('day/one', 'night/two'), ann='people.txt', suffix='.png')
    dataset = load('people.txt', img_suffix='.png')
    assert dataset[0]['img_path'] == str(tmp_path / 'Images/day/one.png')
    with_extension = write_crowd(names=('x.v2.jpg',), ann='full.odgt', suffix='')
    assert load('full.odgt')[0]['img_id'] == with_extension[0]['ID']
    assert load('full.odgt')[0]['img_path'] == str(tmp_path / 'Images/x.v2.jpg')


@pytest.mark.parametrize('box, key', [('body', 'fbox'), ('visible', 'vbox'), ('head', 'hbox')])
def test_box_choice(write_crowd, load, box, key):
    records = write_crowd()
    for info, record in zip(infos(load(box=box)), records, strict=True):
        for instance, annotation in zip(info['instances'], record['gtboxes'], strict=True):
            x, y, w, h = annotation[key]
            assert instance['bbox'] == [x, y, x + w, y + h]
            assert set(instance) >= {'fbox', 'vbox', 'hbox'}


def test_head_attribute_ignores_only_heads(write_crowd, load, tmp_path):
    records = write_crowd(names=('a',))
    records[0]['gtboxes'] = [
        {**records[0]['gtboxes'][0], 'tag': 'person', 'extra': {}, 'head_attr': {'ignore': flag}}
        for flag in (0, 1)
    ]
    rewrite(tmp_path, records)
    flags = {
        box: [i['ignore_flag'] for i in load(box=box)[0]['instances']]
        for box in ('body', 'visible', 'head')
    }
    assert flags == {'body': [0, 0], 'visible': [0, 0], 'head': [0, 1]}


def test_unknown_boxes_and_filters_are_rejected(load, write_crowd):
    write_crowd()
    with pytest.raises(ValueError, match="'torso'"):
        load(box='torso')
    with pytest.raises(KeyError, match='min_sise'):
        load(filter_cfg=dict(min_sise=3))


def make_boxes(*boxes, ignore=0):
    return [
        {'tag': 'person', 'fbox': b, 'vbox': [*b[:3], b[3] / 4], 'hbox': b,
         'extra': {'ignore': ignore}}
        for b in boxes
    ]  # fmt: skip


def test_filter_cfg(write_crowd, load, tmp_path):
    records = write_crowd(names=('full', 'empty', 'ignored', 'tiny'), size=(60, 50))
    records[0]['gtboxes'] = make_boxes([0, 0, 20, 40])
    records[1]['gtboxes'] = []
    records[2]['gtboxes'] = make_boxes([0, 0, 20, 40], ignore=1)
    records[3]['gtboxes'] = make_boxes([0, 0, 3, 30], [0, 0, 20, 3])
    rewrite(tmp_path, records)

    def kept(**filter_cfg):
        return [i['img_id'] for i in infos(load(filter_cfg=filter_cfg))]

    assert kept() == ['full', 'empty', 'ignored', 'tiny']
    assert kept(filter_empty_gt=True) == ['full', 'tiny']
    assert kept(filter_empty_gt=True, min_box_size=4) == ['full']
    assert kept(filter_empty_gt=True, min_height=35) == ['full']
    assert kept(filter_empty_gt=True, min_visible=0.2) == ['full', 'tiny']
    assert kept(min_size=50) == ['full', 'empty', 'ignored', 'tiny']
    for nothing in (dict(min_size=51), dict(filter_empty_gt=True, min_visible=0.3)):
        with pytest.raises(ValueError, match='leaves none of 4 images'):
            kept(**nothing)
    assert len(load(test_mode=True, filter_cfg=dict(filter_empty_gt=True))) == 4


def test_small_boxes_become_ignore_regions(write_crowd, load, tmp_path):
    records = write_crowd(names=('a',))
    records[0]['gtboxes'] = make_boxes([0, 0, 3, 30], [0, 0, 20, 30])
    rewrite(tmp_path, records)
    small, large = load(filter_cfg=dict(min_box_size=4))[0]['instances']
    assert (small['ignore_flag'], small['bbox_label'], small['bbox']) == (1, -1, [0, 0, 3, 30])
    assert (large['ignore_flag'], large['bbox_label']) == (0, 0)


@pytest.mark.parametrize(
    'change, reason',
    [
        (lambda r: r.pop('ID'), "'ID' is missing"),
        (lambda r: r.update(ID=7), "'ID' must be a string"),
        (lambda r: r.pop('gtboxes'), "'gtboxes' is missing"),
        (lambda r: r.update(gtboxes={}), "'gtboxes' must be a list"),
        (lambda r: r['gtboxes'].append(3), r'gtboxes\[6\]: a JSON object was expected'),
        (lambda r: r['gtboxes'][2].pop('fbox'), r"gtboxes\[2\]: 'fbox' is missing"),
        (lambda r: r['gtboxes'][2].pop('tag'), r"gtboxes\[2\]: 'tag' must be a string"),
        (lambda r: r['gtboxes'][2].update(fbox=[1, 2, 3]), "'fbox' must be four finite numbers"),
        (lambda r: r['gtboxes'][2].update(fbox=None), "'fbox' must be four finite numbers"),
        (lambda r: r['gtboxes'][2].update(fbox=list('1234')), "'fbox' must be four finite"),
        (lambda r: r['gtboxes'][2].update(fbox=[0, 0, 1, float('nan')]), "'fbox' must be four"),
        (lambda r: r['gtboxes'][2].update(hbox=[0, 0, float('inf'), 1]), "'hbox' must be four"),
        (lambda r: r['gtboxes'][2].update(vbox=[0, 0, 10**400, 1]), "'vbox' must be four"),
        (lambda r: r['gtboxes'][2].update(extra=[1]), "'extra' must be a JSON object"),
    ],
)
def test_malformed_line_is_named(write_crowd, load, tmp_path, change, reason):
    records = write_crowd()
    change(records[1])
    rewrite(tmp_path, records)
    with pytest.raises(OdgtError, match=rf'annotation_train.odgt, line 2: .*{reason}'):
        load()


def test_broken_json_is_named(write_crowd, load, tmp_path):
    write_crowd()
    path = tmp_path / 'annotation_train.odgt'
    lines = path.read_text().splitlines()
    path.write_text('\n'.join([lines[0], '', lines[1][:-5], lines[2]]))
    with pytest.raises(OdgtError, match='line 3: not JSON: .* at column'):
        load()
    deep = '[' * 100_000 + ']' * 100_000
    path.write_text('\n'.join([lines[0], lines[1][:-1] + f', "more": {deep}}}']))
    with pytest.raises(OdgtError, match='line 2: maximum recursion'):
        load()
    path.write_text('\n'.join([lines[0], lines[1][:-1] + ', "gtboxes": []}']))
    with pytest.raises(OdgtError, match="line 2: field 'gtboxes' occurs more than once"):
        load()
    path.write_bytes(b'\xff\xd8\xff\xe0')
    with pytest.raises(OdgtError, match='annotation_train.odgt is not UTF-8'):
        load()
    path.write_text('\n \n')
    with pytest.raises(OdgtError, match='no annotations'):
        load()


def test_missing_images_and_files(write_crowd, load, tmp_path):
    write_crowd()
    (tmp_path / 'Images' / 'b.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 3 images do not exist: .*b\.jpg'):
        load()
    with pytest.raises(FileNotFoundError, match='make_crowd'):
        load('nothing.odgt')


def test_a_missing_image_is_reported_despite_a_cache(write_crowd, load, tmp_path):
    write_crowd()
    load()
    (tmp_path / 'Images' / 'b.jpg').unlink()
    with pytest.raises(FileNotFoundError, match='b.jpg'):
        load()


def test_repeated_ids_are_rejected_in_test_mode(write_crowd, load, tmp_path):
    records = write_crowd()
    rewrite(tmp_path, [*records, records[0]])
    assert len(load()) == 4
    with pytest.raises(OdgtError, match="'a'"):
        load(test_mode=True)


def test_extra_ann_file_as_in_mmdet(write_crowd, load, tmp_path):
    write_crowd(names=('a', 'b'))
    path = tmp_path / 'sizes.json'
    path.write_text(json.dumps({'a': [11, 12], 'b': [13, 14]}))
    data = infos(load(extra_ann_file=str(path)))
    assert [(i['height'], i['width']) for i in data] == [(11, 12), (13, 14)]
    path.write_text(json.dumps({'a': [11, 12]}))
    with pytest.raises(KeyError, match='b'):
        load(extra_ann_file=str(path))


def test_remote_backend_reads_through_it(write_crowd, load):
    write_crowd()
    local, through_backend = infos(load()), infos(load(backend_args=dict(backend='local')))
    assert local == through_backend
