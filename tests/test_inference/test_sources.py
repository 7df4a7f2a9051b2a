"""Which images, videos and streams inputs contain, and what is skipped."""

from pathlib import Path

import pytest
from media import write_image, write_video
from PIL import Image

from mmdet_lla.inference.sources import Images, find_sources, hide_secrets


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A working directory with everything that directories contain."""
    monkeypatch.chdir(tmp_path)
    for name in ('d/a.jpg', 'd/b.JFIF', 'd/.hidden.jpg', 'd/._a.jpg', 'd/sub/a.jpg', 'else/q.jpg'):
        write_image(Path(name))
    for name in ('2024/x.png', 'brackets[1]/y.jpg', 'e.jpg'):
        write_image(Path(name))
    write_video(Path('d/v.mkv'), 2)
    write_video(Path('d/a.avi'), 2)
    frames = [Image.new('L', (8, 8), value) for value in (0, 90, 180)]
    frames[0].save('d/still.gif')
    frames[0].save('d/moving.gif', save_all=True, append_images=frames[1:], duration=100)
    frames[0].save('d/moving.webp', save_all=True, append_images=frames[1:], duration=100)
    frames[0].save('d/pages.tiff', save_all=True, append_images=frames[1:])
    for name in ('d/notes.txt', 'd/more.TXT', 'd/README'):
        Path(name).touch()
    Path('d/linked').symlink_to('../else')
    Path('d/sub/loop').symlink_to('..')
    Path('empty').mkdir()
    return tmp_path


def describe(sources) -> list[str]:
    found = []
    for source in sources.found:
        found += source.names if isinstance(source, Images) else [f'video {source.name}']
    return found


@pytest.mark.parametrize(
    'given, expected',
    [
        (['e.jpg', 'e.jpg'], 'e'),
        (['2024'], 'x'),  # a directory and no camera
        (['0'], 'video camera0'),
        (['brackets[1]'], 'y'),
        (['d/*.jpg', 'else'], 'a, q'),
        (['else/q.jpg', 'd/v.mkv', 'd/linked/q.jpg'], 'q, video v, q_2'),
        (['d/v.mkv', 'd/../d/v.mkv'], 'video v, video v_2'),
        (['rtsp://me:pw@host/gate/', 'rtsp://me:pw@host?token=1'], 'video gate, video host'),
    ],
)
def test_inputs(inputs, given, expected):
    sources = find_sources(given)
    assert describe(sources) == expected.split(', ')
    assert not sources.errors and not sources.skipped


def test_directory_is_read_completely_or_what_is_skipped_is_counted(inputs):
    sources = find_sources(['d'])
    assert describe(sources) == [
        *('video a_2', 'a', 'b', 'video moving', 'video moving_2', 'pages', 'still', 'video v'),
        *('linked/q', 'sub/a'),
    ]
    assert sources.skipped == {'hidden': 2, '.txt': 2, 'no suffix': 1}
    (pages,) = (one for one in sources.found if isinstance(one, Images) and 'pages' in one.names)
    assert [pages.ignored_images(path) for path in pages.paths] == [2, 0]


def test_output_directories_are_excluded(inputs):
    found = find_sources(['d'], exclude={inputs / 'd' / 'sub', inputs / 'd' / 'a.jpg'})
    assert not {'a', 'sub/a'} & set(describe(found))


def test_names_of_frames_and_images_differ(inputs):
    """NAME_000001 may be the second frame of a video or an extracted image beside it."""
    write_image(Path('frames/v_000001.jpg'))
    write_video(Path('frames/v.avi'), 2)
    assert describe(find_sources(['frames'])) == ['video v_2', 'v_000001']


@pytest.mark.parametrize(
    'given, words',
    [
        ('nowhere/*.jpg', 'not found: expected an image, directory, video'),
        ('nowhere.jpg', 'not found'),
        ('empty', 'contains no images or videos'),
    ],
)
def test_unusable_inputs_are_named_and_others_stay(inputs, given, words):
    sources = find_sources([given, 'e.jpg'])
    assert describe(sources) == ['e']
    (error,) = sources.errors
    assert error.startswith(given) and words in error


@pytest.mark.parametrize(
    'source, shown',
    [
        ('rtsp://me:p@ss:w/rd@host:554/a', None),
        ('rtsp://me:pw@host:554/a?channel=2', 'rtsp://host:554/a?channel=2'),
        (
            'http://host/a.m3u8?user=me&password=pw&x=1',
            'http://host/a.m3u8?user=me&password=***&x=1',
        ),
        ('street@night.mp4', 'street@night.mp4'),
    ],
)
def test_passwords_are_hidden(source, shown):
    assert 'pw' not in hide_secrets(source)
    if shown:
        assert hide_secrets(source) == shown
