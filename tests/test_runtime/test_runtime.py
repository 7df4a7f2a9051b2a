"""Image conversion, the size rule against mmdet's transforms, and damaged files."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmcv.transforms import Pad, Resize
from PIL import Image

from mmdet_lla.runtime import BrokenImageError, Detections, Detector, read_image
from mmdet_lla.runtime.images import SizeRule, to_bgr
from mmdet_lla.runtime.metadata import Metadata
from mmdet_lla.runtime.sessions import make_topk_stable

SIDES = st.integers(8, 120)


@given(
    height=SIDES,
    width=SIDES,
    scale=st.tuples(st.integers(16, 90), st.integers(16, 90)),
    keep_ratio=st.booleans(),
    backend=st.sampled_from(['cv2', 'pillow']),
    divisor=st.sampled_from([None, 16]),
    square=st.booleans(),
)
def test_size_rule_equals_mmdet(height, width, scale, keep_ratio, backend, divisor, square):
    image = np.random.default_rng(height).integers(256, size=(height, width, 3), dtype=np.uint8)
    results = Resize(scale, keep_ratio=keep_ratio, backend=backend)(dict(img=image.copy()))
    if divisor or square:
        pad = Pad(size_divisor=divisor, pad_to_square=square, pad_val=dict(img=(114, 3, 9)))
        results = pad(results)
    rule = SizeRule(
        scale,
        keep_ratio,
        backend,
        pad_square=square,
        pad_divisor=divisor or 1,
        pad_value=(114, 3, 9),
    )
    rule = SizeRule.from_dict(json.loads(json.dumps(rule.to_dict())))
    resized, factors = rule.apply(image)
    np.testing.assert_array_equal(resized, results['img'])
    assert factors == tuple(results['scale_factor'])


def test_size_rule_pads_to_a_size():
    image = np.full((40, 80, 3), 7, np.uint8)
    results = Pad(size=(100, 64), pad_val=114)(Resize((64, 64), keep_ratio=True)(dict(img=image)))
    resized, factors = SizeRule((64, 64), pad_size=(100, 64), pad_value=(114,) * 3).apply(image)
    np.testing.assert_array_equal(resized, results['img'])
    assert resized.shape == (64, 100, 3) and factors == (0.8, 0.8)
    with pytest.raises(BrokenImageError, match='no pixels left'):
        SizeRule((8, 8)).apply(np.zeros((2, 900, 3), np.uint8))


@pytest.mark.parametrize(
    'image, words',
    [
        (np.zeros((4, 4)), 'float64'),
        (np.zeros((0, 4, 3), np.uint8), r'\(0, 4, 3\)'),
        (np.zeros((2, 4, 4, 3), np.uint8), r'\(2, 4, 4, 3\)'),
        (np.zeros((4, 4, 2), np.uint8), r'\(4, 4, 2\)'),
        (Image.new('F', (4, 4)), 'float32'),
        ([[1]], 'list'),
    ],
)
def test_unsupported_images(image, words):
    with pytest.raises(BrokenImageError, match=words):
        to_bgr(image)


def noise(*shape, dtype=np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max + 1
    return np.random.default_rng(0).integers(top, size=shape).astype(dtype)


@pytest.mark.parametrize(
    'image',
    [
        *(noise(6, 8), noise(6, 8, 1), noise(6, 8, 3), noise(6, 8, 4)),
        *(noise(6, 8, dtype=np.uint16), noise(6, 8, 3, dtype=np.uint16)),
        noise(6, 8, 4, dtype=np.uint16),
    ],
    ids=lambda image: f'{image.dtype}{image.shape}',
)
def test_arrays_are_read_like_files(image, tmp_path):
    (tmp_path / 'a.png').write_bytes(cv2.imencode('.png', image)[1].tobytes())
    expected = read_image(tmp_path / 'a.png')
    np.testing.assert_array_equal(to_bgr(image), expected)
    np.testing.assert_allclose(to_bgr(Image.open(tmp_path / 'a.png')), expected, atol=1)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16', 'YCbCr'])
def test_pil_images_of_any_mode(mode):
    image = to_bgr(Image.new('RGB', (8, 6), (200, 100, 50)).convert(mode))
    assert image.shape == (6, 8, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
    if mode in ('RGB', 'RGBA', 'CMYK', 'YCbCr', 'P'):
        np.testing.assert_allclose(image[0, 0], (50, 100, 200), atol=20)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 20)).save(tmp_path / 'turned.jpg', exif=exif)
    assert read_image(tmp_path / 'turned.jpg').shape == (40, 20, 3)
    assert to_bgr(Image.open(tmp_path / 'turned.jpg')).shape == (40, 20, 3)


def test_truncated_pil_image_is_named(tmp_path):
    Image.fromarray(noise(60, 80, 3)).save(tmp_path / 'whole.png')
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'whole.png').read_bytes()[:2000])
    with pytest.raises(BrokenImageError, match='cut.png'):
        to_bgr(Image.open(tmp_path / 'cut.png'))


def test_metadata_survives_json_and_other_text_is_rejected():
    metadata = Metadata(('person', 'rider'), SizeRule((640, 480)), 0.4, dict(AP=0.5), 'lla')
    assert Metadata.loads(metadata.dumps(), 'x.onnx') == metadata
    for text in (None, '', '[]', '{"classes": []}', 'null'):
        with pytest.raises(ValueError, match='x.onnx has no metadata'):
            Metadata.loads(text, 'x.onnx')
    with pytest.raises(ValueError, match='format 99'):
        Metadata.loads('{"format": 99}', 'x.onnx')


@pytest.mark.parametrize(
    'name, backend, error, words',
    [
        ('missing.onnx', 'auto', FileNotFoundError, 'not found'),
        ('here.pth', 'auto', ValueError, 'expected .onnx or .xml'),
        ('here.onnx', 'tensorrt', ValueError, 'tensorrt'),
        ('here.xml', 'onnxruntime', ValueError, 'does not read'),
        ('here.onnx', 'auto', ValueError, 'here.onnx is empty'),
        ('lfs.onnx', 'auto', ValueError, 'lfs.onnx is a Git LFS pointer'),
        ('lfs.xml', 'openvino', ValueError, 'lfs.xml is a Git LFS pointer'),
        ('torn.onnx', 'onnxruntime', ValueError, 'torn.onnx cannot be read by onnxruntime'),
        ('torn.onnx', 'openvino', ValueError, 'torn.onnx cannot be read by openvino'),
        ('nobin.xml', 'auto', FileNotFoundError, 'nobin.bin not found'),
        ('lfsbin.xml', 'auto', ValueError, 'lfsbin.bin is a Git LFS pointer'),
        ('torn.xml', 'auto', ValueError, 'torn.xml cannot be read by openvino'),
    ],
)
def test_damaged_exported_files(tmp_path, name, backend, error, words):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    pointer = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 10716760\n'
    files = dict.fromkeys(('here.pth', 'here.onnx', 'here.xml'), b'')
    files |= dict.fromkeys(('lfs.onnx', 'lfs.xml', 'lfsbin.bin'), pointer)
    files |= dict.fromkeys(('nobin.xml', 'lfsbin.xml', 'torn.xml', 'torn.bin'), b'<net')
    files['torn.onnx'] = b'\x08\x09\x12\x07pytorch\x1a\x05'
    for one, content in files.items():
        (tmp_path / one).write_bytes(content)
    with pytest.raises(error, match=words):
        Detector(tmp_path / name, backend)


def test_detections_are_selected_and_listed():
    found = Detections(
        np.array([[0, 1, 2, 3], [4, 5, 6, 7.126]], np.float32),
        np.array([0.9, 0.2], np.float32),
        np.array([1, 0]),
        ('person', 'rider'),
        10,
        20,
        np.array([7, -1]),
    )
    assert len(found.above(0.5)) == 1 and found.above(0.9).ids.tolist() == [7]
    assert found.names() == ['rider', 'person']
    assert found.records()[1] == {
        'box': [4, 5, 6, 7.13],
        'score': 0.2,
        'label': 0,
        'class': 'person',
        'id': -1,
    }


@pytest.mark.parametrize('count, number', [(7, 1), (60, 60), (300, 100)])
def test_equal_values_keep_their_order_in_openvino(count, number):
    openvino = pytest.importorskip('openvino')
    from openvino import opset11 as op

    rows = op.parameter([-1, -1], np.float32)
    best = op.topk(rows, np.int64(number), 1, 'max', 'value', 'i64')
    # another rank, as that of an ArgMax, is left unchanged
    other = op.topk(op.unsqueeze(rows, 2), np.int64(1), -1, 'max', 'value', 'i64')
    model = openvino.Model([*best.outputs(), other.output(1)], [rows])
    make_topk_stable(model)
    size = len(model.get_ops())
    make_topk_stable(model)  # the second time without effect
    assert len(model.get_ops()) == size
    run = openvino.Core().compile_model(model, 'CPU')
    random = np.random.default_rng(count)
    for levels in (1, 3, 20, 10**6):
        values = random.integers(levels, size=(3, count)).astype(np.float32) / levels
        values[:, random.integers(count, size=count // 3)] = -1
        found, indices, single = run([values]).to_tuple()
        np.testing.assert_array_equal(single, np.zeros((3, count, 1)))
        expected = np.argsort(-values, 1, kind='stable')[:, :number]
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_array_equal(found, np.take_along_axis(values, expected, 1))
