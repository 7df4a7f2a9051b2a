"""Predictor against mmdet's own test loop, its batches, and what it refuses."""

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config

import mmdet_lla
from mmdet_lla import models, publishing
from mmdet_lla.inference import BrokenPicture, Frame, Predictor
from mmdet_lla.inference.ahead import ahead
from mmdet_lla.inference.published import check_plain


@pytest.fixture(scope='module')
def predictor(folder):
    return Predictor(folder / 'config.py', folder / 'weights.pth', threshold=0)


def assert_same(found, others):
    assert len(found) == len(others) > 0
    np.testing.assert_allclose(found.scores, others.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, others.boxes, atol=1e-2)


def test_is_what_mmdets_inferencer_finds(folder, pictures, predictor):
    paths = sorted(pictures.iterdir())
    theirs = DetInferencer(
        str(folder / 'config.py'), str(folder / 'weights.pth'), device='cpu', show_progress=False
    )
    for path, found in zip(paths, predictor(paths), strict=True):
        (expected,) = theirs(str(path), no_save_vis=True)['predictions']
        assert len(found) == len(expected['scores']) > 20
        np.testing.assert_allclose(found.scores, expected['scores'], atol=1e-5)
        np.testing.assert_allclose(found.boxes, expected['bboxes'], atol=1e-2)
        assert found.names() == ['person'] * len(found)


@pytest.mark.parametrize('batch_size, workers', [(2, 1), (4, 3)])
def test_batches_do_not_change_what_is_found(folder, pictures, predictor, batch_size, workers):
    batched = Predictor(
        folder / 'config.py',
        folder / 'weights.pth',
        threshold=0,
        batch_size=batch_size,
        workers=workers,
    )
    paths = sorted(pictures.iterdir())
    images = [cv2.imread(str(path)) for path in paths]
    for alone, found, image in zip(predictor(paths), batched(images), images, strict=True):
        assert (found.height, found.width) == image.shape[:2]
        assert_same(alone, found)


def test_threshold_is_the_one_that_was_asked_for_kept_or_usual(folder, pictures):
    model = folder / 'config.py', folder / 'weights.pth'
    assert Predictor(*model).threshold == Predictor(*model, threshold='auto').threshold == 0.4
    found = Predictor(*model, threshold='0.5')(sorted(pictures.iterdir())[0])
    assert len(found) and (found.scores >= 0.5).all()

    state = torch.load(folder / 'weights.pth', weights_only=True)
    torch.save(state['state_dict'], folder / 'bare.pth')
    bare = folder / 'config.py', folder / 'bare.pth'
    assert Predictor(*bare).threshold == 0.3
    with pytest.raises(ValueError, match='does not keep the score'):
        Predictor(*bare, threshold='auto')
    for wrong in ('best', 1.5, -0.1):
        with pytest.raises(ValueError, match='between 0 and 1'):
            Predictor(*model, threshold=wrong)


def test_broken_pictures_are_named(tmp_path, pictures, predictor):
    whole = sorted(pictures.iterdir())[0]
    (tmp_path / 'cut.png').write_bytes(whole.read_bytes()[:2000])
    (tmp_path / 'empty.jpg').touch()
    frames = [
        Frame(str(whole)),
        Frame(str(tmp_path / 'cut.png')),
        Frame(str(tmp_path / 'empty.jpg')),
        Frame('grey', np.zeros((9, 9), np.uint8)),
        Frame(str(tmp_path / 'missing.jpg')),
        Frame(str(whole)),
    ]
    results = list(predictor.stream(frames))
    assert [result.detections is None for result in results] == [False, *[True] * 4, False]
    for result in results[1:5]:
        assert result.frame.source in result.frame.fault
    assert_same(results[0].detections, results[5].detections)
    with pytest.raises(BrokenPicture, match='cut.png'):
        predictor([whole, tmp_path / 'cut.png'])


def test_memory_does_not_grow_with_the_stream(predictor):
    """At no time are more frames drawn from the source than a few beyond what was given out."""
    drawn = 0

    def frames():
        nonlocal drawn
        for i in range(40):
            drawn += 1
            yield Frame(str(i), np.full((40, 60, 3), i, np.uint8))

    for given, result in enumerate(predictor.stream(frames())):
        assert result.frame.source == str(given)
        assert drawn - given <= 8
    assert drawn == 40


def test_live_frames_that_nobody_waited_for_are_left_out():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    seen = []
    for item in ahead(items(), 2, newest=True):
        seen.append(item)
        while len(made) < 50:  # as a slow model
            time.sleep(0.001)
    assert seen[0] < 50 and seen[-1] == 49 and len(seen) <= 4


