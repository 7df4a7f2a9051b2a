"""Exported files compared with mmdet's inference, head by head."""

import copy
import errno
import json
import math
import sys
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from programs import run_program
from test_export.plain_nms import plain_nms
from tiny_crowd import HEADS, make_crowd, tiny_config

pytest.importorskip('onnxscript')  # of the extra `export`
pytest.importorskip('onnxruntime')

from mmdet_lla.cli import export
from mmdet_lla.export import export_detector, files
from mmdet_lla.export.files import write_openvino
from mmdet_lla.export.graph import DetectorGraph
from mmdet_lla.export.heads import NO_SCORE, Candidates, _combine_scores
from mmdet_lla.export.operators import nms_mask
from mmdet_lla.export.rounding import explain
from mmdet_lla.export.sizes import read_size_rule
from mmdet_lla.export.verify import (
    Comparison,
    _compare_image,
    _find_candidates,
    _find_indices,
    build_test_set,
    compare,
    list_test_images,
    match,
)
from mmdet_lla.inference import Predictor
from mmdet_lla.inference.model import TorchDetector
from mmdet_lla.runtime import Detections, Detector
from mmdet_lla.runtime.metadata import Metadata

ROOT = Path(__file__).resolve().parents[2]
#: Sizes of images, and of batches, that the files were not traced with.
SIZES = ((120, 160), (97, 141), (160, 90))
ANCHORS = dict(
    type='AnchorGenerator',
    ratios=[2.0],
    octave_base_scale=4,
    scales_per_octave=2,
    strides=[8, 16, 32, 64, 128],
)


@cache
def configs(directory) -> dict:
    """A config a head; further ones with what changes inference."""
    found = {name: tiny_config(directory, name) for name in ('lla', 'retina', 'atss', 'yolox')}
    found['rtmdet'] = tiny_config(directory, 'rtmdet')
    fcos = found['fcos'] = tiny_config(directory)
    fcos.model.bbox_head = dict(
        type='FCOSHead',
        stacked_convs=1,
        num_classes=3,
        in_channels=96,
        feat_channels=64,
        strides=[8, 16, 32, 64, 128],
        norm_on_bbox=True,
    )
    boxes = found['lla boxes'] = tiny_config(directory)
    boxes.model.bbox_head = dict(
        HEADS['lla'][0],
        anchor_generator=ANCHORS,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        num_classes=2,
    )
    once = found['lla one to one'] = tiny_config(directory)
    once.model.bbox_head = dict(HEADS['lla'][0], num_classes=2, one_to_one=dict())
    once.model.test_cfg.max_per_img = 40
    late = found['lla as released'] = tiny_config(directory)
    late.model.bbox_head = dict(
        HEADS['lla'][0], bbox_coder=dict(type='DistancePointBBoxCoder', clip_border=False)
    )
    late.model.test_cfg.update(clip_detections=True, min_bbox_size=-1, max_per_img=20)
    padded = found['padded'] = tiny_config(directory, 'rtmdet')
    for loader in (padded.val_dataloader, padded.test_dataloader):
        loader.dataset.pipeline.insert(
            2, dict(type='Pad', size=(192, 176), pad_val=dict(img=(114, 114, 114)))
        )
    padded.model.data_preprocessor.pad_size_divisor = 1
    return found


def config_of(directory, name: str):
    """One of them, to be changed."""
    return copy.deepcopy(configs(directory)[name])


def detector_of(cfg, name='') -> TorchDetector:
    """With random weights that give many boxes."""
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.init_weights()
    head = model.bbox_head
    for part, module in head.named_modules():
        if isinstance(module, torch.nn.Conv2d) and not part.endswith('.conv'):
            torch.nn.init.normal_(module.weight, std=0.1)
            torch.nn.init.constant_(module.bias, 0.5 if 'reg' in part else 0.0)
    return TorchDetector(cfg, dict(state_dict=model.state_dict()), 'cpu', name)


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp('export')
    make_crowd(directory, train=2, val=3)
    return directory


def load_images(directory):
    path = sorted((directory / 'crowd' / 'Images').glob('*.jpg'))[0]
    image = cv2.imread(str(path))
    return [cv2.resize(image, size[::-1]) for size in SIZES]


def assert_same(found, others):
    assert len(found) == len(others)
    assert len(match(found, others)) == len(found)


