"""From inputs to files, in one process and through the command."""

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import stub_detector
from media import write_image, write_video
from stub_detector import StubDetector

from mmdet_lla.cli import predict
from mmdet_lla.inference import Predictor, run
from mmdet_lla.inference.run import plan_run, predict_files
from mmdet_lla.inference.video import VideoReader
from mmdet_lla.inference.writers import WRITERS


@pytest.fixture
def cwd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(cwd, monkeypatch, capsys):
    """Runs the command with the stub; gives its status and all it prints."""
    monkeypatch.setenv('PYTHONWARNINGS', 'ignore')
    monkeypatch.setattr('mmdet_lla.inference.predictor.load_detector', lambda *args: StubDetector())

    def run_command(*args):
        status = predict.main(['stub', *map(str, args)])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run_command


def run_stub(predictor, inputs, out_dir=None, **options):
    plan = plan_run([str(one) for one in inputs], out_dir, **options)
    return predict_files(predictor, plan, progress=False, report=lambda line: None)


def lines(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def names(directory) -> list[str]:
    return sorted(
        path.relative_to(directory).as_posix()
        for path in Path(directory).rglob('*')
        if path.is_file()
    )


def start(*args, **environment) -> subprocess.Popen:
    """The command with the stub in a process of its own, which imports no torch."""
    return subprocess.Popen(
        [sys.executable, stub_detector.__file__, 'stub.onnx', *map(str, args)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_every_format_has_the_same_content(directory, images, tmp_path):
    predictor = Predictor(directory / 'config.py', directory / 'weights.pth', threshold=0.3)
    summary = run_stub(predictor, [images], tmp_path, formats=list(WRITERS))
    records = lines(tmp_path / 'detections.jsonl')
    assert [Path(one['image']).stem for one in records] == list('012345')
    assert summary.frames == 6 and summary.detections == sum(r['count'] for r in records) > 60
    assert not summary.failed and {path.name for path in summary.written} == {
        *('detections.jsonl', 'vis', 'labels', 'detections.csv'),
        *('detections.odgt', 'detections.coco.json'),
    }
    coco = json.loads((tmp_path / 'detections.coco.json').read_text())
    table = list(csv.DictReader(open(tmp_path / 'detections.csv')))
    assert coco['categories'] == [{'id': 1, 'name': 'person'}]
    for image, record, crowd in zip(
        coco['images'], records, lines(tmp_path / 'detections.odgt'), strict=True
    ):
        boxes = np.array([one['box'] for one in record['detections']])
        scores = [one['score'] for one in record['detections']]
        assert len(boxes) == record['count'] and min(scores) >= 0.3
        own = [one for one in coco['annotations'] if one['image_id'] == image['id']]
        np.testing.assert_allclose([one['score'] for one in own], scores)
        own_boxes = np.array([one['bbox'] for one in own])
        own_boxes[:, 2:] += own_boxes[:, :2]
        np.testing.assert_allclose(own_boxes, boxes, atol=0.02)
        assert image['file_name'] == record['image']

        rows = [row for row in table if row['image'] == record['image']]
        assert [float(row['x1']) for row in rows] == boxes[:, 0].tolist()
        np.testing.assert_allclose([one['score'] for one in crowd['dtboxes']], scores, atol=1e-4)
        name = Path(record['image']).stem
        yolo = np.loadtxt(tmp_path / 'labels' / f'{name}.txt', ndmin=2)
        size = np.array([record['width'], record['height']])
        np.testing.assert_allclose(
            (yolo[:, 1:3] - yolo[:, 3:5] / 2) * size, boxes[:, :2], atol=0.02
        )
        drawn = cv2.imread(str(tmp_path / 'vis' / f'{name}.jpg'))
        assert drawn.shape[:2] == (record['height'], record['width'])
        assert np.abs(drawn.astype(int) - cv2.imread(record['image'])).max() > 100


@pytest.mark.parametrize(
    'given, out_dir, options, words',
    [
        (['a/vis'], 'a', '', 'output a/vis would overwrite input a/vis/a.jpg'),
        (['vid/street.avi', 'vid/street.mp4'], 'vid', '', 'street.mp4 would overwrite input'),
        (['linked.jpg'], 'a', '', 'would overwrite input linked.jpg'),
        (['ds/images'], 'ds', '--format yolo', 'ds already contains labels'),
        (['a'], 'ds', '--format csv', 'ds already contains detections.csv'),
        (['a'], 'e.txt', '', 'lies below .*e.txt, which is a file'),
        (['a'], 'e.txt/b/c', '', 'lies below .*e.txt, which is a file'),
    ],
)
def test_nothing_is_overwritten(command, cwd, given, out_dir, options, words):
    for name in ('a/vis/a.jpg', 'ds/images/b.jpg'):
        write_image(cwd / name)
    for name in ('ds/labels/b.txt', 'ds/detections.csv', 'e.txt'):
        (cwd / name).parent.mkdir(exist_ok=True)
        (cwd / name).write_text('kept')
    (cwd / 'linked.jpg').symlink_to('a/vis/a.jpg')
    for name in ('street.avi', 'street.mp4'):
        write_video(cwd / 'vid' / name, 2, 'MJPG' if name.endswith('avi') else 'mp4v')
    before = {name: (cwd / name).read_bytes() for name in names(cwd)}
    status, printed = command(*given, '--out-dir', out_dir, *options.split())
    assert status == 2 and re.search(words, printed), printed
    assert {name: (cwd / name).read_bytes() for name in names(cwd)} == before


def test_a_second_run_replaces_the_results_of_the_first_alone(command, cwd):
    """In a given directory; the default one is new each time."""
    for name in ('in/a.jpg', 'in/b.jpg'):
        write_image(cwd / name)
    assert command('in', '--out-dir', 'in/out', '--format', 'yolo')[0] == 0
    for name in ('labels/mine.md', 'vis/mine.md', 'mine.md'):
        (cwd / 'in/out' / name).touch()
    (cwd / 'in/b.jpg').unlink()
    status, printed = command('in', '--out-dir', 'in/out')
    assert status == 0 and 'images and frames: 1, detections: 1' in printed
    assert names(cwd / 'in/out') == [
        *('detections.jsonl', 'labels/mine.md', 'mine.md', 'predict.json', 'vis/a.jpg'),
        'vis/mine.md',
    ]
    for expected in ('predict', 'predict_2', 'predict_3'):
        assert f'work_dirs/{expected}/vis' in command('in/a.jpg')[1]
    (cwd / 'in/out/predict.json').write_text('{"outputs": ["../a.jpg", "/etc/passwd", 1]}')
    assert 'already contains' in command('in/a.jpg', '--out-dir', 'in/out')[1]
    assert (cwd / 'in/a.jpg').exists()


def test_names_do_not_collide(cwd, stub):
    for name in ('a/0.png', 'b/deep/0.png', 'c/0.png'):
        write_image(cwd / name)
    for name in ('a/v.avi', 'b/v.avi'):
        write_video(cwd / name, 2)
    run_stub(stub, ['a', 'b', 'a/*.png', 'c/0.png'], cwd / 'o', formats=['yolo', 'coco'])
    assert [name for name in names('o') if not name.startswith('det')] == [
        *(f'labels/{name}.txt' for name in ('0', '0_2', 'deep/0')),
        *(f'labels/v{i}_00000{j}.txt' for i in ('', '_2') for j in (0, 1)),
        *('predict.json', 'v.mp4', 'v_2.mp4', 'vis/0.jpg', 'vis/0_2.jpg', 'vis/deep/0.jpg'),
    ]
    coco = json.loads(Path('o/detections.coco.json').read_text())
    assert len({image['file_name'] for image in coco['images']}) == 7


def test_video_is_drawn_and_counted_frame_by_frame(cwd, stub):
    video = write_video(cwd / 'street.avi')
    summary = run_stub(stub, [video], cwd / 'out')
    records = lines('out/detections.jsonl')
    assert [one['frame'] for one in records] == list(range(12))
    assert [one['time'] for one in records] == pytest.approx([i / 10 for i in range(12)])
    assert summary.frames == 12 and not summary.failed
    drawn = VideoReader('out/street.mp4')
    assert drawn.count == 12 and drawn.rate == 10
    scores = [
        round(float(stub(one.image).scores[0]), 4) for one in VideoReader(str(video)).frames()
    ]
    assert scores == [one['detections'][0]['score'] for one in records]


def test_one_bad_input_never_ends_the_run(command, cwd):
    write_image(cwd / 'in/a.jpg')
    write_image(cwd / 'in/b.png', (3000, 1))
    (cwd / 'in/c.png').write_bytes((cwd / 'in/a.jpg').read_bytes()[:100])
    (cwd / 'in/d.webp').touch()
    write_image(cwd / 'in/e.png', (66000, 2))
    write_image(cwd / 'in/f.png', (13, 9))
    write_image(Path(os.fsdecode(os.fsencode(cwd) + b'/in/stra\xdfe.jpg')))
    (cwd / 'in/torn.mp4').write_bytes(b'torn')
    write_video(cwd / 'in/v.avi', 2)
    write_image(cwd / 'in/z.jpg')
    status, printed = command('in', 'nowhere.jpg', '--out-dir', 'o', '--format', *WRITERS)
    assert status == 1 and 'Traceback' not in printed
    found = [Path(one['image']).name for one in lines('o/detections.jsonl')]
    assert found == ['a.jpg', 'e.png', 'stra\udcdfe.jpg', 'v.avi', 'v.avi', 'z.jpg']
    assert 'e.png' in names('o/vis')  # wider than JPEG allows
    for name in ('b.png', 'c.png', 'd.webp', 'f.png', 'torn.mp4', 'nowhere.jpg'):
        assert f'{name}: ' in printed, name
    assert 'RuntimeError: unlucky' in printed and '6 failed' in printed


def test_more_videos_than_open_files(cwd, stub):

    write_video(cwd / 'in/a.avi', 1)
    for i in range(40):
        (cwd / f'in/{i}.avi').symlink_to('a.avi')
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir('/proc/self/fd'))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, before[1]))
    try:
        summary = run_stub(stub, ['in'], cwd / 'out')
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert summary.frames == 41 and not summary.failed


