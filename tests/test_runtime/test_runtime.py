"""The size rule against mmdet's transforms, and what the runtime refuses."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmcv.transforms import Pad, Resize

from mmdet_lla.runtime import BrokenPicture, Detections, Detector
from mmdet_lla.runtime.metadata import Metadata
from mmdet_lla.runtime.pictures import SizeRule, check_picture, read_picture
from mmdet_lla.runtime.sessions import order_ties

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
def test_size_rule_is_mmdets(height, width, scale, keep_ratio, backend, divisor, square):
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


def test_size_rule_fills_up_to_a_size():
    image = np.full((40, 80, 3), 7, np.uint8)
    results = Pad(size=(100, 64), pad_val=114)(Resize((64, 64), keep_ratio=True)(dict(img=image)))
    resized, factors = SizeRule((64, 64), pad_size=(100, 64), pad_value=(114,) * 3).apply(image)
    np.testing.assert_array_equal(resized, results['img'])
    assert resized.shape == (64, 100, 3) and factors == (0.8, 0.8)
    with pytest.raises(BrokenPicture, match='no pixel left'):
        SizeRule((8, 8)).apply(np.zeros((2, 900, 3), np.uint8))


@pytest.mark.parametrize(
    'image, words',
    [
        (np.zeros((4, 4), np.uint8), r'uint8 of shape \(4, 4\)'),
        (np.zeros((4, 4, 3)), 'float64'),
        (np.zeros((0, 4, 3), np.uint8), r'\(0, 4, 3\)'),
        ([[1]], 'list'),
    ],
)
def test_what_is_no_picture(image, words):
    with pytest.raises(BrokenPicture, match=words):
        check_picture(image)


def test_pictures_are_turned_as_their_exif_says(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 20)).save(tmp_path / 'turned.jpg', exif=exif)
    assert read_picture(tmp_path / 'turned.jpg').shape == (40, 20, 3)


def test_metadata_survives_json_and_others_are_refused():
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
        ('missing.onnx', 'auto', FileNotFoundError, 'No exported file'),
        ('here.pth', 'auto', ValueError, 'expected .onnx or .xml'),
        ('here.onnx', 'tensorrt', ValueError, 'tensorrt'),
        ('here.xml', 'onnxruntime', ValueError, 'does not read'),
    ],
)
def test_what_is_no_exported_file(tmp_path, name, backend, error, words):
    for suffix in ('pth', 'onnx', 'xml'):
        (tmp_path / f'here.{suffix}').touch()
    with pytest.raises(error, match=words):
        Detector(tmp_path / name, backend)


def test_detections_are_selected_and_told():
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
    # an ArgMax becomes such a one, which is none of ours
    other = op.topk(op.unsqueeze(rows, 2), np.int64(1), -1, 'max', 'value', 'i64')
    model = openvino.Model([*best.outputs(), other.output(1)], [rows])
    order_ties(model)
    size = len(model.get_ops())
    order_ties(model)  # as of a file in which they are ordered already
    assert len(model.get_ops()) == size
    run = openvino.Core().compile_model(model, 'CPU')
    random = np.random.default_rng(count)
    for levels in (1, 3, 20, 10**6):
        values = random.integers(levels, size=(3, count)).astype(np.float32) / levels
        values[:, random.integers(count, size=count // 3)] = -1
        found, places, single = run([values]).to_tuple()
        np.testing.assert_array_equal(single, np.zeros((3, count, 1)))
        expected = np.argsort(-values, 1, kind='stable')[:, :number]
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(found, np.take_along_axis(values, expected, 1))
