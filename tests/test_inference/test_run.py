"""From inputs to files, in one process and through the tool."""

import csv
import http.server
import json
import sys
import time
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest

from mmdet_lla.cli.predict import main
from mmdet_lla.evaluation import CrowdMetric
from mmdet_lla.inference import Predictor, run
from mmdet_lla.inference.run import predict_files
from mmdet_lla.inference.sources import Video, find_sources

pytest.importorskip('supervision')  # of the extra `predict`

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'predict.py'


@pytest.fixture(scope='module')
def predictor(folder):
    return Predictor(folder / 'config.py', folder / 'weights.pth', threshold=0.3)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def film(path: Path, frames: int = 12) -> Path:
    """A video whose frames differ."""
    sink = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 120))
    for i in range(frames):
        image = np.random.default_rng(i).integers(256, size=(12, 16, 3), dtype=np.uint8)
        sink.write(cv2.resize(image, (160, 120)))
    sink.release()
    return path


def test_every_format_says_the_same(folder, pictures, predictor, tmp_path):
    summary = predict_files(
        predictor,
        [str(pictures)],
        tmp_path,
        ['odgt', 'coco', 'yolo', 'csv'],
        progress=False,
    )
    records = lines(tmp_path / 'detections.jsonl')
    assert [Path(one['image']).stem for one in records] == list('012345')
    assert summary.frames == 6 and summary.people == sum(one['count'] for one in records) > 60
    assert not summary.broken

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
        drawn = cv2.imread(str(tmp_path / 'pictures' / f'{name}.jpg'))
        assert drawn.shape[:2] == (record['height'], record['width'])
        plain = cv2.imread(record['image'])
        assert np.abs(drawn.astype(int) - plain).max() > 100


def test_odgt_is_what_the_metric_writes(folder, predictor, tmp_path):
    """So that what reads the one reads the other."""
    source = folder / 'crowd' / 'Images'
    predict_files(predictor, [str(source)], tmp_path, ['odgt'], draw=False, progress=False)
    (record, *_) = lines(tmp_path / 'detections.odgt')
    metric = CrowdMetric(format_only=True, outfile_prefix=str(tmp_path / 'metric.odgt'))
    image = cv2.imread(str(source / f'{record["ID"]}.jpg'))
    found = predictor(image)
    sample = dict(
        img_id=record['ID'],
        ori_shape=image.shape[:2],
        pred_instances=dict(bboxes=found.boxes, scores=found.scores),
    )
    metric.process({}, [sample])
    metric.compute_metrics(metric.results)
    assert lines(tmp_path / 'metric.odgt') == [record]


def test_names_of_two_folders_do_not_meet(pictures, predictor, tmp_path):
    for name in ('a', 'b/deep'):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / '0.png').write_bytes((pictures / '0.png').read_bytes())
    inputs = [str(tmp_path / 'a'), str(tmp_path / 'b'), str(tmp_path / 'a' / '*.png')]
    inputs.append(str(pictures / '0.png'))
    predict_files(predictor, inputs, tmp_path / 'out', progress=False)
    drawn = sorted(
        path.relative_to(tmp_path / 'out/pictures').as_posix()
        for path in (tmp_path / 'out').rglob('*.jpg')
    )
    assert drawn == ['0.jpg', '0_2.jpg', 'deep/0.jpg']


def test_video_is_drawn_and_counted_frame_by_frame(predictor, tmp_path):
    video = film(tmp_path / 'street.avi')
    summary = predict_files(predictor, [str(video)], tmp_path / 'out', progress=False)
    records = lines(tmp_path / 'out' / 'detections.jsonl')
    assert [one['frame'] for one in records] == list(range(12))
    assert [one['time'] for one in records] == pytest.approx([i / 10 for i in range(12)])
    assert summary.frames == 12 and not summary.broken
    drawn = Video(str(tmp_path / 'out' / 'street.mp4'))
    assert drawn.count == 12 and drawn.rate == 10
    for frame, alone in zip(Video(str(video)).frames(), records, strict=True):
        found = predictor(frame.image)
        assert len(found) == alone['count']


