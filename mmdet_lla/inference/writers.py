"""Detections as files: JSON lines, CrowdHuman's .odgt, COCO's JSON, YOLO's text, CSV.

All write as detections come, so that memory does not grow with a video's length.
"""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

from ..evaluation.annotations import CrowdDetections
from ..evaluation.detection_files import to_crowdhuman_record
from ..runtime import Detections
from .predictor import Frame


class Writer:
    """Writes detections into a folder.

    Args:
        folder (Path): It exists.
        classes (tuple[str]): Names of the classes.
    """

    #: Name of the file or folder that is written.
    target: str

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        self.path = folder / self.target
        self.classes = classes

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        """Add what was found in a frame, which is called ``name``."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish what was written."""


class _FileWriter(Writer):
    """A writer of one text file."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        super().__init__(folder, classes)
        # csv ends its lines itself
        self.file = open(self.path, 'w', encoding='utf-8', newline='')

    def close(self) -> None:
        self.file.close()


class JsonLines(_FileWriter):
    """One JSON object a frame, with its count and every detection."""

    target = 'detections.jsonl'

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        record: dict = {'image': frame.source}
        if frame.index is not None:
            record.update(frame=frame.index, time=frame.time)
        record.update(
            width=found.width, height=found.height, count=len(found), detections=found.records()
        )
        self.file.write(json.dumps(record, ensure_ascii=False) + '\n')
        self.file.flush()  # who watches a camera reads along


class Odgt(_FileWriter):
    """CrowdHuman's format; see :class:`~mmdet_lla.evaluation.CrowdMetric`."""

    target = 'detections.odgt'

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        crowd = CrowdDetections.create(name, found.boxes, found.scores, found.height, found.width)
        self.file.write(json.dumps(to_crowdhuman_record(crowd), ensure_ascii=False) + '\n')


class Csv(_FileWriter):
    """One row a detection."""

    target = 'detections.csv'
    _COLUMNS = ('image', 'frame', 'time', 'x1', 'y1', 'x2', 'y2', 'score', 'label', 'class', 'id')

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        super().__init__(folder, classes)
        self.rows = csv.writer(self.file)
        self.rows.writerow(self._COLUMNS)

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        for one in found.records():
            self.rows.writerow(
                [
                    frame.source,
                    frame.index,
                    frame.time,
                    *one['box'],
                    one['score'],
                    one['label'],
                    one['class'],
                    one.get('id'),
                ]
            )


class Yolo(Writer):
    """A text file a frame: label, centre, width and height as shares of the picture, score."""

    target = 'labels'

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        path = self.path / f'{name}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (found.width, found.height) * 2
        with open(path, 'w', encoding='utf-8') as file:
            for box, score, label in zip(
                found.boxes / size, found.scores, found.labels, strict=True
            ):
                x1, y1, x2, y2 = box
                values = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, score)
                file.write(f'{label} ' + ' '.join(f'{value:.6f}' for value in values) + '\n')


class Coco(Writer):
    """A data set of COCO's with ``images``, ``annotations`` (with ``score``) and ``categories``."""

    target = 'detections.coco.json'

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        super().__init__(folder, classes)
        self.file = open(self.path, 'w', encoding='utf-8')
        categories = [{'id': i + 1, 'name': one} for i, one in enumerate(classes)]
        self.file.write(f'{{"categories": {json.dumps(categories)},\n"images": [')
        # JSON's lists come one after the other, pictures and detections together
        self.annotations = tempfile.TemporaryFile('w+', encoding='utf-8', dir=folder)
        self.images = self.boxes = 0

    def write(self, name: str, frame: Frame, found: Detections) -> None:
        self.images += 1
        image = {
            'id': self.images,
            'file_name': frame.source if frame.index is None else name,
            'width': found.width,
            'height': found.height,
        }
        self.file.write((',\n' if self.images > 1 else '\n') + json.dumps(image))
        for one in found.records():
            self.boxes += 1
            x1, y1, x2, y2 = one['box']
            width, height = round(x2 - x1, 2), round(y2 - y1, 2)
            annotation = {
                'id': self.boxes,
                'image_id': self.images,
                'category_id': one['label'] + 1,
                'bbox': [x1, y1, width, height],
                'area': round(width * height, 2),
                'iscrowd': 0,
                'score': one['score'],
            }
            self.annotations.write((',\n' if self.boxes > 1 else '\n') + json.dumps(annotation))

    def close(self) -> None:
        self.file.write('],\n"annotations": [')
        self.annotations.seek(0)
        for line in self.annotations:
            self.file.write(line)
        self.file.write(']}\n')
        self.file.close()
        self.annotations.close()


#: By the name of the format; JSON lines are always written.
WRITERS = {'odgt': Odgt, 'coco': Coco, 'yolo': Yolo, 'csv': Csv}
