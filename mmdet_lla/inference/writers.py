"""Writes detections as JSON lines, CrowdHuman's .odgt, COCO's JSON, YOLO's text files or CSV.

All write frame by frame, so that memory does not grow with the length of a video.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from ..evaluation.annotations import CrowdDetections
from ..evaluation.detection_files import to_crowdhuman_record
from ..runtime import Detections
from ..utils.files import atomic_write
from .predictor import Frame


class Writer:
    """Writes detections below a directory.

    Args:
        directory (Path): An existing directory.
        classes (tuple[str]): Class names.

    Example:
        >>> import numpy as np
        >>> directory = Path(tempfile.mkdtemp())
        >>> writer = JsonLines(directory, ('person',))
        >>> empty = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)
        >>> writer.write('a', Frame('a.jpg'), Detections(*empty, ('person',), 48, 64))
        >>> writer.close()
        >>> print((directory / 'detections.jsonl').read_text().strip())
        {"image": "a.jpg", "width": 64, "height": 48, "count": 0, "detections": []}
    """

    #: Name of the file or directory.
    target: str

    def __init__(self, directory: Path, classes: tuple[str, ...]) -> None:
        self.path = directory / self.target
        self.classes = classes

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        """Add the detections of a frame, whose unique name is ``name``."""
        raise NotImplementedError

    def close(self) -> None:
        """Complete the file.

        Raises:
            OSError: It cannot be completed; the incomplete file stays if it can be read.
        """


class _FileWriter(Writer):
    """Writes one text file."""

    def __init__(self, directory: Path, classes: tuple[str, ...]) -> None:
        super().__init__(directory, classes)
        # csv ends its lines itself; file names may hold bytes that are not UTF-8
        self.file = open(self.path, 'w', encoding='utf-8', errors='backslashreplace', newline='')

    def close(self) -> None:
        self.file.close()


class JsonLines(_FileWriter):
    """Writes one JSON object per frame, with its count and every detection."""

    target = 'detections.jsonl'

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        record: dict = {'image': frame.source}
        if frame.index is not None:
            record.update(frame=frame.index, time=frame.time)
        record.update(
            width=found.width, height=found.height, count=len(found), detections=found.records()
        )
        self.file.write(_dump_line(record))
        self.file.flush()  # for programs that follow a live stream


class Odgt(_FileWriter):
    """Writes CrowdHuman's format, as :class:`~mmdet_lla.evaluation.CrowdMetric` does."""

    target = 'detections.odgt'

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        size = found.height, found.width
        detections = CrowdDetections.create(name, found.boxes, found.scores, *size)
        self.file.write(_dump_line(to_crowdhuman_record(detections)))


class Csv(_FileWriter):
    """Writes one row per detection."""

    target = 'detections.csv'
    _COLUMNS = ('image', 'frame', 'time', 'x1', 'y1', 'x2', 'y2', 'score', 'label', 'class', 'id')

    def __init__(self, directory: Path, classes: tuple[str, ...]) -> None:
        super().__init__(directory, classes)
        self.rows = csv.writer(self.file)
        self.rows.writerow(self._COLUMNS)

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        for one in found.records():
            values = (one['score'], one['label'], one['class'], one.get('id'))
            self.rows.writerow([frame.source, frame.index, frame.time, *one['box'], *values])


class Yolo(Writer):
    """Writes a text file per frame: label, relative center, width and height, and score."""

    target = 'labels'

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        path = self.path / f'{name}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        size = (found.width, found.height) * 2
        for box, score, label in zip(found.boxes / size, found.scores, found.labels, strict=True):
            x1, y1, x2, y2 = box
            values = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, score)
            lines.append(f'{label} ' + ' '.join(f'{value:.6f}' for value in values) + '\n')
        write_bytes(path, ''.join(lines).encode())


class Coco(Writer):
    """Writes a COCO dataset: ``images``, ``annotations`` (with ``score``) and ``categories``."""

    target = 'detections.coco.json'

    def __init__(self, directory: Path, classes: tuple[str, ...]) -> None:
        super().__init__(directory, classes)
        # the lists follow each other in the file, but grow together
        self.images, self.annotations = (
            tempfile.TemporaryFile('w+', encoding='utf-8', dir=directory) for _ in range(2)
        )
        self.num_images = self.num_annotations = 0

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        self.num_images += 1
        image = {
            'id': self.num_images,
            'file_name': frame.source if frame.index is None else name,
            'width': found.width,
            'height': found.height,
        }
        self.images.write((',\n' if self.num_images > 1 else '\n') + json.dumps(image))
        for one in found.records():
            self.num_annotations += 1
            x1, y1, x2, y2 = one['box']
            width, height = round(x2 - x1, 2), round(y2 - y1, 2)
            annotation = {
                'id': self.num_annotations,
                'image_id': self.num_images,
                'category_id': one['label'] + 1,
                'bbox': [x1, y1, width, height],
                'area': round(width * height, 2),
                'iscrowd': 0,
                'score': one['score'],
            }
            separator = ',\n' if self.num_annotations > 1 else '\n'
            self.annotations.write(separator + json.dumps(annotation))

    def close(self) -> None:
        categories = [{'id': i + 1, 'name': name} for i, name in enumerate(self.classes)]
        try:
            with atomic_write(self.path) as file:
                file.write(f'{{"categories": {json.dumps(categories)}')
                for key, part in (('images', self.images), ('annotations', self.annotations)):
                    part.seek(0)
                    file.write(f',\n"{key}": [')
                    shutil.copyfileobj(part, file)
                    file.write(']')
                file.write('}\n')
        finally:
            for part in (self.images, self.annotations):
                with suppress(OSError):
                    part.close()


#: By the name of the format; JSON lines are always written.
WRITERS = {'odgt': Odgt, 'coco': Coco, 'yolo': Yolo, 'csv': Csv}


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file; if that fails, no partial file stays."""
    try:
        path.write_bytes(data)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _dump_line(record: dict) -> str:
    """Return a line of JSON; names that are not UTF-8 are escaped, so that they can be read back.

    Example:
        >>> json.loads(_dump_line({'image': 'stra\\udcdfe.jpg'}))['image'] == 'stra\\udcdfe.jpg'
        True
    """
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(record)
    return line + '\n'
