"""The command line of the dataset check: table, problems, files, exit status."""

import json
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mmdet_lla.cli.check import main


@pytest.fixture
def check(capsys):
    def check(*args):
        status = main([str(word) for word in args])
        output = capsys.readouterr()
        return status, output.out, output.err

    return check


@pytest.fixture
def crowd(tmp_path):
    (tmp_path / 'Images').mkdir()
    box = {'tag': 'person', 'fbox': [1, 2, 10, 20], 'vbox': [1, 2, 10, 20], 'hbox': [2, 2, 4, 4]}
    for name in ('a', 'b'):
        Image.new('RGB', (60, 50)).save(tmp_path / 'Images' / f'{name}.jpg')
    lines = [json.dumps({'ID': name, 'gtboxes': [box, box]}) for name in ('a', 'b')]
    (tmp_path / 'annotation_train.odgt').write_text('\n'.join(lines))
    return tmp_path / 'annotation_train.odgt'


def test_good_data(check, crowd, tmp_path):
    status, out, _ = check(crowd, '--plots', tmp_path / 'p.png', '--json', tmp_path / 'r.json')
    assert status == 0
    assert 'no problems' in out
    assert '22.64' in out and '2.40' in out  # CrowdHuman's
    assert (tmp_path / 'p.png').exists()
    report = json.loads((tmp_path / 'r.json').read_text())
    assert report['problems'] == []
    assert report['statistics']['people per image'] == 2


def test_bad_data(check, crowd, tmp_path):
    lines = crowd.read_text().split('\n')
    crowd.write_text('\n'.join([*lines, '{', '{', lines[0]]))
    (tmp_path / 'Images' / 'b.jpg').unlink()
    status, out, _ = check(crowd, '--json', tmp_path / 'r.json')
    assert status == 1
    assert 'line 2 b: missing image' in out
    assert 'line 4: bad JSON' in out
    assert 'line 5 a: repeated ID' in out
    assert '2 x bad JSON' in out and '4 problems' in out
    assert len(json.loads((tmp_path / 'r.json').read_text())['problems']) == 4
    assert 'line 4: bad JSON' not in check(crowd, '--show', 1)[1]


def test_files_that_cannot_be_checked(check, tmp_path):
    status, _, err = check(tmp_path / 'none.odgt')
    assert status == 2 and 'none.odgt' in err
    (tmp_path / 'other.json').write_text('{"images": [{}], "annotations": [{}]}')
    status, _, err = check(tmp_path / 'other.json')
    assert status == 2 and 'not in the form of COCO or CityPersons' in err


def test_an_image_that_is_too_large_is_named(check, crowd, tmp_path):
    """Pillow rejects 200 million pixels as an attack; the other images are still checked."""
    head = (20_000).to_bytes(4, 'big') + (10_000).to_bytes(4, 'big') + b'\x08\x02\0\0\0'
    chunks = [
        len(data).to_bytes(4, 'big') + kind + data + zlib.crc32(kind + data).to_bytes(4, 'big')
        for kind, data in ((b'IHDR', head), (b'IDAT', b''))
    ]
    path = tmp_path / 'Images' / 'b.jpg'
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(chunks))
    crowd.write_text(crowd.read_text().replace('[1, 2, 10, 20]', '[1, 2, -10, 20]', 1))
    for option in ((), ('--headers-only',)):
        status, out, err = check(crowd, *option)
        assert status == 2 and f'line 2 b: image not checked: {path}: ' in out and not err
        assert 'line 1 a: negative size' in out and '2 problems' in out


def test_coco_and_citypersons(check, tmp_path):
    (tmp_path / 'val2017').mkdir()
    Image.new('RGB', (60, 50)).save(tmp_path / 'val2017' / '000007.jpg')
    coco = {
        'images': [{'id': 7, 'file_name': '000007.jpg'}],
        'categories': [{'id': 1, 'name': 'person'}],
        'annotations': [{'image_id': 7, 'category_id': 1, 'bbox': [70, 2, 3, 4]}],
    }
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    status, out, _ = check(tmp_path / 'coco.json', '--pictures', tmp_path / 'val2017')
    assert status == 1 and 'line 1 000007: outside the image' in out

    cells = np.empty((1, 1), dtype=object)
    name = 'munster_000000_000019_leftImg8bit.png'
    row = [1, 1, 2, 3, 4, 9, 1, 2, 3, 2]
    cells[0, 0] = {'cityname': 'munster', 'im_name': name, 'bbs': np.array([row, row])}
    savemat(tmp_path / 'anno_val.mat', {'anno_val_aligned': cells})
    (tmp_path / 'val' / 'munster').mkdir(parents=True)
    Image.new('RGB', (60, 50)).save(tmp_path / 'val' / 'munster' / name)
    status, out, _ = check(tmp_path / 'anno_val.mat', '--pictures', tmp_path / 'val')
    assert status == 0, out


def test_a_config_is_checked_without_building_anything(check, crowd, tmp_path):
    config = tmp_path / 'config.py'
    dataset = dict(
        type='CrowdDataset', data_root=str(tmp_path), ann_file=crowd.name, data_prefix=dict(img='')
    )
    for num_classes, expected in ((1, 0), (5, 1)):
        config.write_text(
            f'train_dataloader = dict(dataset={dataset})\n'
            f"model = dict(type='X', bbox_head=dict(num_classes={num_classes}))\n"
        )
        status, out, _ = check(config)
        assert status == expected
        assert ('num_classes is 5, but the dataset has 1 classes: person' in out) == bool(expected)
    assert check(tmp_path / 'none.py')[0] == 2
