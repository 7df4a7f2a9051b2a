"""Sizes from headers are the sizes OpenCV loads; the cache never lies and never tears."""

import io
import json
import multiprocessing
import zlib

import mmcv
import numpy as np
import pytest
from PIL import Image

from mmdet_lla.datasets import image_sizes
from mmdet_lla.datasets.image_sizes import (
    ImageReadError,
    ImageTooLargeError,
    cache_files,
    cached_sizes,
    decode_image,
    find_images,
    read_image_size,
    read_image_sizes,
)

FORMS = ['JPEG', 'MPO', 'PNG', 'WEBP', 'TIFF', 'AVIF', 'JPEG2000', 'GIF', 'BMP']


def turned(form, orientation, pixels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form, exif=exif)
    return data.getvalue()


def chunk(kind, data):
    check = zlib.crc32(kind + data)
    return len(data).to_bytes(4, 'big') + kind + data + check.to_bytes(4, 'big')


def rearranged(png, place):
    """A PNG with its EXIF elsewhere: behind the pixels, behind the end, or as a text."""
    chunks, start = [], 8
    while start < len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4], 'big')
        chunks.append(png[start:end])
        start = end
    (exif,) = [one for one in chunks if one[4:8] == b'eXIf']
    rest = [one for one in chunks if one[4:8] != b'eXIf']
    if place == 'after the pixels':
        rest[-1:] = [exif, rest[-1]]
    elif place == 'after the end':
        rest.append(exif)
    else:
        raw = exif[8:-4]
        text = f'\nexif\n{len(raw):8}\n{raw.hex()}\n'.encode()
        rest.insert(1, chunk(b'tEXt', b'Raw profile type exif\0' + text))
    return png[:8] + b''.join(rest)


def assert_as_opencv(content):
    loaded = mmcv.imfrombytes(content, backend='cv2')
    assert read_image_size(io.BytesIO(content)) == loaded.shape[:2]


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('form', FORMS)
def test_size_equals_what_opencv_loads(form, orientation, tmp_path):
    content = turned(form, orientation, np.zeros((20, 40, 3), np.uint8))
    assert_as_opencv(content)
    path = tmp_path / 'image'  # whatever it is called
    path.write_bytes(content)
    assert read_image_size(str(path)) == read_image_size(io.BytesIO(content))


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
@pytest.mark.parametrize('place', ['after the pixels', 'after the end', 'text'])
@pytest.mark.parametrize('shape', [(20, 40, 3), (20, 40), (300, 500, 3), (300, 500, 4)])
def test_size_of_a_png_with_its_exif_elsewhere(shape, place, orientation):
    # OpenCV 5 heeds an EXIF behind the pixels in most files, but not in all.
    for pixels in (np.zeros(shape, np.uint8),
                   np.random.default_rng(0).integers(0, 255, shape, np.uint8)):  # fmt: skip
        assert_as_opencv(rearranged(turned('PNG', orientation, pixels), place))


@pytest.mark.parametrize('form', ['JPEG', 'MPO', 'PNG', 'WEBP'])
def test_size_of_a_picture_with_damaged_exif(form):
    """OpenCV takes an orientation from what Pillow refuses."""
    whole = turned(form, 6, np.zeros((20, 40, 3), np.uint8))
    start = whole.index(b'MM\0*')  # an EXIF of one entry: tag, type, count, value
    loaded = 0
    for place in range(start, start + 22):
        for value in (0, 1, 8, 0xE0):
            content = whole[:place] + bytes([value]) + whole[place + 1 :]
            try:
                size = read_image_size(io.BytesIO(content))
            except ImageReadError:
                assert form == 'PNG'  # its sums tell
                continue
            assert size == mmcv.imfrombytes(content, backend='cv2').shape[:2]
            loaded += 1
    assert loaded == 88 or form == 'PNG'


def test_pictures_that_are_too_large_are_named(tmp_path):
    """Of 200 million pixels, told by its header alone."""
    head = (20_000).to_bytes(4, 'big') + (10_000).to_bytes(4, 'big') + b'\x08\x02\0\0\0'
    path = tmp_path / 'large.png'
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', b''))
    for look in (read_image_size, decode_image):
        with pytest.raises(ImageTooLargeError, match='large.png: .*200000000 pixels'):
            look(str(path))
    with pytest.raises(OSError, match='1 of 1 images .*large.png: .*200000000 pixels'):
        read_image_sizes([str(path)])


@pytest.mark.parametrize('form', FORMS)
def test_damaged_pictures_are_named(form, tmp_path):
    """Pillow refuses them by errors of a dozen kinds."""
    rng = np.random.default_rng(0)
    whole = turned(form, 6, rng.integers(0, 255, (20, 40, 3), np.uint8))
    path = tmp_path / 'damaged'
    refused = 0
    for _ in range(60):
        content = bytearray(whole[: int(rng.integers(1, len(whole) + 1))])
        for place in rng.integers(0, min(len(content), 200), 3):
            content[place] = int(rng.integers(256))
        path.write_bytes(content)
        for look in (read_image_size, decode_image):
            try:
                look(str(path))
            except ImageReadError as error:
                assert str(error).startswith(f'{path}: ')
                refused += 1
    assert refused > 20


def test_pixels_are_not_decoded(tmp_path):
    # Half of a file still has its header.
    path = tmp_path / 'half.jpg'
    Image.effect_noise((300, 200), 50).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read_image_size(str(path)) == (200, 300)