@pytest.mark.parametrize('number', ['SIGINT', 'SIGTERM', 'SIGHUP'])
def test_signals_leave_complete_files(cwd, number):
    write_video(cwd / 'long.avi', 100)
    process = start('long.avi', '--out-dir', 'o', '--format', 'coco', STUB_SECONDS='0.05')
    end = time.monotonic() + 60
    while not Path('o/detections.jsonl').exists() or len(lines('o/detections.jsonl')) < 5:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)
    process.send_signal(getattr(signal, number))
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, number), printed
    count = len(lines('o/detections.jsonl'))
    assert 5 <= count < 100
    assert len(json.loads(Path('o/detections.coco.json').read_text())['images']) == count
    assert len(list(VideoReader('o/long.mp4').frames())) == count


@pytest.mark.parametrize(
    'given, limit, words',
    [
        (['v.avi'], 20_000, r'v.mp4 could not be written completely'),
        (['in'], 200, r'(?=.*stopped: .*File too large)(?=.*incomplete: o/detections.jsonl)'),
    ],
)
def test_files_that_may_not_grow(cwd, given, limit, words):
    write_video(cwd / 'v.avi', 12)
    for i in range(3):
        write_image(cwd / f'in/{i}.jpg')
    process = start(*given, '--out-dir', 'o', STUB_MAX_FILE_SIZE=str(limit))
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and 'Traceback' not in printed, printed
    assert re.search(words, printed, re.S), printed
    assert not [name for name in names('o') if name.endswith(('.mp4', '.part', '0.jpg'))]


