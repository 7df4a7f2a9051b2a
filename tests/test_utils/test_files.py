"""Atomic writes, output checks and unique names."""

import errno
import os

import pytest

from mmdet_lla.utils import files
from mmdet_lla.utils.files import atomic_path, atomic_write, check_outputs, unique_names


@pytest.mark.parametrize('error', [OSError('full'), SystemExit(143)])
def test_interrupted_write_keeps_the_old_file(tmp_path, error):
    (tmp_path / 'a.txt').write_text('old')
    with pytest.raises(type(error)), atomic_write(tmp_path / 'a.txt') as file:
        file.write('new')
        raise error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('a.txt', 'old')]


def test_write_goes_through_links_and_into_pipes(tmp_path):
    (tmp_path / 'link').symlink_to(tmp_path / 'real.txt')
    with atomic_write(tmp_path / 'link') as file:
        file.write('ä')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'real.txt').read_bytes() == 'ä'.encode()
    with atomic_write(os.devnull, 'wb') as file:
        file.write(b'x')
    assert not os.path.isfile(os.devnull)
    with pytest.raises(IsADirectoryError), atomic_path(tmp_path):
        pass


def test_long_names_and_suffixes_are_kept(tmp_path):
    target = tmp_path / ('x' * 250 + '.mp4')
    with atomic_path(target) as part:
        assert part.suffix == '.mp4' and part.parent == tmp_path
        part.touch()
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    'number, what, fails',
    [
        (errno.EINVAL, 'any', False),
        (errno.ENOSPC, 'directory', False),
        (errno.ENOSPC, 'file', True),
    ],
)
def test_fsync_fails_a_write_only_if_data_is_lost(tmp_path, monkeypatch, number, what, fails):
    def fsync(descriptor):
        is_directory = os.path.isdir(f'/proc/self/fd/{descriptor}')
        if what in ('any', 'directory' if is_directory else 'file'):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, 'fsync', fsync)
    try:
        with atomic_write(tmp_path / 'a') as file:
            file.write('x')
    except OSError:
        assert fails and not list(tmp_path.iterdir())
    else:
        assert not fails and (tmp_path / 'a').read_text() == 'x'


@pytest.mark.parametrize(
    'output, given, words',
    [
        ('in/a.jpg', 'in/a.jpg', 'overwrite input'),
        ('in/../in/a.jpg', 'in/a.jpg', 'overwrite input'),
        ('in', 'in/a.jpg', 'output .*in would overwrite input .*a.jpg'),
        ('in', 'in', 'overwrite input'),
        ('soft.jpg', 'in/a.jpg', 'overwrite input'),
        ('hard.jpg', 'in/a.jpg', 'overwrite input'),
        ('in/a.jpg', 'soft.jpg', 'overwrite input'),
        ('in/a.jpg/out/b.jpg', 'other', 'below .*a.jpg, which is a file'),
        ('in/b.jpg', 'in/a.jpg', None),
        ('in/out', 'in', None),
        ('out/new/b.jpg', 'http://host/a.jpg', None),
        ('out', '0', None),
    ],
)
def test_outputs_are_compared_with_inputs(tmp_path, monkeypatch, output, given, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'a.jpg').touch()
    (tmp_path / 'soft.jpg').symlink_to('in/a.jpg')
    os.link('in/a.jpg', 'hard.jpg')
    if words is None:
        check_outputs([output], [given])
    else:
        with pytest.raises(ValueError, match=words):
            check_outputs(['new', output], ['other', given])


@pytest.mark.parametrize(
    'paths, names',
    [
        ([], []),
        (['v.mp4', 'w.mp4'], ['v', 'w']),
        (['x/1/v.mp4', 'y/1/v.mp4'], ['x_1_v', 'y_1_v']),
        (['a/v.mp4', 'a/v.avi', 'b/v.mp4'], ['a_v', 'a_v_2', 'b_v']),
        (['v.mp4', 'v.mp4', 'v_2.mp4'], ['v', 'v_2', 'v_2_2']),
        (['a.b/c.d.json'], ['c.d']),
    ],
)
def test_names_are_distinct(paths, names):
    assert unique_names(paths) == names
