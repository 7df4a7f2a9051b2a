"""Splits large images into overlapping tiles and merges the detections of all views.

A person in an overlap is seen by several tiles, and one at the edge of a tile is cut off.
Suppressing overlapping boxes, as within one view, would lose people who stand close together, and
would keep both the cut and the whole box of a person, which overlap little. Instead:

- Views are merged pairwise with one-to-one matching: a detection of one view matches at most one
  of the other. Detections of the same view are never merged; the detector told them apart.
- Two boxes are compared within the region that both views see.
- Of two matched boxes, one that is not cut at the edge of a tile is kept, else that of the finer
  view.
- The score is the mean over all tiles that see the person whole, with 0 for a tile without a
  detection and less weight near an edge. The maximum of several scores would raise those of false
  positives most.
- A box that is cut in every view is discarded: every person is whole in some view, in a
  neighboring tile or, if larger than the overlap, in the whole image, which is a view as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..runtime import Detections
from ..runtime.detector import PreparedImage
from ..utils.boxes import box_area

#: A tile has full weight for boxes farther from its edges than this many times ``edge``.
_FULL_WEIGHT = 4
#: Least weight of a view that has a detection.
_MIN_WEIGHT = 0.02


@dataclass(frozen=True)
class View:
    """A part of an image, prepared for the detector.

    Attributes:
        prepared (PreparedImage): Input of the detector.
        region (tuple[int, int, int, int], optional): ``(x1, y1, x2, y2)`` of the part in pixels of
            the image; None for the whole image.
    """

    prepared: PreparedImage
    region: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Tiles:
    """Settings of tiling and merging.

    Args:
        size (int): Side of a tile in pixels of the image. Smaller images are not split.
        overlap (float): Overlap of neighboring tiles as a fraction of their side. Defaults to
            0.25.
        iou_thr (float): Minimum IoU of matched boxes, within the region that both views see.
            Defaults to 0.5.
        edge (float): Boxes this close to an inner edge of their tile, in pixels of the resized
            tile, count as cut; detectors do not place the end of a cut person exactly. Defaults to
            16.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> image = np.zeros((600, 1000, 3), np.uint8)
        >>> views = Tiles(640).views(image, lambda part: part)
        >>> [view.region for view in views]
        [None, (0, 0, 640, 600), (360, 0, 1000, 600)]
    """

    size: int
    overlap: float = 0.25
    iou_thr: float = 0.5
    edge: float = 16.0

    def __post_init__(self) -> None:
        if self.size < 64:
            raise ValueError(f'size of tiles must be at least 64 pixels, got {self.size}')
        if not 0 <= self.overlap <= 0.5:
            raise ValueError(f'overlap of tiles must be between 0 and 0.5, got {self.overlap}')
        if not 0 < self.iou_thr < 1:
            raise ValueError(f'iou_thr must be between 0 and 1, got {self.iou_thr}')

    def views(
        self, image: np.ndarray, prepare: Callable[[np.ndarray], PreparedImage]
    ) -> list[View]:
        """Return the whole image and its tiles as views.

        Args:
            image (np.ndarray): BGR, uint8, (H, W, 3).
            prepare (Callable): Prepares an image for the detector.
        """
        whole = View(prepare(image))
        height, width = image.shape[:2]
        if max(height, width) <= self.size:
            return [whole]
        return [whole] + [
            View(prepare(image[top:bottom, left:right]), (left, top, right, bottom))
            for top, bottom in tile_spans(height, self.size, self.overlap)
            for left, right in tile_spans(width, self.size, self.overlap)
        ]

    def merge(self, views: Sequence[View], found: Sequence[Detections]) -> Detections:
        """Merge the detections of the views of one image.

        Scores in overlaps are averaged, so ``found`` should include detections with low scores.

        Args:
            views (Sequence[View]): As returned by :meth:`views`.
            found (Sequence[Detections]): Detections of each view, in its own pixels.

        Returns:
            Detections: In pixels of the image, in descending order of score.
        """
        size = found[0].height, found[0].width
        geometry = _Geometry.of(views, size, self.edge)
        # tiles first: of two matched boxes that are not cut, the first is kept
        order = [*range(1, len(views)), 0]
        parts = [_ViewDetections.of(i, views[i], found[i], geometry) for i in order]
        merged = parts[0]
        for other in parts[1:]:
            merged = merged.merge(other, self.iou_thr)
        merged = merged.select(~merged.cut)
        boxes = merged.detections.boxes
        scores = geometry.average_scores(boxes, merged.view_scores)
        kept = replace(merged.detections, scores=scores)
        return kept.select(np.argsort(-kept.scores, kind='stable'))


def tile_spans(length: int, size: int, overlap: float) -> list[tuple[int, int]]:
    """Return starts and ends of equal, evenly spaced tiles along a side.

    Neighbours overlap by at least the fraction ``overlap``.

    Example:
        >>> tile_spans(1000, 400, 0.25)
        [(0, 400), (300, 700), (600, 1000)]
    """
    if length <= size:
        return [(0, length)]
    step = size * (1 - overlap)
    count = int(np.ceil((length - size) / step)) + 1
    starts = np.linspace(0, length - size, count).round().astype(int).tolist()
    return [(start, start + size) for start in starts]


@dataclass(frozen=True)
class _Geometry:
    """Regions of all views in the image; the first is the whole image.

    Attributes:
        size (tuple[int, int]): Height and width of the image.
        regions (np.ndarray): In pixels of the image, (num_views, 4).
        inner (np.ndarray): Which sides are not sides of the image, (num_views, 4).
        margins (np.ndarray): ``edge`` in pixels of the image, (num_views, 4).
    """

    size: tuple[int, int]
    regions: np.ndarray
    inner: np.ndarray
    margins: np.ndarray

    @classmethod
    def of(cls, views: Sequence[View], size: tuple[int, int], edge: float) -> _Geometry:
        whole = (0, 0, size[1], size[0])
        regions = np.array([view.region or whole for view in views], np.float32)
        factors = np.array([view.prepared.factors * 2 for view in views], np.float32)
        return cls(size, regions, regions != np.array(whole), edge / factors)

    def edge_distances(self, boxes: np.ndarray) -> np.ndarray:
        """Distance of each box from the nearest inner edge of each view, in margins.

        Returns:
            np.ndarray: (n, num_views); negative beyond the edge.
        """
        distances = (boxes[:, None] - self.regions) * (1, 1, -1, -1) / self.margins
        return np.where(self.inner, distances, np.inf).min(axis=2)

    def average_scores(self, boxes: np.ndarray, view_scores: np.ndarray) -> np.ndarray:
        """Return the weighted mean of the scores of all views, (n, ).

        The weight of a tile rises from 0 for a box at its edge to 1 at ``_FULL_WEIGHT`` margins.
        The whole image, in which people are small, counts only where no tile has a detection.

        Args:
            boxes (np.ndarray): (n, 4).
            view_scores (np.ndarray): Score per view, 0 without a detection, (n, num_views).
        """
        weights = np.clip((self.edge_distances(boxes) - 1) / (_FULL_WEIGHT - 1), 0, 1)
        weights = np.where(view_scores > 0, np.maximum(weights, _MIN_WEIGHT), weights)
        weights[:, 0] *= ~(view_scores[:, 1:] > 0).any(axis=1)
        return ((weights * view_scores).sum(1) / weights.sum(1)).astype(np.float32)


@dataclass(frozen=True)
class _ViewDetections:
    """Detections of one or several views in pixels of the image.

    Attributes:
        detections (Detections): n detections.
        regions (np.ndarray): Region of the view of each detection, (n, 4).
        cut (np.ndarray): Whether it is cut at an inner edge of its view, (n, ).
        view_scores (np.ndarray): Its score in each view that has it whole, else 0, (n, num_views).
    """

    detections: Detections
    regions: np.ndarray
    cut: np.ndarray
    view_scores: np.ndarray

    @classmethod
    def of(cls, index: int, view: View, found: Detections, geometry: _Geometry) -> _ViewDetections:
        height, width = geometry.size
        region = geometry.regions[index]
        boxes = found.boxes + np.tile(region[:2], 2)
        moved = replace(found, boxes=boxes, height=height, width=width)
        cut = geometry.edge_distances(boxes)[:, index] <= 1
        view_scores = np.zeros((len(boxes), len(geometry.regions)), np.float32)
        view_scores[:, index] = np.where(cut, 0, found.scores)
        return cls(moved, np.tile(region, (len(boxes), 1)), cut, view_scores)

    def select(self, index: np.ndarray) -> _ViewDetections:
        """Return a subset, by indices or by a mask."""
        return _ViewDetections(
            self.detections.select(index),
            self.regions[index],
            self.cut[index],
            self.view_scores[index],
        )

    def merge(self, other: _ViewDetections, iou_thr: float) -> _ViewDetections:
        """Return the detections of both, with one of each matched pair."""
        mine, theirs = _match(self, other, iou_thr)
        # a whole box replaces a cut one, else the first is kept
        replaced = self.cut[mine] & ~other.cut[theirs]
        keep, take = np.ones(len(self.cut), bool), np.ones(len(other.cut), bool)
        keep[mine[replaced]] = False
        take[theirs[~replaced]] = False
        scores, other_scores = self.view_scores.copy(), other.view_scores.copy()
        scores[mine] += other.view_scores[theirs]
        other_scores[theirs] = scores[mine]
        first, second = self.select(keep), other.select(take)
        return _ViewDetections(
            _stack(first.detections, second.detections),
            np.concatenate([first.regions, second.regions]),
            np.concatenate([first.cut, second.cut]),
            np.concatenate([scores[keep], other_scores[take]]),
        )


def _match(
    first: _ViewDetections, second: _ViewDetections, iou_thr: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of matched detections, one to one, preferring pairs with high scores."""
    from scipy.optimize import linear_sum_assignment  # half a second, needed for tiles alone

    ious = _common_iou(
        first.detections.boxes, first.regions, second.detections.boxes, second.regions
    )
    ious[first.detections.labels[:, None] != second.detections.labels] = 0
    ious[ious < iou_thr] = 0
    scores = np.sqrt(first.detections.scores[:, None] * second.detections.scores)
    rows, columns = linear_sum_assignment(ious * scores, maximize=True)
    matched = ious[rows, columns] > 0
    return rows[matched], columns[matched]


def _common_iou(
    boxes: np.ndarray, regions: np.ndarray, others: np.ndarray, other_regions: np.ndarray
) -> np.ndarray:
    """IoU of each pair of boxes within the region that both views see, (n, m)."""
    mine = _clip(boxes[:, None], other_regions[None])
    theirs = _clip(others[None], regions[:, None])
    low = np.maximum(mine[..., :2], theirs[..., :2])
    high = np.minimum(mine[..., 2:], theirs[..., 2:])
    overlaps = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = box_area(mine) + box_area(theirs) - overlaps
    return np.divide(overlaps, union, out=np.zeros_like(overlaps), where=union > 0)


def _clip(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    low = np.maximum(boxes[..., :2], regions[..., :2])
    return np.concatenate([low, np.maximum(np.minimum(boxes[..., 2:], regions[..., 2:]), low)], -1)


def _stack(first: Detections, second: Detections) -> Detections:
    return replace(
        first,
        boxes=np.concatenate([first.boxes, second.boxes]),
        scores=np.concatenate([first.scores, second.scores]),
        labels=np.concatenate([first.labels, second.labels]),
    )
