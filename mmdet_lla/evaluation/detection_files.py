"""Readers and writers of files with detections of people; reading executes nothing in a file."""

from __future__ import annotations

import collections
import io
import json
import logging
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .annotations import CrowdDetections

logger = logging.getLogger(__name__)

#: Height and width of an image if nothing tells them; they clip nothing at the right and bottom.
UNKNOWN_SIZE = 10**6
#: Class of people in the files: ``category_id`` of COCO, ``tag`` of CrowdHuman, label of a dump.
PERSON_CATEGORY, PERSON_TAG, PERSON_LABEL = 1, 1, 0
#: Names of the class of people in datasets with several classes.
PERSON_NAMES = ('person', 'pedestrian')
#: Where numpy 2 or numpy 1 defines what its pickles name.
_MULTIARRAY = import_module(
    'numpy._core.multiarray'
    if np.lib.NumpyVersion(np.__version__) >= '2.0.0b1'
    else 'numpy.core.multiarray'
)


class DetectionFileError(ValueError):
    """A file has no readable detections; the message names file and record."""


def _load_storage(content: bytes):
    """Load the storage of a tensor as torch pickles it, without unpickling anything else."""
    import torch

    return torch.load(io.BytesIO(content), weights_only=True)


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Decode bytes as old pickle protocols write them."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'bytes are written as {encoding!r}, expected latin1')
    return str.encode(text, 'latin1')


