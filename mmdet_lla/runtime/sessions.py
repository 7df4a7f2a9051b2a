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
    """Let OpenVINO's ``TopK`` take of equal values those that come first, as ONNX's does."""
    from openvino import opset11

    for old in model.get_ordered_ops():
        if old.get_type_name() == 'TopK':
            own = old.get_attributes()
            new = opset11.topk(
                old.input_value(0),
                old.input_value(1),
                own['axis'],
                own['mode'],
                'value',
                own['index_element_type'],
                stable=True,
            )
            for before, after in zip(old.outputs(), new.outputs(), strict=True):
                before.replace(after)


def _rt_info(model) -> str | None:
    """Our metadata: under our key, or where OpenVINO puts that of an ONNX file."""
    for place in ([KEY], ['framework', KEY]):
        if model.has_rt_info(place):
            return model.get_rt_info(place).astype(str)
    return None