class Camera(http.server.BaseHTTPRequestHandler):
    """Sends pictures as web cameras do."""

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=next')
        self.end_headers()
        data = cv2.imencode('.jpg', np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
        for _ in range(8):
            head = f'--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n'
            self.wfile.write(head.encode() + data + b'\r\n')
            time.sleep(0.02)

    def log_message(self, *args):
        pass


def test_a_stream_is_read_by_its_address(predictor, tmp_path):
    with http.server.HTTPServer(('127.0.0.1', 0), Camera) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/gate.mjpg'
        summary = predict_files(predictor, [address], tmp_path / 'out', progress=False)
        server.shutdown()
    assert summary.frames >= 1 and not summary.broken
    records = lines(tmp_path / 'out' / 'detections.jsonl')
    assert len(records) == summary.frames
    assert {(one['width'], one['height']) for one in records} == {(64, 48)}


def test_a_stream_that_gives_nothing_is_broken(predictor, tmp_path, monkeypatch):
    class Dead:
        isOpened = staticmethod(lambda: True)
        get = staticmethod(lambda what: 0.0)
        read = staticmethod(lambda: (False, None))
        release = staticmethod(lambda: None)

    monkeypatch.setattr(cv2, 'VideoCapture', lambda source: Dead)
    address = 'rtsp://gate/1'
    summary = predict_files(predictor, [address], tmp_path / 'out', progress=False)
    assert summary.frames == 0 and summary.broken == [f'{address}: not one frame can be read']


def test_frames_that_cannot_be_read_are_said(predictor, tmp_path):
    video = film(tmp_path / 'street.avi', 30)
    data = video.read_bytes()
    (tmp_path / 'cut.avi').write_bytes(data[: len(data) // 2])
    said = []
    summary = predict_files(
        predictor,
        [str(tmp_path / 'cut.avi')],
        tmp_path / 'out',
        draw=False,
        progress=False,
        report=said.append,
    )
    assert 10 < summary.frames < 25
    assert len(summary.broken) == 1 and f'{30 - summary.frames} of 30 frames' in summary.broken[0]
    assert said == [f'skipped {summary.broken[0]}']


@pytest.mark.parametrize(
    'inputs, words',
    [
        (['nowhere/*.jpg'], 'names no picture'),
        (['empty'], 'holds no picture'),
        (['text.mp4'], 'is no video'),
        (['98'], 'is no camera'),
    ],
)
def test_inputs_that_name_nothing(tmp_path, monkeypatch, inputs, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(ValueError, match=words):
        find_sources(inputs)


def test_options_that_do_not_go_together(pictures, predictor, tmp_path):
    for options in (dict(track=True), dict(zones=[[0, 0, 9, 0, 9, 9]])):
        with pytest.raises(ValueError, match='need a video'):
            predict_files(predictor, [str(pictures)], tmp_path, **options)
    with pytest.raises(ValueError, match='--line goes with --track'):
        predict_files(predictor, [str(pictures)], tmp_path, lines=[[0, 0, 9, 9]])


@pytest.mark.parametrize(
    'absent, options, words',
    [
        ('supervision', {}, 'drawing needs supervision.*no-draw'),
        ('supervision', dict(draw=False, zones=[[0, 0, 9, 0, 9, 9]]), 'zone needs supervision'),
        ('trackers', dict(draw=False, track=True), '--track needs trackers.*extra predict'),
    ],
)
def test_extras_that_are_not_there_are_asked_for_at_once(
    predictor, tmp_path, monkeypatch, absent, options, words
):
    monkeypatch.setattr(run, 'find_spec', lambda name: None if name == absent else name)
    video = film(tmp_path / 'street.avi', 1)
    with pytest.raises(ImportError, match=words):
        predict_files(predictor, [str(video)], tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()


def test_zones_do_without_trackers(predictor, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'trackers', None)  # an import of it fails
    monkeypatch.delitem(sys.modules, 'mmdet_lla.inference.tracking', raising=False)
    summary = predict_files(
        predictor,
        [str(film(tmp_path / 'street.avi', 2))],
        tmp_path / 'out',
        zones=[[0, 0, 160, 0, 160, 120, 0, 120]],
        progress=False,
    )
    ((zone,),) = (counts.values() for counts in summary.counts.values())
    assert zone['now'] > 0


def test_tool_names_what_is_broken(folder, pictures, tmp_path, monkeypatch, capsys):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'good.png').write_bytes((pictures / '0.png').read_bytes())
    (tmp_path / 'in' / 'broken.png').write_bytes((pictures / '0.png').read_bytes()[:500])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONWARNINGS', 'ignore')

    def run(*args):
        return main([str(folder / 'config.py'), *args]), capsys.readouterr()

    status, said = run('in', '--weights', str(folder / 'weights.pth'), '--threshold', 'auto')
    assert status == 1
    assert 'score at least 0.4' in said.out and 'broken.png' in said.err
    assert len(lines(tmp_path / 'work_dirs/predict/detections.jsonl')) == 1
    assert (tmp_path / 'work_dirs/predict/pictures/good.jpg').is_file()
    status, said = run('in')
    assert status == 2 and '--weights' in said.err