HEAD_NAMES = (
    'lla',
    'lla boxes',
    'lla one to one',
    'lla as released',
    'retina',
    'fcos',
    'atss',
    'yolox',
    'rtmdet',
    'padded',
)


def test_one_to_one_leaves_nms_out_of_the_graph(directory, monkeypatch):
    """What becomes ``NonMaxSuppression`` is called with NMS alone, from the same weights."""
    calls = []
    keep_all = lambda boxes, scores, *settings: calls.append(settings) or scores > NO_SCORE  # noqa: E731
    monkeypatch.setattr('mmdet_lla.export.graph.nms_mask', keep_all)
    model = detector_of(config_of(directory, 'lla one to one')).model
    image = torch.from_numpy(load_images(directory)[0])[None]
    for one_to_one, expected in ((True, []), (False, [(0.6, 40)])):
        model.bbox_head.test_cfg.one_to_one = one_to_one
        with torch.no_grad():
            assert (DetectorGraph(copy.deepcopy(model))(image).labels >= 0).any()
        assert calls == expected


@pytest.fixture(scope='module')
def exported(directory, tmp_path_factory):
    """A detector and its files: float32, int8, and both for OpenVINO where that is installed.

    Anchor boxes, two classes and ``clip_detections``, as no other has so much in its graph. With a
    short backbone and two levels: to trace a graph takes time by its nodes.
    """
    cfg = config_of(directory, 'lla boxes')
    cfg.model.backbone = dict(type='ResNet', depth=18, base_channels=8, out_indices=(1, 2))
    cfg.model.neck.update(in_channels=[16, 32], num_outs=2)
    cfg.model.bbox_head.update(
        anchor_generator=dict(ANCHORS, strides=[8, 16]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', clip_border=False),
    )
    cfg.model.test_cfg.update(clip_detections=True, min_bbox_size=-1, max_per_img=20)
    detector = detector_of(cfg, 'lla')
    detector.threshold, detector.metrics = 0.25, dict(AP=0.5)
    path = tmp_path_factory.mktemp('files') / 'model.onnx'
    files = export_detector(detector, path, has('openvino'), int8=True, calibration=2, rgb=True)
    return detector, files


@pytest.mark.slow
def test_exported_file_equals_the_checkpoint(directory, exported):
    """Of any size and batch, with both backends where they are installed."""
    detector, files = exported
    files = [one for one in files if one.precision == 'float32']
    images = load_images(directory)
    mixed = [images[i] for i in (0, 1, 0, 2, 1, 0)]
    for one in files:
        runtime = Detector(one.path, threads=1)
        assert runtime.metadata.model == 'lla' and runtime.threshold == 0.25
        assert runtime.metrics == dict(AP=0.5)
        assert runtime.classes == detector.classes
        for image, found in zip(mixed, runtime(mixed), strict=True):
            (expected,) = detector.detect([detector.prepare(image)])
            assert (found.height, found.width) == image.shape[:2]
            assert len(expected) > 5
            assert_same(expected, found)
    (comparison,) = compare(detector.cfg, detector, [Detector(files[0].path)], progress=False)
    assert comparison.same and comparison.num_images == 3 and comparison.detections > 5
    (found_by_predictor,) = Predictor(files[0].path, threshold=0)([images[0]])
    assert_same(found_by_predictor, runtime([images[0]])[0])


class RowDetector:
    """Detects a row of boxes, 40 x 50, at given positions."""

    def __init__(self, starts, scores) -> None:
        self.test_cfg = dict(score_thr=0.05, max_per_img=9, nms=dict(iou_threshold=0.6))
        self.model = SimpleNamespace(bbox_head=self)
        self.boxes = np.array([(start, 0, start + 40, 50) for start in starts], np.float32)
        self.scores = np.array(scores, np.float32)

    def prepare(self, image):
        return image

    def detect(self, batch):
        labels = np.zeros(len(self.boxes), int)
        found = Detections(self.boxes, self.scores, labels, ('person',), 60, 200)
        found = found.select(self.scores > self.test_cfg['score_thr'])
        if self.test_cfg['nms'] is not None:
            found = found.select(
                plain_nms(found.boxes, found.scores, found.labels, 0.6, 9).nonzero()[0]
            )
        return [found] * len(batch)


@pytest.mark.parametrize(
    'mine, theirs, unmatched, borderline',
    [
        (0.0500004, 0.0499996, 0, 1),
        (0.0499996, 0.0500004, 0, 1),
        (0.0502, 0.0498, 1, 0),
        (0.0498, 0.0502, 1, 0),
        (0.2, 0.2, 0, 0),
    ],
)
def test_rounding_at_the_score_threshold_is_no_error(mine, theirs, unmatched, borderline):
    detector, other = (RowDetector((0, 60), (0.9, score)) for score in (mine, theirs))
    for exact, expected in ((True, (unmatched, borderline)), (False, (unmatched + borderline, 0))):
        comparison, before = Comparison(), copy.deepcopy(detector.test_cfg)
        candidates = partial(_find_candidates, detector, None) if exact else None
        _compare_image(comparison, '7', *detector.detect([0]), *other.detect([0]), candidates)
        assert detector.test_cfg == before
        assert (comparison.unmatched, comparison.borderline) == expected
        assert comparison.same == (expected[0] == 0)
        assert {img_id for img_id, _ in comparison.flips} <= {'7'}


@pytest.mark.parametrize('name', HEAD_NAMES)
def test_nms_of_a_head_is_consistent_with_explain(directory, name):
    """What a head hands to its NMS, read back: what it keeps is right, another choice is not."""
    detector = detector_of(config_of(directory, name))
    image = load_images(directory)[0]
    (found,) = detector.detect([detector.prepare(image)])
    before = copy.deepcopy(dict(detector.model.bbox_head.test_cfg))
    candidates = _find_candidates(detector, image)
    assert dict(detector.model.bbox_head.test_cfg) == before
    places = _find_indices(candidates, found)
    assert len(places) == len(found) <= len(candidates.found)
    kept = np.zeros(len(candidates.found), bool)
    kept[places] = True
    wrong, flips = explain(candidates, kept, kept)
    assert not wrong.any() and not flips
    less = kept.copy()
    less[places[2]] = False
    assert explain(candidates, kept, less)[0].any()


def test_images_to_verify_on_keep_the_size_rule_of_the_model(directory, tmp_path, monkeypatch):
    """``--config`` says which images; the file does to them what the model does."""
    detector, cfg = detector_of(config_of(directory, 'lla')), config_of(directory, 'lla')
    rule, seen = read_size_rule(detector.cfg), []
    cfg.test_dataloader.dataset.pipeline[1].scale = (96, 72)
    cfg.test_dataloader.dataset.data_root = 'elsewhere/'
    cfg.dump(tmp_path / 'tests.py')
    monkeypatch.setattr('mmdet_lla.inference.load_detector', lambda *args: detector)
    monkeypatch.setattr('mmdet_lla.export.export_detector', lambda *args: seen.extend(args) or [])
    assert export.main(['x', 'x.onnx', '--config', str(tmp_path / 'tests.py')]) == 0
    assert read_size_rule(seen[0].cfg) == rule != read_size_rule(seen[-1])
    assert seen[-1].test_dataloader.dataset.data_root == 'elsewhere/'


def has(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


@pytest.mark.slow
def test_int8_reports_its_loss_and_runtime_needs_no_torch(directory, exported, tmp_path):
    detector, (full, small, *_) = exported
    assert small.path.stat().st_size < 0.6 * full.path.stat().st_size
    assert Detector(small.path).metadata.precision == 'int8'
    exact, rough = compare(
        detector.cfg, detector, [Detector(full.path), Detector(small.path)], 2, progress=False
    )
    assert exact.same and not rough.same and rough.unmatched > 0

    image = load_images(directory)[1]
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    (expected,) = Detector(full.path)([image])
    command = sys.executable, '-c', WITHOUT_TORCH, ROOT, full.path, 'image.png'
    done = run_program(*command, cwd=tmp_path)
    assert json.loads(done.stdout) == expected.boxes.tolist()


#: Python in which torch and OpenMMLab cannot be imported.
WITHOUT_TORCH = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'mmengine', 'mmcv', 'mmdet'):
            raise ModuleNotFoundError(name)

sys.path.insert(0, sys.argv[1])
sys.meta_path.insert(0, Missing())
from mmdet_lla.runtime import Detector, read_image

(found,) = Detector(sys.argv[2])([read_image(sys.argv[3])])
print(json.dumps(found.boxes.tolist()))
"""


def test_equal_scores_have_one_order_everywhere(directory, exported, tmp_path):
    """Hundreds of priors with one score: finer levels first, then who comes first."""
    import onnx

    detector, (full, *_) = exported
    file, model = onnx.load(full.path), copy.deepcopy(detector.model)
    for name in ('retina_cls', 'retina_iou'):  # an export for itself would take as long as the rest
        torch.nn.init.zeros_(getattr(model.bbox_head, name).weight)
        (weight,) = (
            one for one in file.graph.initializer if one.name == f'model.bbox_head.{name}.weight'
        )
        weight.raw_data = bytes(len(weight.raw_data))
    paths = [tmp_path / 'model.onnx']
    onnx.save(file, paths[0])
    if has('openvino'):
        paths.append(tmp_path / 'model.xml')
        write_openvino(paths[0], paths[1], Detector(full.path).metadata)
    images = np.stack(load_images(directory)[:1] * 2)
    with torch.no_grad():
        expected = DetectorGraph(model, rgb=True)(torch.from_numpy(images))
    assert len(expected.scores[0].unique()) < 3 < (expected.labels[0] >= 0).sum()
    for path in paths:
        boxes, scores, labels = Detector(path, threads=1).session.run(images)
        np.testing.assert_allclose(boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
        np.testing.assert_array_equal(labels, expected.labels)


def test_boxes_may_differ_in_proportion_to_their_size():
    """As those of YOLOX, which are powers of e."""
    small, large = (RowDetector((0,), (0.9,)) for _ in range(2))
    large.boxes = np.float32([(-700, -600, 700, 800)])
    for one, shift, same in (
        (small, 0.009, True),
        (small, 0.012, False),
        (large, 0.02, True),
        (large, 0.04, False),
    ):
        other = RowDetector((0,), (0.9,))
        other.boxes = one.boxes + np.float32(shift)
        assert bool(match(*one.detect([0]), *other.detect([0]))) == same


@pytest.mark.slow
@pytest.mark.parametrize('name', HEAD_NAMES)
def test_traced_file_of_every_head_is_dynamic(directory, tmp_path, name, monkeypatch):
    """In seconds: without the symbolic export, which takes half a minute."""
    monkeypatch.setattr(files, '_export_symbolic', pytest.fail)
    detector = detector_of(config_of(directory, name))
    (file,) = export_detector(detector, tmp_path / 'model.onnx')
    (comparison,) = compare(detector.cfg, detector, [Detector(file.path)], progress=False)
    assert comparison.same and comparison.detections > 5


@pytest.mark.slow
def test_symbolic_export_where_the_tracing_one_fails(exported, tmp_path, monkeypatch):
    detector, _ = exported
    monkeypatch.setattr(files, '_trace', lambda *args: torch.onnx.removed)
    graph = DetectorGraph(copy.deepcopy(detector.model))
    metadata = Metadata(detector.classes, read_size_rule(detector.cfg))
    files.write_onnx(graph, tmp_path / 'b.onnx', metadata)
    images = np.random.default_rng(0).integers(0, 256, (1, 120, 160, 3), dtype=np.uint8)
    found = Detector(tmp_path / 'b.onnx').session.run(images)
    for value, expected in zip(found, graph(torch.from_numpy(images)), strict=True):
        np.testing.assert_allclose(value, expected.detach(), atol=1e-3)


def test_size_dependent_networks_are_rejected(directory, tmp_path, monkeypatch):
    """As a file that only works at the size it was traced with."""
    detector = detector_of(config_of(directory, 'lla'))
    prepare = DetectorGraph.preprocess

    def preprocess(self, images):
        rows = torch.zeros(int(images.shape[1]))
        return prepare(self, images + rows[:, None, None])

    monkeypatch.setattr(DetectorGraph, 'preprocess', preprocess)
    monkeypatch.setattr(files, '_export_symbolic', files._trace)  # which takes half a minute
    with pytest.raises(ValueError, match='cannot be exported: torch records the size'):
        export_detector(detector, tmp_path / 'model.onnx')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('fails', ['write_onnx', 'os.replace'])
def test_full_disk_leaves_nothing_behind(directory, tmp_path, monkeypatch, capsys, fails):
    def fail(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('mmdet_lla.export.exporting.write_onnx', lambda *args: None)
    monkeypatch.setattr(f'mmdet_lla.export.exporting.{fails}', fail)
    detector = detector_of(config_of(directory, 'lla'))
    monkeypatch.setattr('mmdet_lla.inference.load_detector', lambda *args: detector)
    assert export.main(['x', str(tmp_path / 'a.onnx')]) == 2
    assert 'No space left' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_export_does_not_overwrite_its_inputs(directory, tmp_path, monkeypatch, capsys):
    detector = detector_of(config_of(directory, 'lla'))
    monkeypatch.setattr('mmdet_lla.inference.load_detector', lambda *args: detector)
    weights = tmp_path / 'weights.onnx'
    weights.touch()
    assert export.main(['x', str(weights), '--weights', str(weights)]) == 2
    assert 'would overwrite input' in capsys.readouterr().err and not weights.read_bytes()


def test_test_set_is_resolved_as_mmengine_does(directory):
    """Wrapped datasets, and class names from the config's own ``metainfo``."""
    detector = detector_of(config_of(directory, 'lla'))
    cfg = copy.deepcopy(detector.cfg)
    one = cfg.test_dataloader.dataset
    one.metainfo = dict(classes=('rider',))
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[one, one])
    assert len(list_test_images(cfg)) == 6
    assert build_test_set(cfg).metainfo['classes'] == ('rider',)