def test_unreadable_pictures_are_named(tmp_path):
    good = tmp_path / 'good.png'
    Image.new('RGB', (3, 4)).save(good)
    (tmp_path / 'text.jpg').write_text('not a image')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    paths = [str(tmp_path / name) for name in ('good.png', 'text.jpg', 'empty.jpg', 'none.jpg')]
    with pytest.raises(OSError, match='3 of 4') as error:
        image_sizes.read_image_sizes(paths)
    assert all(name in str(error.value) for name in ('text.jpg', 'empty.jpg', 'none.jpg'))
    assert 'good.png' not in str(error.value)


def test_find_pictures_prefers_the_suffix(tmp_path):
    for name in ('a', 'a.jpg', 'b.png', 'sub/c.jpg'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'')
    root = str(tmp_path)
    found = find_images(['a', 'b.png', 'sub/c'], root, '.jpg')
    assert found == [f'{root}/a.jpg', f'{root}/b.png', f'{root}/sub/c.jpg']
    with pytest.raises(FileNotFoundError, match='7 of 7.*sub/none4.jpg, ...$'):
        find_images([f'sub/none{i}' for i in range(7)], root, '.jpg')


class Reader:
    """Stands for reading images, and counts how often it is asked to."""

    def __init__(self, size=(3, 4)):
        self.size, self.count = size, 0

    def __call__(self):
        self.count += 1
        return [self.size, (5, 6)]


NAMES = ['x', 'y']


def same(sizes, expected):
    return {name: tuple(size) for name, size in sizes.items()} == expected


def test_second_time_nothing_is_read(tmp_path):
    reader, files = Reader(), [str(tmp_path / 'cache.json')]
    for _ in range(3):
        assert same(cached_sizes(NAMES, reader, 'f', files), {'x': (3, 4), 'y': (5, 6)})
    assert reader.count == 1
    assert [p.name for p in tmp_path.iterdir()] == ['cache.json']


@pytest.mark.parametrize(
    'damage',
    [
        lambda path: path.write_text(path.read_text()[:-9]),
        lambda path: path.write_text('[]'),
        lambda path: path.write_text(json.dumps({'format': 'another', 'sizes': {}})),
        lambda path: path.write_bytes(b'\xff\xfe'),
        lambda path: path.unlink(),
    ],
)
def test_unfit_cache_is_read_anew(tmp_path, damage):
    reader, path = Reader(), tmp_path / 'cache.json'
    cached_sizes(NAMES, reader, 'f', [str(path)])
    damage(path)
    assert same(cached_sizes(NAMES, reader, 'f', [str(path)]), {'x': (3, 4), 'y': (5, 6)})
    assert reader.count == 2


def test_cache_of_other_annotations_or_names_is_not_used(tmp_path):
    files = [str(tmp_path / 'cache.json')]
    cached_sizes(NAMES, Reader(), 'old', files)
    assert same(cached_sizes(NAMES, Reader((7, 8)), 'new', files), {'x': (7, 8), 'y': (5, 6)})
    assert same(cached_sizes(['x', 'z'], Reader(), 'new', files), {'x': (3, 4), 'z': (5, 6)})


def test_outside_the_data_where_that_cannot_be_written(tmp_path, monkeypatch):
    data, home = tmp_path / 'data', tmp_path / 'home'
    data.mkdir()
    monkeypatch.setenv('XDG_CACHE_HOME', str(home))
    monkeypatch.setattr(
        image_sizes.os, 'access', lambda path, mode: str(path) != str(data), raising=True
    )
    files = cache_files(str(data / 'a.odgt'), str(data / 'Images'))
    reader = Reader()
    for _ in range(2):
        cached_sizes(NAMES, reader, 'f', files)
    assert reader.count == 1
    assert not list(data.iterdir())
    assert len(list(home.rglob('*.json'))) == 1


def test_no_place_to_write_is_no_obstacle(tmp_path):
    (tmp_path / 'file').write_text('')
    reader = Reader()
    files = [str(tmp_path / 'file' / 'cache.json')]
    for _ in range(2):
        assert same(cached_sizes(NAMES, reader, 'f', files), {'x': (3, 4), 'y': (5, 6)})
    assert reader.count == 2


def test_cache_names_tell_files_and_folders_apart(tmp_path):
    def name(ann, directory, **kwargs):
        return tuple(cache_files(str(tmp_path / ann), str(tmp_path / directory), **kwargs))

    different = {
        name('a.odgt', 'Images'), name('b.odgt', 'Images'), name('a.odgt', 'Small'),
        name('sub/a.odgt', 'sub/Images'), name('a.odgt', 'Images', cache_dir=str(tmp_path)),
        name('sub/a.odgt', 'sub/Images', cache_dir=str(tmp_path)),
    }  # fmt: skip
    assert len(different) == 6
    assert name('a.odgt', 'Images') == name('a.odgt', 'sub/../Images/')


def _read_slowly(path, log):
    def read():
        with open(log, 'a') as file:
            file.write('read\n')
        return [(3, 4), (5, 6)]

    assert same(cached_sizes(NAMES, read, 'f', [path]), {'x': (3, 4), 'y': (5, 6)})


def test_of_several_processes_one_reads(tmp_path):
    path, log = str(tmp_path / 'cache.json'), tmp_path / 'log'
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=_read_slowly, args=(path, log)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert log.read_text() == 'read\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['cache.json', 'log']
