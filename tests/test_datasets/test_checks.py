"""A missing dataset ends with advice, before anything is built."""

import pytest

from mmdet_lla.datasets.checks import check_dataset_files


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


def test_missing_folder_is_named_even_if_the_annotations_are_there(present, tmp_path):
    present['data_prefix'] = dict(img='Pictures/')
    with pytest.raises(FileNotFoundError, match='Pictures'):
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