def test_command_without_torch(cwd):
    write_image(cwd / 'a.jpg')
    printed, _ = start('a.jpg', '--out-dir', 'o').communicate(timeout=60)
    assert 'imported: []' in printed and names('o') == [
        *('detections.jsonl', 'predict.json', 'vis/a.jpg'),
    ]


def test_multiple_images_in_a_file_and_skipped_files_are_reported(command, cwd):
    from PIL import Image

    pages = [Image.new('L', (20, 20), 9)] * 3
    Path('in').mkdir()
    pages[0].save('in/p.tif', save_all=True, append_images=pages[1:])
    Path('in/notes.txt').touch()
    status, printed = command('in')
    assert status == 0 and 'in/p.tif: the first image is used, 2 more are not' in printed
    assert 'neither image nor video in directories: 1 .txt' in printed


@pytest.mark.parametrize(
    'args, words',
    [
        ('--track a.jpg', 'need a video'),
        ('--zone 0,0,9,0,9,9 a.jpg', 'need a video'),
        ('--line 0,0,9,9 v.avi', '--line counts tracks, so it needs --track'),
        ('--track --line -5,0,9 v.avi', 'a line is x1,y1,x2,y2, got 3 numbers'),
        ('--track --zone -5,-5,0,0,1 v.avi', 'a zone is'),
        ('--threshold 2 a.jpg', 'between 0 and 1'),
        ('nothing.jpg', 'not found: expected an image'),
    ],
)
def test_invalid_options(command, cwd, args, words):
    write_image(cwd / 'a.jpg')
    write_video(cwd / 'v.avi', 1)
    status, printed = command(*args.split())
    assert status == 2 and words in printed and not Path('work_dirs').exists()


@pytest.mark.parametrize(
    'missing, options, words',
    [
        ('supervision', dict(zones=[[0, 0, 9, 0, 9, 9]]), '--zone needs supervision'),
        ('trackers', dict(track=True), "--track needs trackers.*'mmdet-lla.predict.'"),
    ],
)
def test_missing_extras_are_reported_at_once(cwd, monkeypatch, missing, options, words):
    monkeypatch.setattr(run, 'find_spec', lambda name: None if name == missing else name)
    write_video(cwd / 'street.avi', 1)
    with pytest.raises(ImportError, match=words):
        plan_run(['street.avi'], cwd / 'out', **options)


def test_zones_need_no_trackers(cwd, stub, monkeypatch):
    pytest.importorskip('supervision')  # of the extra `predict`
    monkeypatch.setitem(sys.modules, 'trackers', None)  # an import of it fails
    monkeypatch.delitem(sys.modules, 'mmdet_lla.inference.tracking', raising=False)
    zone = [0, 0, 160, 0, 160, 120, 0, 120]
    summary = run_stub(stub, [write_video(cwd / 'street.avi', 2)], cwd / 'out', zones=[zone])
    assert summary.counts == {str(cwd / 'street.avi'): {'zone 1': {'now': 1, 'visitors': 0}}}


def test_command_offers_every_format():
    assert sorted(WRITERS) == sorted(predict.FORMATS)
    given = 'm v.mp4 --line -5,1,2,3 --zone 1,2,3,4,5,6 --line=1,2,3,4'.split()
    args = predict.build_parser().parse_args(predict.join_coordinates(given))
    assert args.line == [[-5, 1, 2, 3], [1, 2, 3, 4]] and args.inputs == ['v.mp4']
