"""Predictor against mmdet's inferencer, its batches, inputs and errors."""

import sys
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from media import write_image
from mmdet.apis import DetInferencer
from mmengine.config import Config
from PIL import Image

from mmdet_lla import models, publishing
from mmdet_lla.inference import BrokenImageError, Frame, Predictor
from mmdet_lla.inference.model import find_test_dataset
from mmdet_lla.inference.prefetch import prefetch
from mmdet_lla.inference.published import check_plain


@pytest.fixture(scope='module')
def predictor(directory):
    return Predictor(directory / 'config.py', directory / 'weights.pth', threshold=0)


def assert_same(found, others):
    assert len(found) == len(others) > 0
    np.testing.assert_allclose(found.scores, others.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, others.boxes, atol=1e-2)


def test_equals_mmdets_inferencer(directory, images, predictor):
    paths = sorted(images.iterdir())
    theirs = DetInferencer(
        str(directory / 'config.py'),
        str(directory / 'weights.pth'),
        device='cpu',
        show_progress=False,
    )
    for path, found in zip(paths, predictor(paths), strict=True):
        (expected,) = theirs(str(path), no_save_vis=True)['predictions']
        assert len(found) == len(expected['scores']) > 20
        np.testing.assert_allclose(found.scores, expected['scores'], atol=1e-5)
        np.testing.assert_allclose(found.boxes, expected['bboxes'], atol=1e-2)
        assert found.names() == ['person'] * len(found)


@pytest.mark.parametrize('batch_size, workers', [(2, 1), (4, 3)])
def test_batches_do_not_change_detections(directory, images, predictor, batch_size, workers):
    batched = Predictor(
        directory / 'config.py',
        directory / 'weights.pth',
        threshold=0,
        batch_size=batch_size,
        workers=workers,
    )
    paths = sorted(images.iterdir())
    images = [cv2.imread(str(path)) for path in paths]
    for alone, found, image in zip(predictor(paths), batched(images), images, strict=True):
        assert (found.height, found.width) == image.shape[:2]
        assert_same(alone, found)


def test_threshold_is_given_stored_or_default(directory, images):
    model = directory / 'config.py', directory / 'weights.pth'
    assert Predictor(*model).threshold == Predictor(*model, threshold='auto').threshold == 0.4
    found = Predictor(*model, threshold='0.5')(sorted(images.iterdir())[0])
    assert len(found) and (found.scores >= 0.5).all()

    state = torch.load(directory / 'weights.pth', weights_only=True)
    torch.save(state['state_dict'], directory / 'bare.pth')
    bare = directory / 'config.py', directory / 'bare.pth'
    assert Predictor(*bare).threshold == 0.3
    with pytest.raises(ValueError, match='has no score threshold'):
        Predictor(*bare, threshold='auto')
    for wrong in ('best', 1.5, -0.1):
        with pytest.raises(ValueError, match='between 0 and 1'):
            Predictor(*model, threshold=wrong)


def test_broken_images_are_named(tmp_path, stub):
    whole = write_image(tmp_path / 'whole.png')
    (tmp_path / 'cut.png').write_bytes(whole.read_bytes()[:60])
    (tmp_path / 'empty.jpg').touch()
    frames = [
        Frame(str(whole)),
        Frame(str(tmp_path / 'cut.png')),
        Frame(str(tmp_path / 'empty.jpg')),
        Frame('gray', np.zeros((9, 9))),
        Frame(str(tmp_path / 'missing.jpg')),
        Frame('low', np.zeros((1, 9), np.uint8)),  # fails in the preprocessing
        Frame('unlucky', np.zeros((9, 13), np.uint8)),  # fails in the network
        Frame(str(whole)),
    ]
    stub.batch_size = 3
    results = list(stub.stream(frames))
    assert [result.detections is None for result in results] == [False, *[True] * 6, False]
    for result in results[1:7]:
        assert result.frame.source in result.frame.error and '\n' not in result.frame.error
    with pytest.raises(BrokenImageError, match='cut.png'):
        stub([whole, tmp_path / 'cut.png'])


def test_all_forms_of_images(tmp_path, stub):
    """Paths, arrays, PIL images, and iterables of these in any mixture."""
    path = write_image(tmp_path / 'a.png', (8, 6), value=51)
    gray = np.full((6, 8), 51, np.uint8)
    deep, alpha = gray.astype(np.uint16) << 8, np.stack([gray] * 4, 2)
    pil = Image.open(path)
    forms = [path, str(path), gray, deep, alpha, pil, pil.convert('L'), pil.convert('RGBA')]
    for form in forms:
        assert stub(form).scores.tolist() == pytest.approx([0.2])
    for several in (forms, tuple(forms), (one for one in forms), iter(forms)):
        found = stub(several)
        assert len(found) == 8 and all((one.height, one.width) == (6, 8) for one in found)
    assert stub([]) == []
    for wrong in (5, None, [None], [5], torch.zeros(3, 6, 8)):
        with pytest.raises(BrokenImageError, match='expected|image'):
            stub(wrong)


def test_memory_does_not_grow_with_the_stream(stub):
    """Only a few frames are read ahead of the consumer."""
    drawn = 0

    def frames():
        nonlocal drawn
        for i in range(40):
            drawn += 1
            yield Frame(str(i), np.full((40, 60, 3), i, np.uint8))

    for given, result in enumerate(stub.stream(frames())):
        assert result.frame.source == str(given)
        assert drawn - given <= 8
    assert drawn == 40


def test_outdated_live_frames_are_dropped():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    seen = []
    for item in prefetch(items(), 2, drop_oldest=True):
        seen.append(item)
        while len(made) < 50:  # as a slow model
            time.sleep(0.001)
    assert seen[0] < 50 and seen[-1] == 49 and len(seen) <= 4


