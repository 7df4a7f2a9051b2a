"""Frames, their times, missing ones, and the length of what is written."""

import http.server
import re
import time
from contextlib import contextmanager
from threading import Thread

import cv2
import numpy as np
import pytest
from media import write_video
from PIL import Image

from mmdet_lla.inference import video
from mmdet_lla.inference.video import VideoReader, VideoWriter


@contextmanager
def serve(respond):
    """Serve HTTP at an address, each request by ``respond(handler)``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            try:
                respond(self)
            except (BrokenPipeError, ConnectionResetError):
                pass

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def send_file(data: bytes, sent: float = 1.0):
    """Announce a file and send a fraction of it."""

    def respond(handler):
        handler.send_header('Content-Length', str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: int(len(data) * sent)])

    return respond


def send_jpegs(number: int, pause: float):
    """Send images as network cameras do."""
    data = cv2.imencode('.jpg', np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    head = f'--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n'.encode()

    def respond(handler):
        handler.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=next')
        handler.end_headers()
        for _ in range(number):
            handler.wfile.write(head + data + b'\r\n')
            time.sleep(pause)

    return respond


def read(source: str) -> tuple[list, list[str]]:
    """Frames and errors."""
    frames = list(VideoReader(str(source)).frames())
    return [one for one in frames if not one.error], [one.error for one in frames if one.error]


def test_frames_have_indices_and_times(tmp_path):
    frames, errors = read(write_video(tmp_path / 'a.avi', 5))
    assert not errors and [one.index for one in frames] == list(range(5))
    assert [one.time for one in frames] == pytest.approx([i / 10 for i in range(5)])


@pytest.mark.parametrize(
    'name, words',
    [
        ('cut.avi', r'\d+ of 30 frames cannot be read'),
        ('cut.mkv', 'the file is truncated'),
        ('cut.mp4', None),
        ('text.mp4', None),
    ],
)
def test_damaged_files(tmp_path, name, words):
    whole = write_video(tmp_path / f'whole.{name[-3:]}', 30, 'mp4v' if 'mp4' in name else 'MJPG')
    assert read(whole)[1] == []
    data = whole.read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2] if 'cut' in name else b'no video')
    if words is None:
        with pytest.raises(ValueError, match=f'{name}: not a video'):
            VideoReader(str(tmp_path / name))
    else:
        frames, (error,) = read(tmp_path / name)
        assert 10 < len(frames) < 25
        assert re.search(words, error) and name in error


def test_an_estimated_number_of_frames_is_no_promise(tmp_path):
    """MKV stores a duration, which is that of the sound if that is longer."""
    reader = VideoReader(str(write_video(tmp_path / 'a.mkv', 5)))
    reader.count = 50
    assert [one.error for one in reader.frames()] == [None] * 5


@pytest.mark.parametrize('sent, words', [(1.0, None), (0.5, 'of 20 frames cannot be read')])
def test_a_file_at_an_address_is_read_completely(tmp_path, sent, words):
    data = write_video(tmp_path / 'a.avi', 20).read_bytes()
    with serve(send_file(data, sent)) as address:
        reader = VideoReader(f'{address}/a.avi')
        assert not reader.live and reader.count == 20
        frames = list(reader.frames())
    errors = [one.error for one in frames if one.error]
    if words is None:
        assert not errors and len(frames) == 20
    else:
        assert words in errors[0]


def test_stream_has_the_times_of_arrival_and_reports_its_end():
    with serve(send_jpegs(8, 0.1)) as address:
        reader = VideoReader(f'{address}/gate.mjpg')
        assert reader.live and reader.count is None
        frames = list(reader.frames())
    assert 'stream ended after' in frames.pop().error
    assert len(frames) >= 6
    steps = np.diff([one.time for one in frames])
    assert np.median(steps) == pytest.approx(0.1, abs=0.04)


def test_animations_are_videos(tmp_path):
    images = [Image.new('RGB', (8, 6), (value, 0, 0)) for value in (0, 100, 200)]
    path = tmp_path / 'a.gif'
    images[0].save(path, save_all=True, append_images=images[1:], duration=[100, 400, 200])
    reader = VideoReader(str(path))
    frames = list(reader.frames())
    assert (reader.count, reader.live) == (3, False)
    assert [one.time for one in frames] == [0, 0.1, 0.5]
    assert [int(one.image[0, 0, 2]) for one in frames] == pytest.approx([0, 100, 200], abs=3)


@pytest.mark.parametrize(
    'times, length',
    [
        ([i / 10 for i in range(6)], 6),
        ([5 + i / 10 for i in range(6)], 6),  # starts late
        ([0, 0.1, 0.5, 1.0], 11),  # variable rate: frames are repeated
        ([i / 40 for i in range(40)], 15),  # four times the rate: at most half a second ahead
        ([0, 0.1, 1e5, 1e5 + 0.1, 3, 3.1], 6),  # a clock that jumps
    ],
)
def test_written_video_is_as_long_as_its_source(tmp_path, times, length):
    writer = VideoWriter(tmp_path / 'a.mp4', (64, 48), 10)
    for i, now in enumerate(times):
        writer.write(np.full((48, 64, 3), 20 * i % 256, np.uint8), now)
    writer.close()
    assert abs(VideoReader(str(tmp_path / 'a.mp4')).count - length) <= (times[1] < 0.1)
    assert len(list(tmp_path.iterdir())) == 1


def test_video_that_cannot_be_completed_is_an_error(tmp_path, monkeypatch):
    """OpenCV itself reports no error."""
    writer = VideoWriter(tmp_path / 'a.mp4', (64, 48), 10)
    writer.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    writer._written += 1  # as if the last frame had found no space
    with pytest.raises(OSError, match='could not be written completely'):
        writer.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match='cannot create it'):
        VideoWriter(tmp_path / 'missing' / 'a.mp4', (64, 48), 10)


def test_names_that_are_not_utf8_are_rejected_and_printable():
    with pytest.raises(ValueError, match=r'stra\\udcdfe.mp4: the name is not UTF-8'):
        VideoReader('stra\udcdfe.mp4')
    assert video.printable('stra\udcdfe') == 'stra\\udcdfe'


def test_password_is_not_in_messages(capfd):
    source = 'http://me:secret@127.0.0.1:9/a.mp4'
    with pytest.raises(ValueError) as error:
        VideoReader(source, 'http://127.0.0.1:9/a.mp4')
    printed = capfd.readouterr()
    assert 'secret' not in str(error.value) + printed.out + printed.err