def test_ahead_raises_what_was_raised_and_ends_with_its_consumer():
    def failing():
        yield 1
        raise OSError('gone')

    with pytest.raises(OSError, match='gone'):
        list(ahead(failing(), 3))
    endless = ahead(iter(int, 1), 2)
    assert [next(endless), next(endless)] == [0, 0]
    endless.close()


def test_checkpoint_that_carries_its_config_needs_no_other(folder, pictures, predictor, tmp_path):
    publish(folder, folder / 'published.pth')
    tool_made = publishing.publish(
        folder / 'weights.pth', tmp_path, Config.fromfile(folder / 'config.py'), score_threshold=0.2
    )
    picture = sorted(pictures.iterdir())[0]
    for path in (folder / 'published.pth', tool_made):
        assert_same(Predictor(path, threshold=0)(picture), predictor(picture))
    assert Predictor(tool_made).threshold == 0.2


def publish(folder: Path, path: Path, **changes) -> None:
    cfg = Config.fromfile(folder / 'config.py')
    cfg.merge_from_dict(changes)
    state = torch.load(folder / 'weights.pth', weights_only=True)
    state['meta']['cfg'] = cfg.pretty_text
    torch.save(state, path)


@pytest.mark.parametrize(
    'change',
    [
        {'model.neck.type': 'subprocess.Popen'},
        {'model.backbone.type': 'evil'},
        {'model.test_cfg.nms.type': '__import__("os").abort()'},
        {'model.bbox_head.loss_cls.type': 'mymodule.FocalLoss'},
        {'model.bbox_head._scope_': 'evil'},
        {'default_scope': 'evil'},
    ],
)
def test_nothing_in_a_published_checkpoint_is_executed(folder, tmp_path, change):
    modules = set(sys.modules)
    (value,) = change.values()
    publish(folder, tmp_path / 'evil.pth', **change)
    with pytest.raises(ValueError, match='not built') as error:
        Predictor(tmp_path / 'evil.pth')
    assert repr(value) in str(error.value)
    assert not {'evil', 'mymodule', 'evil.registry'} & (set(sys.modules) - modules)


def test_configs_that_ship_are_plain():
    """What is refused is what is not registered, not what people use."""
    root = Path(__file__).resolve().parents[2] / 'configs'
    paths = [*root.glob('baselines/*.py'), *root.glob('ablations/heads/*_mobilenet*.py')]
    assert len(paths) > 8
    for path in paths:
        cfg = Config.fromfile(path)
        check_plain(dict(model=cfg.model.to_dict()), str(path))


def test_a_model_that_ships_is_found_by_name(folder, monkeypatch):
    publish(folder, folder / 'small-1234.pth')
    monkeypatch.setattr(models, 'DIRECTORY', folder)
    monkeypatch.setitem(models.MODELS, 'small', 'small-1234.pth')
    assert Predictor('small').threshold == 0.4
    monkeypatch.setitem(models.MODELS, 'lost', 'lost.pth')
    with pytest.raises(FileNotFoundError, match='reinstall'):
        Predictor('lost')


def test_every_model_that_ships_is_there():
    for name in models.MODELS:
        assert models.shipped_model(name).is_file()


@pytest.mark.parametrize(
    'model, weights, words',
    [
        ('config.py', None, '--weights'),
        ('weights.pth', None, 'carries no config'),
        ('nothing.py', 'weights.pth', 'No config'),
        ('mmdet::retinanet/nothing.py', 'weights.pth', 'No config .*mmdet has none'),
        ('mmdot::retinanet/nothing.py', 'weights.pth', "no package 'mmdot'"),
        ('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', 'weights.pth', 'another model than ret'),
        ('nothing.pth', None, 'No checkpoint'),
        ('config.py', 'config.py', 'cannot be read'),
        ('nobody', None, 'is no model'),
        ('published.pth', 'weights.pth', 'brings its own weights'),
        ('nothing.onnx', None, 'No exported file'),
    ],
)
def test_what_is_no_model_says_so(folder, monkeypatch, model, weights, words):
    monkeypatch.chdir(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        Predictor(model, weights)


def test_weights_of_another_model_are_refused(folder):
    state = torch.load(folder / 'weights.pth', weights_only=True)['state_dict']
    name = 'bbox_head.retina_iou.weight'
    state[name] = state[name][:, :2]
    del state['neck.lateral_convs.0.conv.weight']
    torch.save(state, folder / 'other.pth')
    with pytest.raises(ValueError, match='1 of .* missing .*lateral_convs.0.*1 have another shape'):
        Predictor(folder / 'config.py', folder / 'other.pth')


def test_package_gives_predictor_when_asked():
    assert mmdet_lla.Predictor is Predictor
    with pytest.raises(AttributeError, match='Predicter'):
        mmdet_lla.Predicter  # noqa: B018