def test_prefetch_passes_exceptions_on_and_ends_with_its_consumer():
    def failing():
        yield 1
        raise OSError('gone')

    with pytest.raises(OSError, match='gone'):
        list(prefetch(failing(), 3))
    endless = prefetch(iter(int, 1), 2)
    assert [next(endless), next(endless)] == [0, 0]
    endless.close()


def test_published_checkpoint_needs_no_config(directory, images, predictor, tmp_path):
    publish(directory, directory / 'published.pth')
    tool_made = publishing.publish(
        directory / 'weights.pth',
        tmp_path,
        Config.fromfile(directory / 'config.py'),
        score_threshold=0.2,
    )
    image = sorted(images.iterdir())[0]
    for path in (directory / 'published.pth', tool_made):
        assert_same(Predictor(path, threshold=0)(image), predictor(image))
    assert Predictor(tool_made).threshold == 0.2


def publish(directory: Path, path: Path, **changes) -> None:
    cfg = Config.fromfile(directory / 'config.py')
    cfg.merge_from_dict(changes)
    state = torch.load(directory / 'weights.pth', weights_only=True)
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
def test_nothing_in_a_published_checkpoint_is_executed(directory, tmp_path, change):
    modules = set(sys.modules)
    (value,) = change.values()
    publish(directory, tmp_path / 'evil.pth', **change)
    with pytest.raises(ValueError, match='not built') as error:
        Predictor(tmp_path / 'evil.pth')
    assert repr(value) in str(error.value)
    assert not {'evil', 'mymodule', 'evil.registry'} & (set(sys.modules) - modules)


def test_shipped_configs_are_accepted():
    root = Path(__file__).resolve().parents[2] / 'configs'
    paths = [*root.glob('baselines/*.py'), *root.glob('ablations/heads/*_mobilenet*.py')]
    assert len(paths) > 8
    for path in paths:
        cfg = Config.fromfile(path)
        check_plain(dict(model=cfg.model.to_dict()), str(path))


def test_shipped_model_is_found_by_name(directory, monkeypatch):
    publish(directory, directory / 'small-1234.pth')
    monkeypatch.setattr(models, 'DIRECTORY', directory)
    monkeypatch.setitem(models.MODELS, 'small', 'small-1234.pth')
    assert Predictor('small').threshold == 0.4
    monkeypatch.setitem(models.MODELS, 'lost', 'lost.pth')
    with pytest.raises(FileNotFoundError, match='reinstall'):
        Predictor('lost')


@pytest.mark.parametrize(
    'model, weights, words',
    [
        ('config.py', None, '--weights'),
        ('weights.pth', None, 'contains no config'),
        ('nothing.py', 'weights.pth', 'No config'),
        ('mmdet::retinanet/nothing.py', 'weights.pth', 'No config .*mmdet has none'),
        ('mmdot::retinanet/nothing.py', 'weights.pth', "no package 'mmdot'"),
        (
            'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
            'weights.pth',
            'ret.* has the weights of another model',
        ),
        ('nothing.pth', None, 'no checkpoint nothing.pth here'),
        ('config.py', 'config.py', 'is not read'),
        ('nobody', None, 'is not a model'),
        ('published.pth', 'weights.pth', 'has its own weights'),
        ('nothing.onnx', None, 'exported file nothing.onnx not found'),
    ],
)
def test_invalid_models(directory, monkeypatch, model, weights, words):
    monkeypatch.chdir(directory)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        Predictor(model, weights)


def test_weights_of_another_model_are_rejected(directory):
    state = torch.load(directory / 'weights.pth', weights_only=True)['state_dict']
    name = 'bbox_head.retina_iou.weight'
    state[name] = state[name][:, :2]
    del state['neck.lateral_convs.0.conv.weight']
    torch.save(state, directory / 'other.pth')
    with pytest.raises(ValueError, match='1 of .* missing .*lateral_convs.0.*1 have another shape'):
        Predictor(directory / 'config.py', directory / 'other.pth')


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(device='cuda:99'), "device 'cuda:99' cannot be used"),
        (dict(device='gpu'), "device 'gpu' cannot be used"),
        (dict(threshold='best'), 'between 0 and 1'),
        (dict(workers=0), 'workers must be at least 1'),
    ],
)
def test_invalid_settings(directory, options, words):
    with pytest.raises(ValueError, match=words):
        Predictor(directory / 'config.py', directory / 'weights.pth', **options)


def test_exported_model_takes_no_device(tmp_path):
    with pytest.raises(ValueError, match="runs on the CPU; got device 'cuda'"):
        Predictor(tmp_path / 'a.onnx', device='cuda')


def test_test_dataset_inside_wrappers(directory, tmp_path):
    """Also the class names of a config's own metainfo are used."""
    cfg = Config.fromfile(directory / 'config.py')
    inner = cfg.test_dataloader.dataset
    inner.metainfo = dict(classes=('pedestrian',))
    repeated = dict(type='RepeatDataset', times=1, dataset=inner)
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[repeated])
    assert find_test_dataset(cfg).type == inner.type
    state = torch.load(directory / 'weights.pth', weights_only=True)['state_dict']
    torch.save(state, tmp_path / 'bare.pth')
    assert Predictor(cfg, tmp_path / 'bare.pth').classes == ('pedestrian',)


def test_no_warning_on_first_use(directory, images):
    """torch warns of some calls only once per process, unless told otherwise."""
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            Predictor(directory / 'config.py', directory / 'weights.pth')(images / '0.png')
    finally:
        torch.set_warn_always(always)
