"""A missing dataset ends with advice, before anything is built."""

import json

import pytest

from mmdet_lla.datasets.checks import (
    ClassMismatchError,
    check_config_data,
    check_dataset_files,
)


@pytest.fixture
def present(tmp_path):
    (tmp_path / 'Images').mkdir()
    (tmp_path / 'annotation_train.odgt').write_text('')
    return dict(
        type='CrowdDataset',
        data_root=str(tmp_path),
        ann_file='annotation_train.odgt',
        data_prefix=dict(img='Images/'),
    )


def wrap(cfg):
    """Every kind of wrapper mmdet's configs use, nested."""
    return dict(
        type='MultiImageMixDataset',
        dataset=dict(
            type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[cfg])
        ),
        pipeline=[],
    )


def test_present_dataset_passes(present):
    check_dataset_files(present)
    check_dataset_files(wrap(present))


@pytest.mark.parametrize('wrapper', [lambda cfg: cfg, wrap], ids=['bare', 'wrapped'])
def test_missing_annotation_names_place_and_remedies(present, tmp_path, wrapper):
    present['ann_file'] = 'nowhere.odgt'
    with pytest.raises(FileNotFoundError) as error:
        check_dataset_files(wrapper(present))
    message = str(error.value)
    assert str(tmp_path / 'nowhere.odgt') in message
    assert 'crowdhuman.org' in message
    assert 'python tools/make_crowd.py data/crowd' in message
    assert 'Images' not in message.splitlines()[1]


def test_missing_directory_is_named_even_with_annotations(present, tmp_path):
    present['data_prefix'] = dict(img='Nowhere/')
    with pytest.raises(FileNotFoundError, match='Nowhere'):
        check_dataset_files(present)


def test_every_member_of_a_concatenation_is_checked(present):
    absent = dict(type='CocoDataset', data_root='no/such/root', ann_file='a.json')
    with pytest.raises(FileNotFoundError, match='cocodataset.org'):
        check_dataset_files(dict(type='ConcatDataset', datasets=[present, absent]))


def test_absolute_and_remote_paths(present, tmp_path):
    present['ann_file'] = str(tmp_path / 'annotation_train.odgt')
    check_dataset_files(present)
    remote = dict(type='CocoDataset', ann_file='s3://bucket/a.json', data_prefix=dict(img='s3://b'))
    check_dataset_files(remote)
    check_dataset_files(dict(type='CocoDataset', data_root='s3://bucket/', ann_file='a.json'))


def test_scope_prefix_and_classes_are_understood(present):
    class CrowdDataset:
        pass

    for kind in ('mmdet_lla.CrowdDataset', CrowdDataset):
        with pytest.raises(FileNotFoundError, match='make_crowd'):
            check_dataset_files({**present, 'type': kind, 'ann_file': 'nowhere.odgt'})


# --- Class names and counts


def coco_cfg(path, names=('helmet', 'vest'), **dataset):
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    path.joinpath('a.json').write_text(
        json.dumps(dict(images=[], categories=categories, annotations=[]))
    )
    return dict(type='CocoDataset', data_root=str(path), ann_file='a.json') | dataset


def voc_cfg(path, **dataset):
    path.joinpath('Annotations').mkdir(exist_ok=True)
    path.joinpath('Annotations/x.xml').write_text(
        '<annotation><object><name>helmet</name></object></annotation>'
    )
    path.joinpath('a.txt').write_text('x\nabsent\n')
    return dict(type='VOCDataset', data_root=str(path), ann_file='a.txt') | dataset


def odgt_cfg(path, kind='CrowdDataset', tag='mask', **dataset):
    record = dict(ID='x', gtboxes=[dict(tag='mask'), dict(tag=tag)])
    path.joinpath('a.odgt').write_text(json.dumps(record))
    return dict(type=kind, data_root=str(path), ann_file='a.odgt') | dataset


def classes(*names):
    return dict(metainfo=dict(classes=names))


def head(num_classes, where='bbox_head'):
    model = dict(type='X', bbox_head=dict(num_classes=num_classes))
    return model if where == 'bbox_head' else dict(roi_head=dict(bbox_head=[dict(num_classes=3),
                                                                 dict(num_classes=5)]))  # fmt: skip


@pytest.mark.parametrize(
    'make',
    [
        lambda path: (coco_cfg(path, **classes('vest', 'boot')), head(2)),
        lambda path: (coco_cfg(path, ['person'], type='mmdet.CocoDataset'), head(80)),
        lambda path: (voc_cfg(path, **classes('helmet')), head(1)),
        lambda path: (odgt_cfg(path, tag='person', **classes('pedestrian')), head(1)),
        lambda path: (odgt_cfg(path, 'CrowdHumanDataset', 'person'), head(1)),
        lambda path: (odgt_cfg(path, 'NoDataset'), head(7)),
        lambda path: (coco_cfg(path, ann_file='', **classes('person')), head(1)),
        lambda path: (coco_cfg(path, **classes('vest')), dict(language_model={}, **head(256))),
    ],
)
def test_classes_that_fit_pass(tmp_path, make):
    dataset, model = make(tmp_path)
    check_config_data(dict(train_dataloader=dict(dataset=wrap(dataset)), model=model))


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda path: (coco_cfg(path), head(80)), 'in the file: helmet, vest\n.*: person, bicycle'),
        (lambda path: (coco_cfg(path, []), head(80)), 'classes in the file: none'),
        (lambda path: (voc_cfg(path), head(20)), 'in the file: helmet\n.*in the config: aeroplane'),
        (lambda path: (odgt_cfg(path), head(1)), 'in the file: mask\n.*in the config: person'),
        (
            lambda path: (odgt_cfg(path, 'CrowdHumanDataset', 'person', **classes('man')), head(1)),
            'in the file: mask, person\n.*in the config: man',
        ),
        (
            lambda path: (coco_cfg(path, **classes('vest', 'helmet')), head(5)),
            'model.bbox_head.num_classes is 5, but the dataset has 2 classes: vest, helmet',
        ),
        (
            lambda path: (coco_cfg(path, **classes('vest', 'a', 'b')), head(0, 'roi_head')),
            r'model.roi_head.bbox_head\[1\].num_classes is 5, but the dataset has 3 classes',
        ),
        (
            lambda path: (coco_cfg(path, metainfo=dict(classes='vest')), head(1)),
            r"classes is the text 'vest', expected a tuple; write classes=\('vest',\)",
        ),
    ],
)
def test_classes_that_do_not_fit_are_reported(tmp_path, make, message):
    dataset, model = make(tmp_path)
    cfg = dict(val_dataloader=dict(dataset=wrap(dataset)), train_dataloader=None, model=model)
    with pytest.raises(ClassMismatchError, match=f'(?s)^val_dataloader.dataset: .*{message}'):
        check_config_data(cfg)
    check_config_data(cfg, ['train_dataloader'])
