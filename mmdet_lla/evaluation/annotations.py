"""Ground truth and detections of an image as the crowd metrics take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..utils.boxes import box_iou

#: CrowdHuman's box field for each kind of box.
BOX_KEYS = {'body': 'fbox', 'visible': 'vbox', 'head': 'hbox'}


@dataclass(frozen=True)
class CrowdAnnotation:
    """Ground truth of one image.

    Attributes:
        img_id (str | int): ID of the image.
        boxes (np.ndarray): Boxes ``(x1, y1, x2, y2)`` in pixels of the original image, float64,
            shape (n, 4), ignore regions included, not clipped.
        ignored (np.ndarray): Whether a box is an ignore region, bool, shape (n, ).
        visible (np.ndarray): Visible fraction of each body, 0 to 1, NaN where unknown, float64,
            shape (n, ).
    """

    img_id: str | int
    boxes: np.ndarray
    ignored: np.ndarray
    visible: np.ndarray

    @classmethod
    def create(cls, img_id, boxes, ignored=None, visible=None) -> CrowdAnnotation:
        """Build an annotation from array-likes and check it.

        Args:
            img_id (str | int): ID of the image.
            boxes (array_like): Shape (n, 4).
            ignored (array_like, optional): Shape (n, ). Defaults to none ignored.
            visible (array_like, optional): Shape (n, ). Defaults to unknown.

        Raises:
            ValueError: A box is not finite, or lengths differ.

        Example:
            >>> CrowdAnnotation.create('a', [[0, 0, 10, 20]]).ignored.tolist()
            [False]
        """
        boxes = check_boxes(boxes, f'ground truth of image {img_id!r}')
        count = len(boxes)
        ignored = np.zeros(count, bool) if ignored is None else np.asarray(ignored, bool)
        visible = np.full(count, np.nan) if visible is None else np.asarray(visible, np.float64)
        for name, values in (('ignored', ignored), ('visible', visible)):
            if values.shape != (count,):
                raise ValueError(
                    f'ground truth of image {img_id!r}: {name} has shape {values.shape}, '
                    f'expected ({count},), one for each box'
                )
        return cls(img_id, boxes, ignored, visible)

    @property
    def gt_bboxes(self) -> np.ndarray:
        """Boxes that are not ignore regions, shape (num_gts, 4)."""
        return self.boxes[~self.ignored]

    def crowdedness(self) -> np.ndarray:
        """Compute the largest IoU of each gt with another gt of the image.

        Returns:
            np.ndarray: Shape (n, ); 0 for ignore regions and for a single gt.

        Example:
            >>> boxes = [[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]]
            >>> CrowdAnnotation.create('a', boxes).crowdedness().tolist()
            [0.5, 0.5, 0.0]
        """
        result = np.zeros(len(self.boxes))
        gts = np.flatnonzero(~self.ignored)
        if len(gts) > 1:
            ious = box_iou(self.boxes[gts], self.boxes[gts])  # (num_gts, num_gts)
            np.fill_diagonal(ious, 0)
            result[gts] = ious.max(axis=1)
        return result


@dataclass(frozen=True)
class CrowdDetections:
    """Detections of one image.

    Attributes:
        img_id (str | int): ID of the image.
        boxes (np.ndarray): Boxes ``(x1, y1, x2, y2)`` in pixels of the original image, float32,
            shape (n, 4), in any order, not clipped.
        scores (np.ndarray): Scores, floating, shape (n, ).
        height (int): Height of the original image.
        width (int): Width of the original image.
    """

    img_id: str | int
    boxes: np.ndarray
    scores: np.ndarray
    height: int
    width: int

    @classmethod
    def create(cls, img_id, boxes, scores, height, width) -> CrowdDetections:
        """Build detections from array-likes and check them.

        Args:
            img_id (str | int): ID of the image.
            boxes (array_like): Shape (n, 4).
            scores (array_like): Shape (n, ).
            height (int): Height of the original image.
            width (int): Width of the original image.

        Raises:
            ValueError: A box or score is not finite, lengths differ, or a size is not positive.

        Example:
            >>> CrowdDetections.create('a', [[0, 0, 10, 20]], [0.9], 100, 200).xywh().tolist()
            [[0.0, 0.0, 10.0, 20.0]]
        """
        where = f'detections of image {img_id!r}'
        boxes = check_boxes(boxes, where).astype(np.float32)
        scores = np.asarray(scores)
        if not np.issubdtype(scores.dtype, np.floating):
            scores = scores.astype(np.float32)
        if scores.shape != (len(boxes),):
            raise ValueError(
                f'{where}: scores have shape {scores.shape}, '
                f'expected ({len(boxes)},), one for each box'
            )
        if not np.isfinite(scores).all():
            bad = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(f'{where}: scores[{bad}] is {scores[bad]}, expected a finite number')
        if not (height > 0 and width > 0):
            raise ValueError(
                f'{where}: height x width is {height} x {width}, expected both above 0'
            )
        return cls(img_id, boxes, scores, int(height), int(width))

    def xywh(self) -> np.ndarray:
        """Convert the boxes to ``(x, y, width, height)``, float64, shape (n, 4)."""
        boxes = self.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        return boxes


def check_boxes(boxes, where: str) -> np.ndarray:
    """Convert boxes to a float64 array of shape (n, 4).

    Args:
        boxes (array_like): Shape (n, 4), or anything empty.
        where (str): Owner of the boxes, for the message.

    Raises:
        ValueError: The shape differs, or a number is not finite.

    Example:
        >>> check_boxes([], 'ground truth').shape
        (0, 4)
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


def load_odgt(
    ann_file: str, box_key: str = 'fbox', backend_args: dict | None = None
) -> list[CrowdAnnotation]:
    """Read an annotation file in CrowdHuman's format; see ``mmdet_lla.datasets.odgt``.

    Args:
        ann_file (str): The ``.odgt`` file.
        box_key (str): ``fbox`` (body), ``vbox`` (visible part) or ``hbox`` (head).
        backend_args (dict, optional): mmengine's file backend.

    Raises:
        OdgtError: A line is not a valid record, or an ID is repeated; the message names the line.
    """
    from ..datasets.odgt import OdgtError, read_records
    from ..datasets.text import read_bytes

    annotations: list[CrowdAnnotation] = []
    lines: dict[str | int, int] = {}  # line of each ID
    content = read_bytes(ann_file, backend_args)
    for number, img_id, instances in read_records(content, ann_file, box_key):
        if img_id in lines:
            raise OdgtError(
                f'{ann_file}, line {number}: ID {img_id!r} was already used in line {lines[img_id]}'
            )
        lines[img_id] = number
        annotations.append(create_annotation(img_id, instances))
    return annotations


def create_annotation(img_id: str | int, instances: Sequence[Mapping]) -> CrowdAnnotation:
    """Build an annotation from the instances of a dataset's image.

    Args:
        img_id (str | int): ID of the image.
        instances (Sequence[Mapping]): With ``bbox``, ``ignore_flag`` and the fields that
            :func:`~mmdet_lla.datasets.odgt.visible_ratio` reads.
    """
    from ..datasets.odgt import visible_ratio

    return CrowdAnnotation.create(
        img_id,
        [instance['bbox'] for instance in instances],
        [instance['ignore_flag'] for instance in instances],
        [visible_ratio(instance) for instance in instances],
    )
