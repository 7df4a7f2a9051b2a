"""Reads detections of people from the files that tools write; nothing in a file is executed."""

from __future__ import annotations

import collections
import io
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from ..datasets.text import read_text
from .annotations import CrowdDetections

#: Where numpy 2 or numpy 1 has what its pickles name.
_MULTIARRAY = import_module(
    'numpy._core.multiarray'
    if np.lib.NumpyVersion(np.__version__) >= '2.0.0b1'
    else 'numpy.core.multiarray'
)
#: What a dump of ``tools/test.py --out`` needs: tensors, arrays and plain containers.
_ALLOWED = {
    ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy', 'dtype'): np.dtype,
}


#: Height or width of a picture of which nothing is known.
UNKNOWN_SIZE = 10**6


class DetectionFileError(ValueError):
    """A file holds no detections that can be read; the message names file and record."""


def _storage(content: bytes):
    """Storage of a tensor, as torch pickles it, without unpickling anything else."""
    return torch.load(io.BytesIO(content), weights_only=True)


def _latin1(text: str, encoding: str) -> bytes:
    """How old pickle protocols write bytes."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'bytes are written as {encoding!r}, expected latin1')
    return str.encode(text, 'latin1')


class _Unpickler(pickle.Unpickler):
    """Knows tensors and arrays, and refuses the rest."""

    def find_class(self, module: str, name: str):
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            return _storage
        if (module, name) == ('_codecs', 'encode'):
            return _latin1
        if module in ('numpy.core.multiarray', 'numpy._core.multiarray') and name in (
            '_reconstruct',
            'scalar',
        ):
            return getattr(_MULTIARRAY, name)
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f'it asks for {module}.{name}, which no dump of tools/test.py does; it is not to '
                'be trusted'
            ) from None


def read_detections(path: str | Path, sizes: Mapping | None = None) -> list[CrowdDetections]:
    """Detections of a file, by its ending.

    Args:
        path (str | Path): ``.pkl``, what ``tools/test.py --out`` writes; ``.odgt``, CrowdHuman's
            (``ID``, ``dtboxes`` with ``box`` ``x y w h`` and ``score``); ``.json``, a list of
            COCO's results (``image_id``, ``bbox`` ``x y w h``, ``score``), or of CrowdHuman's.
        sizes (Mapping, optional): Height and width of each picture by ID, where the file has none;
            boxes are cut to them. Where nobody knows them, ``UNKNOWN_SIZE``, which cuts nothing off
            at the right and at the bottom.

    Raises:
        DetectionFileError: The file is none of these, or a record is broken; which is named.
    """
    path = Path(path)
    sizes = sizes or {}
    if path.suffix == '.pkl':
        return _from_dump(path)
    if path.suffix == '.odgt':
        lines = enumerate(read_text(str(path)).splitlines(), 1)
        records = [_parse(line, f'{path}, line {number}') for number, line in lines if line.strip()]
        return _from_records(path, records, sizes)
    if path.suffix == '.json':
        content = _parse(read_text(str(path)), str(path))
        if not isinstance(content, list):
            raise DetectionFileError(
                f'{path}: {type(content).__name__}, expected a list of results'
            )
        if content and isinstance(content[0], dict) and 'dtboxes' in content[0]:
            return _from_records(path, content, sizes)
        return _from_coco(path, content, sizes)
    raise DetectionFileError(f'{path}: ends in {path.suffix!r}, expected .pkl, .odgt or .json')


def _parse(text: str, where: str):
    try:
        return json.loads(text)
    except ValueError as error:
        raise DetectionFileError(f'{where}: not JSON ({error})') from error


def _from_dump(path: Path) -> list[CrowdDetections]:
    try:
        with open(path, 'rb') as file:
            samples = _Unpickler(file).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
        raise DetectionFileError(f'{path}: no dump of tools/test.py --out: {error}') from error
    detections = []
    for i, sample in enumerate(samples):
        try:
            predicted = sample['pred_instances']
            boxes, scores = (
                np.asarray(torch.as_tensor(predicted[key])) for key in ('bboxes', 'scores')
            )
            detections.append(
                CrowdDetections.create(sample['img_id'], boxes, scores, *sample['ori_shape'][:2])
            )
        except (KeyError, TypeError, IndexError) as error:
            raise DetectionFileError(
                f'{path}, record {i}: expected img_id, ori_shape and pred_instances with bboxes '
                f'and scores ({type(error).__name__}: {error})'
            ) from error
    return detections


def _from_records(path: Path, records: Sequence, sizes: Mapping) -> list[CrowdDetections]:
    rows = []
    sizes = dict(sizes)
    for i, record in enumerate(records):
        try:
            for one in record['dtboxes']:
                rows.append((record['ID'], one['box'], one['score']))
            if not record['dtboxes']:
                rows.append((record['ID'], None, None))
            if 'height' in record and 'width' in record:
                sizes[record['ID']] = (record['height'], record['width'])
        except (KeyError, TypeError) as error:
            raise DetectionFileError(
                f'{path}, record {i}: expected ID and dtboxes with box and score '
                f'({type(error).__name__}: {error})'
            ) from error
    return _group(path, rows, sizes)


def _from_coco(path: Path, records: Sequence, sizes: Mapping) -> list[CrowdDetections]:
    rows = []
    for i, record in enumerate(records):
        try:
            rows.append((record['image_id'], record['bbox'], record['score']))
        except (KeyError, TypeError) as error:
            raise DetectionFileError(
                f'{path}, record {i}: expected image_id, bbox and score '
                f'({type(error).__name__}: {error})'
            ) from error
    return _group(path, rows, sizes)


def _group(path: Path, rows: Iterable[tuple], sizes: Mapping) -> list[CrowdDetections]:
    """Rows of one picture together, pictures in the order in which they come first."""
    found: dict = {}
    for img_id, box, score in rows:
        boxes, scores = found.setdefault(img_id, ([], []))
        if box is not None:
            boxes.append(box)
            scores.append(score)
    detections = []
    for img_id, (boxes, scores) in found.items():
        try:
            xywh = np.asarray(boxes, float).reshape(-1, 4)
            corners = np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])
            height, width = sizes.get(img_id, (UNKNOWN_SIZE, UNKNOWN_SIZE))
            detections.append(
                CrowdDetections.create(img_id, corners, np.array(scores, float), height, width)
            )
        except (TypeError, ValueError) as error:
            raise DetectionFileError(f'{path}: {error}') from error
    return detections


def coco_results(detections: Iterable[CrowdDetections]) -> Iterator[dict]:
    """COCO's results: ``image_id``, ``category_id`` 1, ``bbox`` ``x y w h``, ``score``."""
    for one in detections:
        for box, score in zip(one.xywh().tolist(), one.scores.tolist(), strict=True):
            yield dict(image_id=one.img_id, category_id=1, bbox=box, score=score)
