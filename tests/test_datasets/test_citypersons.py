"""CityPersonsDataset on small files in the published forms."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from mmdet_lla.datasets import CityPersonsDataset
from mmdet_lla.datasets.converters import citypersons_records, mat_to_coco

NAMES = ('aachen_000000_000019_leftImg8bit.png', 'bochum_000000_000313_leftImg8bit.png',
         'bochum_000000_000600_leftImg8bit.png')  # fmt: skip
ROWS = (
    [
        [1, 10, 5, 20, 50, 24000, 10, 5, 20, 25],
        [2, 30, 5, 20, 50, 25000, 30, 5, 10, 50],
        [0, 0, 0, 9, 9, 0, 0, 0, 9, 9],
        [5, 1, 1, 40, 40, 24001, 1, 1, 40, 40],
    ],
    [[1, 3, 4, 5, 6, 24002, 3, 4, 5, 6]],
    [],
)


def write_mat(path, names=NAMES, rows=ROWS, variable='anno_train_aligned', dtype=np.uint16):
    """A MAT file laid out as the published ones: a row of cells, a struct in each."""
    cells = np.empty((1, len(names)), dtype=object)
    for index, (name, boxes) in enumerate(zip(names, rows, strict=True)):
        cells[0, index] = {
            'cityname': name.split('_')[0],
            'im_name': name,
            'bbs': np.array(boxes, dtype=dtype).reshape(-1, 10),
        }
    savemat(path, {variable: cells})


@pytest.fixture
def root(tmp_path):
    write_mat(tmp_path / 'anno_train.mat')
    for index, name in enumerate(NAMES):
        path = tmp_path / 'leftImg8bit' / 'train' / name.split('_')[0] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (100 + index, 60)).save(path)
    (tmp_path / 'train_gt.json').write_text(
        json.dumps(mat_to_coco(str(tmp_path / 'anno_train.mat')))
    )
    return tmp_path


def load(root, ann='anno_train.mat', **kwargs):
    return CityPersonsDataset(data_root=str(root), ann_file=ann, **kwargs)


def test_file_of_the_tests_is_laid_out_as_the_published_one(root):
    # Public readers reach names and boxes by these very steps.
    cell = loadmat(root / 'anno_train.mat')['anno_train_aligned'][0][0][0][0]
    assert str(cell['cityname'][0]) == 'aachen'
    assert str(cell['im_name'][0]) == NAMES[0]
    assert cell['bbs'].shape == (4, 10)


def test_pedestrians_count_and_the_rest_is_ignored(root):
    dataset = load(root)
    assert [len(dataset[i]['instances']) for i in range(3)] == [4, 1, 0]
    info = dataset[0]
    assert info['img_id'] == 1
    assert info['img_path'].endswith(f'leftImg8bit/train/aachen/{NAMES[0]}')
    assert [i['ignore_flag'] for i in info['instances']] == [0, 1, 1, 1]
    assert [i['bbox_label'] for i in info['instances']] == [0, -1, -1, -1]
    assert info['instances'][0]['bbox'] == [10, 5, 30, 55]
    assert info['instances'][0]['vbox'] == [10, 5, 30, 30]


def test_sizes_come_from_the_images_for_mat_and_from_the_file_for_json(root):
    assert [(i['height'], i['width']) for i in load(root)] == [(60, 100), (60, 101), (60, 102)]
    assert {(i['height'], i['width']) for i in load(root, 'train_gt.json')} == {(1024, 2048)}


def test_mat_and_json_agree(root):
    sizes = dict(height=0, width=0)
    for one, other in zip(load(root), load(root, 'train_gt.json'), strict=True):
        assert {**one, **sizes} == {**other, **sizes}


def test_public_json_with_bare_names(root):
    # val_gt.json of the public evaluation names images without their directory, as im_name.
    coco = json.loads((root / 'train_gt.json').read_text())
    for image in coco['images']:
        image['im_name'] = image.pop('file_name').split('/')[1]
    (root / 'val_gt.json').write_text(json.dumps(coco))
    assert list(load(root, 'val_gt.json')) == list(load(root, 'train_gt.json'))


def test_visible_boxes_and_riders(root):
    assert load(root, box='visible')[0]['instances'][0]['bbox'] == [10, 5, 30, 30]
    flags = [i['ignore_flag'] for i in load(root, person_classes=(1, 2))[0]['instances']]
    assert flags == [0, 0, 1, 1]
    with pytest.raises(ValueError, match='needs a MAT file'):
        load(root, 'train_gt.json', person_classes=(1, 2))


def test_reasonable_subset_by_filter(root):
    dataset = load(root, filter_cfg=dict(filter_empty_gt=True, min_height=50, min_visible=0.5))
    assert [i['img_id'] for i in dataset] == [1]
    with pytest.raises(ValueError, match='leaves none'):
        load(root, filter_cfg=dict(filter_empty_gt=True, min_height=50, min_visible=0.65))


def test_annotations_for_the_evaluation(root):
    coco = mat_to_coco(str(root / 'anno_train.mat'))
    assert coco['images'][1] == {
        'id': 2, 'file_name': f'bochum/{NAMES[1]}', 'height': 1024, 'width': 2048,
    }  # fmt: skip
    person, rider = coco['annotations'][:2]
    assert person == {
        'id': 1, 'image_id': 1, 'category_id': 1, 'class_label': 1, 'bbox': [10, 5, 20, 50],
        'vis_bbox': [10, 5, 20, 25], 'height': 50, 'vis_ratio': 0.5, 'ignore': 0, 'iscrowd': 0,
    }  # fmt: skip
    assert (rider['ignore'], rider['vis_ratio']) == (1, 0.5)
    json.dumps(coco)


def test_one_image_alone(tmp_path):
    # SciPy drops the axes of a file with one cell and of a cell with one box.
    write_mat(tmp_path / 'one.mat', NAMES[1:2], ROWS[1:2], 'anno_val_aligned')
    coco = mat_to_coco(str(tmp_path / 'one.mat'))
    assert [a['bbox'] for a in coco['annotations']] == [[3, 4, 5, 6]]


def test_records_for_odgt(root):
    first = next(citypersons_records(mat_to_coco(str(root / 'anno_train.mat'))))
    assert first['ID'] == f'aachen/{NAMES[0]}'
    assert [b['tag'] for b in first['gtboxes']] == ['person', 'mask', 'mask', 'mask']
    assert first['gtboxes'][0]['vbox'] == [10, 5, 20, 25]


def test_missing_data_names_its_source(root):
    with pytest.raises(FileNotFoundError, match='cityscapes-dataset.com'):
        load(root, 'nowhere.mat')
    (root / 'leftImg8bit/train/aachen' / NAMES[0]).unlink()
    with pytest.raises(FileNotFoundError, match='1 of 3 images'):
        load(root)
