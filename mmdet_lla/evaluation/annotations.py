"""What a crowd metric knows of a picture: its people, its ignore regions, its detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.odgt import OdgtError, read_records, visible_ratio
from ..datasets.text import read_bytes
from ..utils.boxes import box_iou


@dataclass(frozen=True)
class CrowdAnnotation:
    """Ground truth of one picture.

    Attributes:
        img_id (str | int): The picture's ID.
        boxes (np.ndarray): Boxes ``(x1, y1, x2, y2)`` in pixels of the original picture, float64,
            shape (n, 4), ignore regions included, not clipped.
        ignored (np.ndarray): Whether a box is an ignore region, bool, shape (n, ).
        visible (np.ndarray): Visible share of each body, 0 to 1, NaN where unknown, float64,
            shape (n, ).
    """

    img_id: str | int
    boxes: np.ndarray
    ignored: np.ndarray
    visible: np.ndarray

    @classmethod
    def create(cls, img_id, boxes, ignored=None, visible=None) -> CrowdAnnotation:
        """Build one from anything array-like, with checks.

        Args:
            img_id (str | int): The picture's ID.
            boxes (array_like): Shape (n, 4).
            ignored (array_like, optional): Shape (n, ). Defaults to none ignored.
            visible (array_like, optional): Shape (n, ). Defaults to unknown.

        Raises:
            ValueError: A box is not finite, or lengths differ.
        """
        boxes = finite_boxes(boxes, f'ground truth of picture {img_id!r}')
        count = len(boxes)
        ignored = np.zeros(count, bool) if ignored is None else np.asarray(ignored, bool)
        visible = np.full(count, np.nan) if visible is None else np.asarray(visible, np.float64)
        for name, values in (('ignored', ignored), ('visible', visible)):
            if values.shape != (count,):
                raise ValueError(
                    f'ground truth of picture {img_id!r}: {name} has shape {values.shape}, '
                    f'expected ({count},), one for each box'
                )
        return cls(img_id, boxes, ignored, visible)

    def crowdedness(self) -> np.ndarray:
        """Largest IoU of each person with another person of the picture.

        Returns:
            np.ndarray: Shape (n, ); 0 for ignore regions and for a person alone.
        """
        result = np.zeros(len(self.boxes))
        people = np.flatnonzero(~self.ignored)
        if len(people) > 1:
            overlaps = box_iou(self.boxes[people], self.boxes[people])
            np.fill_diagonal(overlaps, 0)
            result[people] = overlaps.max(axis=1)
        return result


@dataclass(frozen=True)
class CrowdDetections:
    """Detections of one picture.

    Attributes:
        img_id (str | int): The picture's ID.
        boxes (np.ndarray): Boxes ``(x1, y1, x2, y2)`` in pixels of the original picture, float32,
            shape (n, 4), in any order, not clipped.
        scores (np.ndarray): Scores, floating, shape (n, ).
        height (int): Height of the original picture.
        width (int): Width of the original picture.
    """

    img_id: str | int
    boxes: np.ndarray
    scores: np.ndarray
    height: int
    width: int

    @classmethod
    def create(cls, img_id, boxes, scores, height, width) -> CrowdDetections:
        """Build one from anything array-like, with checks.

        Args:
            img_id (str | int): The picture's ID.
            boxes (array_like): Shape (n, 4).
            scores (array_like): Shape (n, ).
            height (int): Height of the original picture.
            width (int): Width of the original picture.

        Raises:
            ValueError: A box, a score or the picture's size is not what it must be.
        """
        boxes = finite_boxes(boxes, f'detections of picture {img_id!r}').astype(np.float32)
        scores = np.asarray(scores)
        if not np.issubdtype(scores.dtype, np.floating):
            scores = scores.astype(np.float32)
        if scores.shape != (len(boxes),):
            raise ValueError(
                f'detections of picture {img_id!r}: scores have shape {scores.shape}, '
                f'expected ({len(boxes)},), one for each box'
            )
        if not np.isfinite(scores).all():
            bad = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(
                f'detections of picture {img_id!r}: scores[{bad}] is {scores[bad]}, '
                'expected a finite number'
            )
        if not (height > 0 and width > 0):
            raise ValueError(
                f'detections of picture {img_id!r}: height x width is {height} x {width}, '
                'expected both above 0'
            )
        return cls(img_id, boxes, scores, int(height), int(width))

    def xywh(self) -> np.ndarray:
        """Boxes as ``(x, y, width, height)``, float64, shape (n, 4)."""
        boxes = self.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        return boxes


def finite_boxes(boxes, where: str) -> np.ndarray:
    """Boxes as a float64 array of shape (n, 4), or an error that says where they are not.

    Args:
        boxes (array_like): Shape (n, 4), or anything empty.
        where (str): Whose boxes they are, for the message.

    Raises:
        ValueError: The shape is another, or a number is not finite.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f'{where}: boxes have shape {boxes.shape}, expected (n, 4)')
    if not np.isfinite(boxes).all():
        bad = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
        raise ValueError(f'{where}: box {bad} is {boxes[bad].tolist()}, expected finite numbers')
    return boxes


def clip_boxes(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Boxes cut to their pictures, as CrowdHuman's evaluation cuts them.

    The near corner is kept one pixel inside the picture, the far one on its border, so a box
    beyond the right border becomes a sliver of one pixel.

    Args:
        boxes (np.ndarray): Shape (n, 4).
        size (np.ndarray): Width and height of the picture, shape (2, ), or of each box's picture,
            shape (n, 2).

    Returns:
        np.ndarray: float32, shape (n, 4).
    """
    clipped = np.empty(boxes.shape, dtype=np.float32)
    clipped[:, :2] = np.clip(boxes[:, :2], 0, np.subtract(size, 1))
    clipped[:, 2:] = np.clip(boxes[:, 2:], 0, size)
    return clipped


def load_odgt(
    ann_file: str, box_key: str = 'fbox', backend_args: dict | None = None
) -> list[CrowdAnnotation]:
    """Read CrowdHuman's annotation file; see ``mmdet_lla.datasets.odgt``.

    Args:
        ann_file (str): The ``.odgt`` file.
        box_key (str): ``fbox`` (body), ``vbox`` (visible part) or ``hbox`` (head).
        backend_args (dict, optional): mmengine's file backend.

    Returns:
        list[CrowdAnnotation]: In the file's order.

    Raises:
        OdgtError: A line is not a record of this format, or an ID comes twice; the message names
            the line.
    """
    annotations: list[CrowdAnnotation] = []
    seen: dict[str | int, int] = {}  # line of each ID
    content = read_bytes(ann_file, backend_args)
    for number, img_id, instances in read_records(content, ann_file, box_key):
        if img_id in seen:
            raise OdgtError(
                f'{ann_file}, line {number}: ID {img_id!r} came already in line {seen[img_id]}'
            )
        seen[img_id] = number
        annotations.append(annotation_of(img_id, instances))
    return annotations


def annotation_of(img_id: str | int, instances: Sequence[Mapping]) -> CrowdAnnotation:
    """Ground truth from a picture's instances, as the datasets have them.

    Args:
        img_id (str | int): The picture's ID.
        instances (Sequence[Mapping]): With ``bbox``, ``ignore_flag``, and what
            :func:`~mmdet_lla.datasets.odgt.visible_ratio` reads.

    Returns:
        CrowdAnnotation: Of them all, in their order.
    """
    return CrowdAnnotation.create(
        img_id,
        [instance['bbox'] for instance in instances],
        [instance['ignore_flag'] for instance in instances],
        [visible_ratio(instance) for instance in instances],
    )
