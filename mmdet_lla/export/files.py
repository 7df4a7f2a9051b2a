"""Write a detector's graph as ONNX, OpenVINO IR, and either in int8."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from ..runtime.metadata import KEY, Metadata
from ..runtime.sessions import make_topk_stable
from .graph import DetectorGraph, GraphDetections
from .operators import OPSET, onnxscript_translations, register_symbolics

#: Shapes of the images that a graph is traced with, and checked with; the file accepts any.
_TRACED = (2, 224, 352, 3)
_CHECKED = (1, 164, 146, 3)
_INPUT = 'images'
_DIMS = ('batch', 'height', 'width')


def write_onnx(graph: DetectorGraph, path: Path, metadata: Metadata) -> None:
    """Write a graph as ONNX, with dynamic batch, height and width.

    torch's tracing exporter takes seconds. Where the network computes with sizes in Python, it
    records those of the traced images; a run at another size finds this out. Then, and where torch
    no longer has it, ``torch.export`` does the same with symbolic shapes, in half a minute.

    Args:
        graph (DetectorGraph): On the CPU.
        path (Path): Ends in ``.onnx``.
        metadata (Metadata): Stored in the file.
    """
    graph.with_candidates = True
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.getLogger('torch.onnx').setLevel(logging.ERROR)
        for export in (_trace, _export_symbolic):
            try:
                model = export(graph, path)
                if _is_dynamic(graph, model):
                    break
            except OSError:
                raise  # such as a full disk
            except Exception:  # exporters and runtimes fail in many ways
                continue
        else:
            raise ValueError(
                f'{type(graph.model).__name__} cannot be exported: torch records the size of the '
                'traced images, or has no ONNX translation for an operator'
            )
    graph.with_candidates = False
    del model.graph.output[len(GraphDetections._fields) :]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, name in zip(dims, _DIMS, strict=False):  # all but the channels
        dim.dim_param = name
    for output in model.graph.output:
        first, second, *_ = output.type.tensor_type.shape.dim
        first.dim_param, second.dim_param = 'batch', 'detections'
    _save(model, path, metadata)


def _trace(graph: DetectorGraph, path: Path) -> onnx.ModelProto:
    """Export with torch's tracing exporter."""
    register_symbolics()
    torch.onnx.export(
        graph,
        (torch.zeros(_TRACED, dtype=torch.uint8),),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        input_names=[_INPUT],
        output_names=list(GraphDetections._fields),
        dynamic_axes={_INPUT: dict(enumerate(_DIMS))},
    )
    model = onnx.load(path)
    # it gives one name to dimensions of different size
    del model.graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.ClearField('dim_param')
    return model


def _export_symbolic(graph: DetectorGraph, path: Path) -> onnx.ModelProto:
    """Export with ``torch.export``; ``path`` is not used."""
    images = torch.zeros(_TRACED, dtype=torch.uint8)
    dynamic = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(graph, (images,), dynamic_shapes=(dynamic,), strict=False)
    exported = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=[_INPUT],
        output_names=list(GraphDetections._fields),
        custom_translation_table=onnxscript_translations(),
        verbose=False,
    )
    return exported.model_proto


def _is_dynamic(graph: DetectorGraph, model: onnx.ModelProto) -> bool:
    """Return whether a file computes what its graph does, at a size it was not traced with."""
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    session = InferenceSession(model.SerializeToString(), options, ['CPUExecutionProvider'])
    random = np.random.default_rng(0)
    images = random.integers(0, 256, _CHECKED, dtype=np.uint8)
    expected = [value.numpy() for value in graph(torch.from_numpy(images))]
    found = session.run(None, {_INPUT: images})
    if [value.shape for value in found] != [value.shape for value in expected]:
        return False
    first = len(GraphDetections._fields)  # equal scores may swap detections and candidates
    boxes, outs = expected[first], expected[first + 1 :]
    close = np.isclose(found[first], boxes, rtol=1e-3, atol=0.1).all(-1)
    return close.mean() > 0.9 and all(
        np.allclose(value, out, rtol=1e-3, atol=1e-3 * max(1.0, np.abs(out).max()))
        for value, out in zip(found[first + 1 :], outs, strict=True)
    )


def write_int8(
    source: Path, path: Path, metadata: Metadata, graph: DetectorGraph, batches: Iterable
) -> None:
    """Quantize the convolutions of an exported file, except the first and those that predict.

    Weights use 7 bits: with 8, CPUs without VNNI instructions overflow and lose most of the
    accuracy.

    Args:
        source (Path): What :func:`write_onnx` wrote.
        path (Path): Ends in ``.onnx``.
        metadata (Metadata): Stored in the file.
        graph (DetectorGraph): Of ``source``.
        batches (Iterable[np.ndarray]): Images to calibrate with, uint8, (N, H, W, 3).
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        batches_left = iter(batches)

        def get_next(self) -> dict | None:
            images = next(self.batches_left, None)
            return None if images is None else {_INPUT: images}

    quantize_static(
        source,
        path,
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=['Conv'],
        nodes_to_exclude=_find_exact_convs(onnx.load(source), graph.model.bbox_head),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    _save(onnx.load(path), path, metadata)


def write_openvino(source: Path, path: Path, metadata: Metadata) -> None:
    """Convert an exported ONNX file; ``path`` ends in ``.xml``, weights go into a ``.bin``."""
    os.environ.setdefault('OPENVINO_TELEMETRY', '0')
    import openvino

    model = openvino.convert_model(source)
    make_topk_stable(model)
    model.set_rt_info(metadata.dumps(), [KEY])
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
        openvino.Core().read_model(path)  # a full disk is no error to the line above
    except RuntimeError as error:
        raise OSError(f'{path} cannot be written: {error}') from error


def _save(model: onnx.ModelProto, path: Path, metadata: Metadata) -> None:
    onnx.helper.set_model_props(model, {KEY: metadata.dumps()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _find_exact_convs(model: onnx.ModelProto, head: nn.Module) -> list[str]:
    """Return the names of the convolutions that stay in float32.

    The first, whose input is the image, and those that give a head's scores and boxes.
    """
    exact = {
        f'model.bbox_head.{name}.weight'
        for name, module in head.named_modules()
        if isinstance(module, nn.Conv2d) and not name.endswith('.conv')
    }
    convs = [node for node in model.graph.node if node.op_type == 'Conv']
    return [convs[0].name] + [node.name for node in convs[1:] if node.input[1] in exact]