def test_nms_in_the_graph_equals_plain_nms():
    """On random crowds with many equal scores, several images and classes at once."""
    graph = DetectorGraph.__new__(DetectorGraph)
    torch.nn.Module.__init__(graph)
    graph.nms, graph.limit, graph.clip_detections = dict(iou_threshold=0.5), 30, False
    random = torch.Generator().manual_seed(0)
    for count in (1, 7, 60, 200):
        low = torch.rand(3, count, 2, generator=random) * 60
        boxes = torch.cat([low, low + 5 + 30 * torch.rand(3, count, 2, generator=random)], -1)
        scores = (torch.rand(3, count, generator=random) * 8).round() / 8
        scores[torch.rand(3, count, generator=random) < 0.2] = NO_SCORE
        labels = torch.randint(0, 3, (3, count), generator=random)
        found = graph.select(Candidates(boxes, scores, labels), (100, 100))
        for i in range(3):
            one = boxes[i].numpy(), scores[i].numpy(), labels[i].numpy()
            keep = np.argsort(-one[1], kind='stable')
            keep = keep[plain_nms(*one, 0.5, graph.limit)[keep]]
            kept = found.labels[i] >= 0
            assert found.labels[i, kept].tolist() == labels[i, keep].tolist()
            torch.testing.assert_close(found.boxes[i, kept], boxes[i, keep])
            torch.testing.assert_close(found.scores[i, kept], scores[i, keep])


