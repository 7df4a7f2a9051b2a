"""The libraries that run exported files: ONNX Runtime and OpenVINO."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .metadata import KEY

BACKENDS = ('onnxruntime', 'openvino')


def open_session(path: Path, backend: str = 'auto', threads: int | None = None):
    """Open an exported file.

    Args:
        path (Path): ``.onnx``, or ``.xml`` of OpenVINO, which lies beside its ``.bin``.
        backend (str): One of ``BACKENDS``, or 'auto': the first that is installed and reads it.
        threads (int, optional): How many it may use. Defaults to what it finds best.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither, or the backend does not read it.
        ImportError: No library that reads it is installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f'No exported file {path} here')
    if path.suffix not in ('.onnx', '.xml'):
        raise ValueError(f'{path} is no exported file; expected .onnx or .xml')
    if backend not in ('auto', *BACKENDS):
        raise ValueError(f"backend must be one of {BACKENDS} or 'auto', got {backend!r}")
    if path.suffix == '.xml' and backend == 'onnxruntime':
        raise ValueError(f'{path} is of OpenVINO, which onnxruntime does not read')
    fits = BACKENDS if path.suffix == '.onnx' else BACKENDS[1:]
    if backend == 'auto':
        backend = next((name for name in fits if find_spec(name)), None)
        if backend is None:
            raise ImportError(f'{path} needs {" or ".join(fits)}, not installed here')
    session = OnnxRuntimeSession if backend == 'onnxruntime' else OpenVinoSession
    return session(path, threads)


class OnnxRuntimeSession:
    """ONNX Runtime on the CPU."""

    backend = 'onnxruntime'

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )
        self.input = self.session.get_inputs()[0].name
        self.metadata = self.session.get_modelmeta().custom_metadata_map.get(KEY)

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """Boxes, scores and labels of a batch; see :class:`~mmdet_lla.export.graph`."""
        return self.session.run(None, {self.input: images})


class OpenVinoSession:
    """OpenVINO on the CPU, in full precision."""

    backend = 'openvino'

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        order_ties(model)
        config = {'INFERENCE_PRECISION_HINT': 'f32'}
        if threads:
            config['INFERENCE_NUM_THREADS'] = threads
        self.metadata = _rt_info(model)
        self.request = core.compile_model(model, 'CPU', config).create_infer_request()

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """See :meth:`OnnxRuntimeSession.run`."""
        outputs = self.request.infer({0: images})
        return [np.array(value) for value in outputs.to_tuple()]


def order_ties(model) -> None:
    """Let OpenVINO's ``TopK`` take of equal values those that come first, as ONNX's does.

    It has an attribute for that, ``stable``, with which it sorts in steps that grow with the number
    of values times the number taken: most of the time of a small detector. Here three of the quick,
    unstable sorts do the same.

    Args:
        model (openvino.Model): Is changed, once. Our ``TopK`` take the largest of rows, (N, n);
            others (``ArgMax`` becomes one) stay.
    """
    for old in model.get_ordered_ops():
        ours = old.get_type_name() == 'TopK' and len(old.get_output_partial_shape(0)) == 2
        if ours and not old.get_friendly_name().endswith(_ORDERED):
            for before, after in zip(old.outputs(), _ordered(old), strict=True):
                before.replace(after)


_ORDERED = '/ordered'


def _ordered(old) -> tuple:
    """Outputs for those of a ``TopK``: values, and places that rise where values are equal."""
    from openvino import opset11 as op

    def top(values, mode: str):
        found = op.topk(values, number, 1, mode, 'value', 'i32')
        found.set_friendly_name(f'{old.get_friendly_name()}/{mode}{len(made)}{_ORDERED}')
        made.append(found)
        return found

    def columns(values, start: int, stop: int):
        return op.slice(values, [start], [stop], [1], [1])

    def count(which):
        """How many are true up to each and with it, (N, n)."""
        return op.cum_sum(op.convert(which, 'i32'), 1)

    scores, number, made = old.input_value(0), old.input_value(1), []
    far = np.iinfo(np.int32).max
    # of those that equal the last that is taken, as many as there is room for, from the first on
    values = top(scores, 'max').output(0)
    last = columns(values, -1, far)
    tied = op.equal(scores, last)
    room = op.reduce_sum(op.convert(op.equal(values, last), 'i32'), 1, True)
    taken = op.logical_or(
        op.greater(scores, last), op.logical_and(tied, op.less_equal(count(tied), room))
    )
    values, places = top(op.select(taken, scores, np.finfo(np.float32).min), 'max').outputs()
    # keys that differ: by value, then by how many were taken up to each
    before = op.concat([columns(values, 0, 1), columns(values, 0, -1)], 1)
    number_plus = op.add(op.convert(number, 'i32'), np.int32(1))
    keys = op.add(
        op.multiply(count(op.not_equal(values, before)), number_plus),
        op.gather_elements(count(taken), places, 1),
    )
    order = top(keys, 'min').output(1)
    places = op.convert(
        op.gather_elements(places, order, 1), old.get_output_element_type(1).to_string()
    )
    return values, places.output(0)


def _rt_info(model) -> str | None:
    """Our metadata: under our key, or where OpenVINO puts that of an ONNX file."""
    for place in ([KEY], ['framework', KEY]):
        if model.has_rt_info(place):
            return model.get_rt_info(place).astype(str)
    return None
