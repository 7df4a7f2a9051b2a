"""From a detector to its exported files."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from ..inference.model import TorchDetector
from ..runtime import read_picture
from ..runtime.metadata import Metadata
from ..runtime.pictures import SizeRule
from ..version import __version__
from .files import write_int8, write_onnx, write_openvino
from .graph import DetectorGraph
from .sizes import size_rule
from .verify import pictures_of

#: Pictures that int8 is calibrated with.
CALIBRATION = 64


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path (Path): ``.onnx`` or ``.xml``.
        precision (str): 'float32' or 'int8'.
    """

    path: Path
    precision: str


def export_detector(
    detector: TorchDetector,
    path: Path,
    openvino: bool = False,
    int8: bool = False,
    calibration: int = CALIBRATION,
    rgb: bool = False,
    tests: Config | None = None,
) -> list[Exported]:
    """Write a detector as ONNX, and as OpenVINO's form and in int8 if asked.

    Args:
        detector (TorchDetector): On the CPU; it stays as it is.
        path (Path): Of the ONNX file; the others are called after it.
        openvino (bool): Whether to write OpenVINO's form of every file, too. Defaults to False.
        int8 (bool): Whether to write it in int8, too. Defaults to False.
        calibration (int): Pictures of the test set that int8 is calibrated with. Defaults to 64.
        rgb (bool): Whether the files take pictures in RGB, for those who use them without
            ``mmdet_lla.runtime``, which gives them BGR. Defaults to False.
        tests (Config, optional): With the test set for int8; what is done to pictures stays the
            detector's. Defaults to the detector's own config.

    Raises:
        ValueError: The detector cannot be exported; says why.
    """
    if path.suffix != '.onnx':
        raise ValueError(f'the exported file must end in .onnx, got {path}')
    rule = size_rule(detector.cfg)
    model = copy.deepcopy(detector.model).to(memory_format=torch.contiguous_format)
    graph = DetectorGraph(model, rgb)
    metadata = Metadata(
        classes=detector.classes,
        size_rule=rule,
        threshold=detector.threshold,
        metrics=detector.metrics,
        model=detector.name,
        version=__version__,
        rgb=rgb,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_onnx(graph, path, metadata)
    written = [Exported(path, 'float32')]
    if int8:
        small = path.with_suffix('.int8.onnx')
        infos = pictures_of(tests or detector.cfg, calibration)
        write_int8(path, small, metadata, graph, _prepared(infos, rule, rgb))
        written.append(Exported(small, 'int8'))
    if openvino:
        for one in list(written):
            own = Metadata.loads(_metadata_of(one.path), one.path)
            write_openvino(one.path, one.path.with_suffix('.xml'), own)
            written.append(Exported(one.path.with_suffix('.xml'), one.precision))
    return written


def _prepared(infos: list[dict], rule: SizeRule, rgb: bool) -> Iterator[np.ndarray]:
    for info in infos:
        image, _ = rule.apply(read_picture(info['img_path']))
        yield np.ascontiguousarray(image[..., ::-1] if rgb else image)[None]


def _metadata_of(path: Path) -> str:
    import onnx

    model = onnx.load(path, load_external_data=False)
    return next(one.value for one in model.metadata_props)
