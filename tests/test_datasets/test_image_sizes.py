"""Sizes from headers are the sizes OpenCV loads; caches are neither wrong nor incomplete."""

import io
import json
import multiprocessing

import mmcv
import numpy as np
import pytest
from PIL import Image

from mmdet_lla.datasets import image_sizes
from mmdet_lla.datasets.image_paths import ImageLocator
from mmdet_lla.datasets.image_sizes import (
    ImageReadError,
    list_cache_paths,
    load_or_read_sizes,
    read_image_size,
    read_image_sizes,
)

FORMATS = ['JPEG', 'MPO', 'PNG', 'WEBP', 'TIFF', 'AVIF', 'JPEG2000', 'GIF', 'BMP']


def encode(form, orientation, pixels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form, exif=exif)
    return data.getvalue()


@pytest.mark.parametrize('form', FORMATS)
def test_size_equals_what_opencv_loads(form, tmp_path):
    for orientation in range(1, 9):
        content = encode(form, orientation, np.zeros((20, 40, 3), np.uint8))
        loaded = mmcv.imfrombytes(content, backend='cv2')
        assert read_image_size(io.BytesIO(content)) == loaded.shape[:2], orientation
        path = tmp_path / 'image'  # the name does not matter
        path.write_bytes(content)
        assert read_image_size(str(path)) == loaded.shape[:2]


def test_damaged_exif_is_no_obstacle():
    content = encode('JPEG', 6, np.zeros((20, 40, 3), np.uint8))
    start = content.index(b'MM\0*') + 4
    assert read_image_size(io.BytesIO(content[:start] + b'\xff' * 4 + content[start + 4 :])) == (
        20,
        40,
    )


@pytest.mark.parametrize('form', FORMATS)
def test_damaged_images_are_named(form, tmp_path):
    """Pillow raises errors of a dozen kinds."""
    rng = np.random.default_rng(0)
    whole = encode(form, 6, rng.integers(0, 255, (20, 40, 3), np.uint8))
    path = tmp_path / 'damaged'
    refused = 0
    for _ in range(60):
        content = bytearray(whole[: int(rng.integers(1, len(whole) + 1))])
        for place in rng.integers(0, min(len(content), 200), 3):
            content[place] = int(rng.integers(256))
        path.write_bytes(content)
        try:
            read_image_size(str(path), decode=True)
        except ImageReadError as error:
            assert str(error).startswith(f'{path}: ')
            refused += 1
    assert refused > 20


def test_only_decoding_finds_truncated_files(tmp_path):
    path = tmp_path / 'half.jpg'
    Image.effect_noise((300, 200), 50).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read_image_size(str(path)) == (200, 300)
    with pytest.raises(ImageReadError, match='truncated'):
        read_image_size(str(path), decode=True)


def test_unreadable_images_are_named(tmp_path):
    Image.new('RGB', (3, 4)).save(tmp_path / 'good.png')
    (tmp_path / 'text.jpg').write_text('not an image')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    paths = [str(tmp_path / name) for name in ('good.png', 'text.jpg', 'empty.jpg', 'none.jpg')]
    with pytest.raises(OSError, match='3 of 4') as error:
        read_image_sizes(paths)
    assert all(name in str(error.value) for name in ('text.jpg', 'empty.jpg', 'none.jpg'))
    assert 'good.png' not in str(error.value)


