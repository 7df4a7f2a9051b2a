"""Writes a detector's graph: ONNX, OpenVINO's form, and either in int8."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from ..runtime.metadata import KEY, Metadata
from ..runtime.sessions import order_ties
from .graph import DetectorGraph
from .operators import translations

OPSET = 18
_NAMES = ('batch', 'height', 'width')
_OUTPUTS = ('boxes', 'scores', 'labels')
#: What the graph is traced with; the file takes any.
_TRACED = (2, 224, 352, 3)


def write_onnx(graph: DetectorGraph, path: Path, metadata: Metadata) -> None:
    """Write a graph as ONNX, with dynamic batch, height and width.

    Args:
        graph (DetectorGraph): On the CPU.
        path (Path): Ends in ``.onnx``.
        metadata (Metadata): What the file says of itself.
    """
    images = torch.zeros(_TRACED, dtype=torch.uint8)
    dynamic = {i: torch.export.Dim.DYNAMIC for i in range(3)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.getLogger('torch.onnx').setLevel(logging.ERROR)
        program = torch.export.export(graph, (images,), dynamic_shapes=(dynamic,), strict=False)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=['images'],
            output_names=list(_OUTPUTS),
            custom_translation_table=translations(),
            verbose=False,
        )
    model = exported.model_proto
    for i, name in enumerate(_NAMES):
        model.graph.input[0].type.tensor_type.shape.dim[i].dim_param = name
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = _NAMES[0]
    _save(model, path, metadata)


def write_int8(
    source: Path, path: Path, metadata: Metadata, graph: DetectorGraph, batches: Iterable
) -> None:
    """Quantise the convolutions of an exported file, but for the first and those that predict.

    Weights take 7 bits: with 8, CPUs that lack instructions for it (VNNI) overflow and lose most of
    the accuracy.

    Args:
        source (Path): What :func:`write_onnx` wrote.
        path (Path): Ends in ``.onnx``.
        metadata (Metadata): Of ``source``.
        graph (DetectorGraph): What it was made of.
        batches (Iterable[np.ndarray]): Pictures to calibrate with, uint8, (N, H, W, 3).
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = onnx.load(source)
    part = path.with_suffix('.part')
    quantize_static(
        model,
        part,
        _Reader(batches),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=['Conv'],
        nodes_to_exclude=_exact(model, graph.model.bbox_head),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    quantised = onnx.load(part)
    part.unlink()
    _save(quantised, path, replace(metadata, precision='int8'))


def write_openvino(source: Path, path: Path, metadata: Metadata) -> None:
    """Convert an exported ONNX file; ``path`` ends in ``.xml``, weights go beside it."""
    os.environ.setdefault('OPENVINO_TELEMETRY', '0')
    import openvino

    model = openvino.convert_model(source)
    order_ties(model)
    model.set_rt_info(metadata.dumps(), [KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


def _save(model, path: Path, metadata: Metadata) -> None:
    onnx.helper.set_model_props(model, {KEY: metadata.dumps()})
    onnx.checker.check_model(model)
    part = path.with_suffix('.part')
    onnx.save(model, part)
    os.replace(part, path)


def _exact(model, head: nn.Module) -> list[str]:
    """Names of the convolutions that stay in float32.

    The first, which sees the picture, and those that give a head's scores and boxes.
    """
    exact = {
        f'model.bbox_head.{name}.weight'
        for name, module in head.named_modules()
        if isinstance(module, nn.Conv2d) and not name.endswith('.conv')
    }
    convs = [node for node in model.graph.node if node.op_type == 'Conv']
    return [convs[0].name] + [node.name for node in convs[1:] if node.input[1] in exact]


class _Reader:
    """Hands pictures to onnxruntime's calibration."""

    def __init__(self, batches: Iterable[np.ndarray]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict | None:
        """One more, or None."""
        images = next(self.batches, None)
        return None if images is None else {'images': images}
