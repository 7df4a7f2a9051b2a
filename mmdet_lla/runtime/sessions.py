"""Backends that run exported files: ONNX Runtime and OpenVINO."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .metadata import KEY

BACKENDS = ('onnxruntime', 'openvino')


def open_session(path: Path, backend: str = 'auto', threads: int | None = None):
    """Open an exported file.

    Args:
        path (Path): ``.onnx``, or OpenVINO's ``.xml`` with its ``.bin`` in the same directory.
        backend (str): One of ``BACKENDS``, or 'auto' for the first that is installed and reads it.
        threads (int, optional): Number of compute threads. Defaults to the backend's choice.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The format is unknown, or the backend cannot read the file.
        ImportError: No backend that reads it is installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f'exported file {path} not found')
    if path.suffix not in ('.onnx', '.xml'):
        raise ValueError(f'{path} is not an exported file: expected .onnx or .xml')
    if backend not in ('auto', *BACKENDS):
        raise ValueError(f"backend must be one of {BACKENDS} or 'auto', got {backend!r}")
    if path.suffix == '.xml' and backend == 'onnxruntime':
        raise ValueError(f'{path} is an OpenVINO file, which onnxruntime does not read')
    supported = BACKENDS if path.suffix == '.onnx' else BACKENDS[1:]
    if backend == 'auto':
        backend = next((name for name in supported if find_spec(name)), None)
        if backend is None:
            raise ImportError(f'{path} needs {" or ".join(supported)}, not installed here')
    for one in (path, path.with_suffix('.bin'))[: 1 + (path.suffix == '.xml')]:
        _check_download(one)
    session = OnnxRuntimeSession if backend == 'onnxruntime' else OpenVinoSession
    try:
        return session(path, threads)
    except ImportError:
        raise
    except Exception as error:  # each backend raises its own types for a damaged file
        reason = ' '.join(str(error).split())[:300]
        raise ValueError(f'{path} cannot be read by {backend}; damaged? ({reason})') from error


def _check_download(path: Path) -> None:
    """Raise ValueError for an empty file or Git LFS pointer, FileNotFoundError for none."""
    if not path.is_file():
        raise FileNotFoundError(f'{path} not found; it belongs to {path.with_suffix(".xml")}')
    with open(path, 'rb') as file:
        start = file.read(40)
    if start.startswith(b'version https://git-lfs'):
        raise ValueError(f'{path} is a Git LFS pointer, not the file itself: run git lfs pull')
    if not start:
        raise ValueError(f'{path} is empty')


class OnnxRuntimeSession:
    """Runs an ONNX file with ONNX Runtime on the CPU."""

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
        """Return boxes, scores and labels of a batch; see :mod:`mmdet_lla.export.graph`."""
        return self.session.run(None, {self.input: images})


class OpenVinoSession:
    """Runs an ONNX or OpenVINO file with OpenVINO on the CPU, in float32."""

    backend = 'openvino'

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        make_topk_stable(model)
        config = {'INFERENCE_PRECISION_HINT': 'f32'}
        if threads:
            config['INFERENCE_NUM_THREADS'] = threads
        self.metadata = _rt_info(model)
        self.request = core.compile_model(model, 'CPU', config).create_infer_request()

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """Return boxes, scores and labels of a batch, as :meth:`OnnxRuntimeSession.run`."""
        outputs = self.request.infer({0: images})
        return [np.array(value) for value in outputs.to_tuple()]


def make_topk_stable(model) -> None:
    """Replace OpenVINO's ``TopK`` so that equal values keep their order, as in ONNX.

    OpenVINO's own attribute ``stable`` takes time proportional to the number of values times the
    number taken, most of the time of a small detector. Three unstable sorts give the same result.

    Args:
        model (openvino.Model): Modified in place, once. Exported detectors sort rows, (N, n); a
            ``TopK`` of another rank (``ArgMax`` becomes one) is left unchanged.
    """
    for old in model.get_ordered_ops():
        ours = old.get_type_name() == 'TopK' and len(old.get_output_partial_shape(0)) == 2
        if ours and not old.get_friendly_name().endswith(_STABLE):
            for before, after in zip(old.outputs(), _stable_topk(old), strict=True):
                before.replace(after)


_STABLE = '/ordered'


def _stable_topk(old) -> tuple:
    """Return replacements of a ``TopK``'s values and indices; indices ascend among equal values."""
    from openvino import opset11 as op

    def top(values, mode: str):
        found = op.topk(values, number, 1, mode, 'value', 'i32')
        found.set_friendly_name(f'{old.get_friendly_name()}/{mode}{len(made)}{_STABLE}')
        made.append(found)
        return found

    def columns(values, start: int, stop: int):
        return op.slice(values, [start], [stop], [1], [1])

    def count(mask):
        """Count the true values up to and including each column, (N, n)."""
        return op.cum_sum(op.convert(mask, 'i32'), 1)

    scores, number, made = old.input_value(0), old.input_value(1), []
    far = np.iinfo(np.int32).max
    # of the values equal to the smallest selected one, take the first ones up to the number
    values = top(scores, 'max').output(0)
    last = columns(values, -1, far)
    tied = op.equal(scores, last)
    remaining = op.reduce_sum(op.convert(op.equal(values, last), 'i32'), 1, True)
    selected = op.logical_or(
        op.greater(scores, last), op.logical_and(tied, op.less_equal(count(tied), remaining))
    )
    values, indices = top(op.select(selected, scores, np.finfo(np.float32).min), 'max').outputs()
    # distinct sort keys: by value, then by position
    before = op.concat([columns(values, 0, 1), columns(values, 0, -1)], 1)
    number_plus = op.add(op.convert(number, 'i32'), np.int32(1))
    keys = op.add(
        op.multiply(count(op.not_equal(values, before)), number_plus),
        op.gather_elements(count(selected), indices, 1),
    )
    order = top(keys, 'min').output(1)
    indices = op.convert(
        op.gather_elements(indices, order, 1), old.get_output_element_type(1).to_string()
    )
    return values, indices.output(0)


def _rt_info(model) -> str | None:
    """Return our metadata: under our key, or where OpenVINO puts that of an ONNX file."""
    for key in ([KEY], ['framework', KEY]):
        if model.has_rt_info(key):
            return model.get_rt_info(key).astype(str)
    return None