def test_locator_prefers_the_suffix(tmp_path):
    for name in ('a', 'a.jpg', 'b.png', 'sub/c.jpg', 'frame_000000.PNG', 'd.webp'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    locator = ImageLocator(tmp_path)
    ids = ['a', 'b.png', 'sub/c', 'frame_000000.PNG', 'd']
    files = ['a.jpg', 'b.png', 'sub/c.jpg', 'frame_000000.PNG', 'd.webp']
    assert locator.find_all(ids) == [str(tmp_path / name) for name in files]
    with pytest.raises(FileNotFoundError, match='7 of 7.*sub/none4.jpg and 2 more$'):
        locator.find_all([f'sub/none{i}' for i in range(7)])
    with pytest.raises(FileNotFoundError, match='1 of 1 images do not exist: .*/7.jpg'):
        locator.find(7)


class Reader:
    """Stands for reading images, and counts its calls."""

    def __init__(self, size=(3, 4)):
        self.size, self.count = size, 0

    def __call__(self):
        self.count += 1
        return [self.size, (5, 6)]


IDS = ['x', 'y']
SIZES = {'x': (3, 4), 'y': (5, 6)}


@pytest.mark.parametrize(
    'damage, num_reads',
    [
        (lambda path: None, 1),
        (lambda path: path.write_text(path.read_text()[:-9]), 2),
        (lambda path: path.write_text('[]'), 2),
        (lambda path: path.write_text(json.dumps({'format': 'another', 'sizes': {}})), 2),
        (lambda path: path.write_text(path.read_text().replace('[3, 4]', '[3, "4"]')), 2),
        (lambda path: path.write_bytes(b'\xff\xfe'), 2),
        (lambda path: path.unlink(), 2),
    ],
)
def test_valid_caches_are_used_and_others_replaced(tmp_path, damage, num_reads):
    reader, path = Reader(), tmp_path / 'cache.json'
    for _ in range(2):
        assert load_or_read_sizes(IDS, reader, 'f', [str(path)]) == SIZES
    damage(path)
    for _ in range(2):
        assert load_or_read_sizes(IDS, reader, 'f', [str(path)]) == SIZES
    assert reader.count == num_reads
    assert [p.name for p in tmp_path.iterdir()] == ['cache.json']


def test_cache_of_other_annotations_or_ids_is_not_used(tmp_path):
    paths = [str(tmp_path / 'cache.json')]
    load_or_read_sizes(IDS, Reader(), 'old', paths)
    assert load_or_read_sizes(IDS, Reader((7, 8)), 'new', paths) == {'x': (7, 8), 'y': (5, 6)}
    assert load_or_read_sizes(['x', 'z'], Reader(), 'new', paths) == {'x': (3, 4), 'z': (5, 6)}


def test_outside_the_data_where_that_cannot_be_written(tmp_path, monkeypatch):
    data, home = tmp_path / 'data', tmp_path / 'home'
    data.mkdir()
    monkeypatch.setenv('XDG_CACHE_HOME', str(home))
    monkeypatch.setattr(image_sizes.os, 'access', lambda path, mode: str(path) != str(data))
    reader = Reader()
    for _ in range(2):
        paths = list_cache_paths(str(data / 'a.odgt'), str(data / 'Images'))
        load_or_read_sizes(IDS, reader, 'f', paths)
    assert reader.count == 1
    assert not list(data.iterdir())
    assert len(list(home.rglob('*.json'))) == 1


def test_no_place_to_write_is_no_obstacle(tmp_path):
    (tmp_path / 'file').write_text('')
    reader = Reader()
    for _ in range(2):
        paths = [str(tmp_path / 'file' / 'cache.json')]
        assert load_or_read_sizes(IDS, reader, 'f', paths) == SIZES
    assert reader.count == 2


def test_cache_names_differ_by_file_and_directory(tmp_path):
    def name(ann, directory, **kwargs):
        return tuple(list_cache_paths(str(tmp_path / ann), str(tmp_path / directory), **kwargs))

    different = {
        name('a.odgt', 'Images'), name('b.odgt', 'Images'), name('a.odgt', 'Small'),
        name('sub/a.odgt', 'sub/Images'), name('a.odgt', 'Images', cache_dir=str(tmp_path)),
        name('sub/a.odgt', 'sub/Images', cache_dir=str(tmp_path)),
    }  # fmt: skip
    assert len(different) == 6
    assert name('a.odgt', 'Images') == name('a.odgt', 'sub/../Images/')


def _read_logged(path, log):
    def read():
        with open(log, 'a') as file:
            file.write('read\n')
        return [(3, 4), (5, 6)]

    assert load_or_read_sizes(IDS, read, 'f', [path]) == SIZES


def test_of_several_processes_one_reads(tmp_path):
    path, log = str(tmp_path / 'cache.json'), tmp_path / 'log'
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=_read_logged, args=(path, log)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert log.read_text() == 'read\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['cache.json', 'log']