def test_combined_scores_equal_the_head(directory):
    cfg = config_of(directory, 'lla')
    head = MODELS.build(dict(cfg.model.bbox_head, test_cfg=dict(sqrt_score=False)))
    assert _combine_scores(head, torch.tensor(0.5), torch.tensor(0.5)) == 0.25
    head.test_cfg['sqrt_score'] = True
    assert _combine_scores(head, torch.tensor(0.5), torch.tensor(0.5)) == 0.5
    head.test_cfg['score_calibration'] = (2.0, -1.0)
    calibrated = _combine_scores(head, torch.tensor([0.64]), torch.tensor([1.0]))
    torch.testing.assert_close(calibrated, torch.tensor([2 * math.log(0.8 / 0.2) - 1]).sigmoid())


def test_keep_best_without_candidates():
    none = nms_mask(torch.zeros(2, 4, 4), torch.full((2, 4), NO_SCORE), 0.5, 3)
    assert none.shape == (2, 4) and not none.any()


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda cfg: cfg.model.update(test_cfg=dict(nms=dict(type='soft_nms'))), 'soft_nms'),
        (lambda cfg: cfg.model.test_cfg.update(min_bbox_size=8), 'min_bbox_size is 8'),
        (
            lambda cfg: cfg.test_dataloader.dataset.pipeline.insert(
                2, dict(type='RandomFlip', prob=0.5)
            ),
            'RandomFlip',
        ),
        (
            lambda cfg: cfg.model.update(
                dict(zip(('bbox_head', 'train_cfg'), HEADS['tood'], strict=True))
            ),
            'TOODHead',
        ),
    ],
)
def test_unsupported_models_are_named(directory, tmp_path, change, words):
    cfg = tiny_config(directory)
    change(cfg)
    with pytest.raises(ValueError, match=words):
        export_detector(detector_of(cfg), tmp_path / 'model.onnx')
    assert not list(tmp_path.iterdir())