class _Unpickler(pickle.Unpickler):
    """Unpickler of tensors, arrays and plain containers that refuses everything else."""

    def find_class(self, module: str, name: str):
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return getattr(import_module(module), name)
        if module in ('numpy.core.multiarray', 'numpy._core.multiarray') and name in (
            '_reconstruct',
            'scalar',
        ):
            return getattr(_MULTIARRAY, name)
        allowed = {
            ('torch.storage', '_load_from_bytes'): _load_storage,
            ('_codecs', 'encode'): _encode_latin1,
            ('collections', 'OrderedDict'): collections.OrderedDict,
            ('numpy', 'ndarray'): np.ndarray,
            ('numpy', 'dtype'): np.dtype,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(
                f'it refers to {module}.{name}, which no dump of test results does; do not trust it'
            )
        return allowed[module, name]


def find_person_label(classes: Sequence[str] | str | None) -> int:
    """Return the label of the class named 'person' or 'pedestrian', else 0.

    Example:
        >>> find_person_label(['car', 'Person'])
        1
    """
    classes = [classes] if isinstance(classes, str) else classes or ()
    names = [str(name).lower() for name in classes]
    return next((names.index(name) for name in PERSON_NAMES if name in names), PERSON_LABEL)


def read_detections(
    path: str | Path, sizes: Mapping | None = None, person: int | None = None
) -> list[CrowdDetections]:
    """Read the detections of people in a file; its suffix gives the format.

    Detections of other classes are left out, and their number is logged as a warning. Records
    without a class count as people.

    Args:
        path (str | Path): ``.pkl``, written by ``test --out``; ``.odgt``, CrowdHuman's records
            (``ID``, ``dtboxes`` with ``box`` ``x y w h`` and ``score``); ``.json``, a list of COCO
            results (``image_id``, ``bbox`` ``x y w h``, ``score``) or of CrowdHuman's records.
        sizes (Mapping, optional): Height and width by image ID, used if the file has none; boxes
            are clipped to them. Without either they are ``UNKNOWN_SIZE``.
        person (int, optional): Class of people: ``category_id`` in COCO results (default 1),
            ``tag`` in CrowdHuman's records (1), label in a ``.pkl`` file (0).

    Returns:
        list[CrowdDetections]: One for each image, in the order of first occurrence.

    Raises:
        DetectionFileError: The file is none of these, a record is invalid, or every detection is
            of another class; the message names file and record.
    """
    path = Path(path)
    sizes = sizes or {}
    if path.suffix not in ('.pkl', '.odgt', '.json'):
        raise DetectionFileError(f'{path}: ends in {path.suffix!r}, expected .pkl, .odgt or .json')
    if path.suffix == '.pkl':
        return _read_dump(path, person)
    from ..datasets.text import read_text  # here, since it needs mmengine

    text = read_text(str(path))
    if path.suffix == '.odgt':
        lines = enumerate(text.splitlines(), 1)
        records = [_parse(line, f'{path}, line {number}') for number, line in lines if line.strip()]
        return _read_crowdhuman(path, records, sizes, person)
    content = _parse(text, str(path))
    if not isinstance(content, list):
        raise DetectionFileError(f'{path}: {type(content).__name__}, expected a list of results')
    if content and isinstance(content[0], dict) and 'dtboxes' in content[0]:
        return _read_crowdhuman(path, content, sizes, person)
    return _read_coco(path, content, sizes, person)


def _parse(text: str, where: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DetectionFileError(f'{where}: not JSON ({error})') from error


def _read_dump(path: Path, person: int | None) -> list[CrowdDetections]:
    try:
        with open(path, 'rb') as file:
            samples = _Unpickler(file).load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise almost anything
        raise DetectionFileError(f'{path}: not a dump of test results: {error}') from error
    if not isinstance(samples, (list, tuple)):
        raise DetectionFileError(f'{path}: {type(samples).__name__}, expected a list of results')
    detections = []
    selection = _PersonFilter(path, 'label', PERSON_LABEL if person is None else person)
    for i, sample in enumerate(samples):
        try:
            predictions = sample['pred_instances']
            boxes, scores = (to_numpy(predictions[key]) for key in ('bboxes', 'scores'))
            if 'labels' in predictions:
                keep = selection.mask(to_numpy(predictions['labels']).tolist())
                boxes, scores = boxes[keep], scores[keep]
            detections.append(
                CrowdDetections.create(sample['img_id'], boxes, scores, *sample['ori_shape'][:2])
            )
        except (KeyError, TypeError, IndexError) as error:
            raise DetectionFileError(
                f'{path}, record {i}: expected img_id, ori_shape and pred_instances with bboxes '
                f'and scores ({type(error).__name__}: {error})'
            ) from error
    selection.report()
    return detections


def to_numpy(values) -> np.ndarray:
    """Convert a tensor or array-like to an array; box objects of mmdet wrap a tensor."""
    values = getattr(values, 'tensor', values)
    if hasattr(values, 'detach'):
        values = values.detach().cpu()
        if not (values.dtype.is_floating_point and values.element_size() < 4):
            return values.numpy()
        return values.float().numpy()  # NumPy has no bfloat16
    return np.asarray(values)


def _read_crowdhuman(
    path: Path, records: Sequence, sizes: Mapping, person: int | None
) -> list[CrowdDetections]:
    sizes = dict(sizes)
    selection = _PersonFilter(path, 'tag', PERSON_TAG if person is None else person)

    def read_rows(record) -> list[tuple]:
        if 'height' in record and 'width' in record:
            sizes[record['ID']] = (record['height'], record['width'])
        kept = [one for one in record['dtboxes'] if selection.keeps(one.get('tag'))]
        boxes = [(record['ID'], one['box'], one['score']) for one in kept]
        return [(record['ID'], None, None), *boxes]

    rows = _read_rows(path, records, read_rows, 'ID and dtboxes with box and score')
    selection.report()
    return _group_rows(path, rows, sizes)


def _read_coco(
    path: Path, records: Sequence, sizes: Mapping, person: int | None
) -> list[CrowdDetections]:
    selection = _PersonFilter(path, 'category_id', PERSON_CATEGORY if person is None else person)

    def read_rows(record) -> list[tuple]:
        row = record['image_id'], record['bbox'], record['score']
        return [row if selection.keeps(record.get('category_id')) else (row[0], None, None)]

    rows = _read_rows(path, records, read_rows, 'image_id, bbox and score')
    selection.report()
    return _group_rows(path, rows, sizes)


def _read_rows(
    path: Path, records: Sequence, read: Callable[[Any], list[tuple]], expected: str
) -> list[tuple]:
    """Read rows (image ID, box, score) of all records, and name the first invalid record."""
    rows: list[tuple] = []
    for i, record in enumerate(records):
        try:
            rows += read(record)
        except (AttributeError, KeyError, TypeError) as error:
            raise DetectionFileError(
                f'{path}, record {i}: expected {expected} ({type(error).__name__}: {error})'
            ) from error
    return rows


class _PersonFilter:
    """Keeps the detections of one class and counts the others."""

    def __init__(self, path: Path, field: str, person: int) -> None:
        self.path, self.field, self.person = path, field, person
        self.num_kept = 0
        self.others: Counter = Counter()

    def keeps(self, value: Any) -> bool:
        """Tell whether a detection is kept; without a class (None) it is."""
        if value is None or value == self.person:
            self.num_kept += 1
            return True
        self.others[value if isinstance(value, (int, float)) else str(value)] += 1
        return False

    def mask(self, values: Sequence) -> np.ndarray:
        """Tell which detections are kept, bool, shape (n, )."""
        return np.array([self.keeps(value) for value in values], dtype=bool)

    def report(self) -> None:
        """Log how many detections were left out.

        Raises:
            DetectionFileError: None was kept.
        """
        if not self.others:
            return
        most = self.others.most_common(5)
        found = ', '.join(f'{self.field} {value} ({count})' for value, count in most)
        found += ', ...' if len(self.others) > len(most) else ''
        if not self.num_kept:
            raise DetectionFileError(
                f'{self.path}: no detection has {self.field} {self.person}, the class of people; '
                f'found {found}. Name the class of people if it is another one'
            )
        logger.warning(
            '%s: %d detections of other classes were left out: %s; evaluated %s %s (%d)',
            *(self.path, sum(self.others.values()), found),
            *(self.field, self.person, self.num_kept),
        )


def _group_rows(path: Path, rows: Iterable[tuple], sizes: Mapping) -> list[CrowdDetections]:
    """Group rows by image, in order of first occurrence; a row without a box only names one."""
    by_image: dict = {}
    for img_id, box, score in rows:
        if not isinstance(img_id, (str, int)):
            raise DetectionFileError(f'{path}: image ID {img_id!r}, expected a string or integer')
        boxes, scores = by_image.setdefault(img_id, ([], []))
        if box is not None:
            boxes.append(box)
            scores.append(score)
    detections = []
    for img_id, (boxes, scores) in by_image.items():
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


def to_coco_results(detections: Iterable[CrowdDetections]) -> Iterator[dict]:
    """Convert to COCO results: ``image_id``, ``category_id`` 1, ``bbox`` ``x y w h``, ``score``.

    Example:
        >>> next(to_coco_results([CrowdDetections.create('a', [[1, 2, 4, 8]], [0.5], 9, 9)]))
        {'image_id': 'a', 'category_id': 1, 'bbox': [1.0, 2.0, 3.0, 6.0], 'score': 0.5}
    """
    for one in detections:
        for box, score in zip(one.xywh().tolist(), one.scores.tolist(), strict=True):
            yield dict(image_id=one.img_id, category_id=PERSON_CATEGORY, bbox=box, score=score)


def to_crowdhuman_record(detection: CrowdDetections) -> dict:
    """Convert to a record of CrowdHuman's format: boxes ``x y w h``, tag 1.

    Example:
        >>> to_crowdhuman_record(CrowdDetections.create('a', [], [], 20, 30))
        {'ID': 'a', 'width': 30, 'height': 20, 'dtboxes': []}
    """
    return dict(
        ID=detection.img_id,
        width=detection.width,
        height=detection.height,
        dtboxes=[
            dict(box=box, score=score, tag=PERSON_TAG)
            for box, score in zip(detection.xywh().tolist(), detection.scores.tolist(), strict=True)
        ],
    )
