"""Large pictures cut into overlapping tiles, and what was found in them joined at the seams.

A person in the overlap is seen by several tiles, one at a tile's edge is seen cut. Suppression of
what overlaps, as for the detections of one view, would lose people who stand close, and would keep
the cut and the whole view of one person, who overlap little. So:

- views are joined pairwise, one to one: a person of one view is the same as at most one of the
  other. People of one view are never joined with each other: the detector told them apart;
- two boxes are compared on what both views can see: cut to the region that is common to both;
- of two views of a person the one that is not cut at a tile's edge stays, else the finer one;
- its score is the mean over all tiles that see the person whole, nought where one has not found
  it, and less is given to tiles that see it near an edge. The best of several scores would be a
  choice of the highest, which raises what is found by accident most: more false alarms, and more
  people of whom a view has two boxes, both above the threshold;
- who is seen cut only, although every person is seen whole somewhere (in a neighbouring tile, or,
  if larger than the overlap, in the whole picture, which is a view too), is a part of somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..runtime import Detections
from ..runtime.detector import Prepared

#: From as many times ``edge`` as this from a tile's edge, people are seen as well as can be.
_CLEAR = 4
#: What a view that has found somebody weighs at least.
_LEAST = 0.02


@dataclass(frozen=True)
class View:
    """A part of a picture, prepared for the detector.

    Attributes:
        prepared (Prepared): What goes into the detector.
        region (tuple[int, int, int, int], optional): ``(x1, y1, x2, y2)`` of it in the picture, in
            pixels; None for all of it.
    """

    prepared: Prepared
    region: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Tiles:
    """How to cut a picture, and how to join.

    Args:
        size (int): Side of a tile in pixels of the picture. Smaller pictures are not cut.
        overlap (float): Share of a tile's side that neighbours have in common. Defaults to 0.25.
        same (float): Least IoU, within what both views see, of two boxes of one person. Defaults to
            0.5.
        edge (float): Boxes that come as close as this to an inner edge of their tile, in pixels of
            the resized tile, are cut; where those end whom it sees half, no detector knows exactly.
            Defaults to 16.

    Raises:
        ValueError: An argument is out of its range.
    """

    size: int
    overlap: float = 0.25
    same: float = 0.5
    edge: float = 16.0

    def __post_init__(self) -> None:
        if self.size < 64:
            raise ValueError(f'size of tiles must be at least 64 pixels, got {self.size}')
        if not 0 <= self.overlap <= 0.5:
            raise ValueError(f'overlap of tiles must be between 0 and 0.5, got {self.overlap}')
        if not 0 < self.same < 1:
            raise ValueError(f'same must be between 0 and 1, got {self.same}')

    def views(self, image: np.ndarray, prepare: Callable[[np.ndarray], Prepared]) -> list[View]:
        """The whole picture, and its tiles.

        Args:
            image (np.ndarray): BGR, uint8, (H, W, 3).
            prepare (Callable): Prepares a picture for the detector.
        """
        whole = View(prepare(image))
        height, width = image.shape[:2]
        if max(height, width) <= self.size:
            return [whole]
        return [whole] + [
            View(prepare(image[top:bottom, left:right]), (left, top, right, bottom))
            for top, bottom in spans(height, self.size, self.overlap)
            for left, right in spans(width, self.size, self.overlap)
        ]

    def merge(self, views: Sequence[View], found: Sequence[Detections]) -> Detections:
        """Join what was found in the views of one picture.

        Scores of people in the overlap are means, so ``found`` should hold what has a low score.

        Args:
            views (Sequence[View]): What :meth:`views` gave.
            found (Sequence[Detections]): Of every view, in its own pixels.

        Returns:
            Detections: In pixels of the picture, best first.
        """
        size = found[0].height, found[0].width
        seers = _Seers.of(views, size, self.edge)
        # tiles first: of two views of a person that are not cut, the first stays
        order = [*range(1, len(views)), 0]
        seen = [_Seen.of(i, views[i], found[i], seers) for i in order]
        joined = seen[0]
        for other in seen[1:]:
            joined = joined.join(other, self.same)
        joined = joined.select(~joined.cut)
        boxes = joined.detections.boxes
        kept = replace(joined.detections, scores=seers.scores(boxes, joined.votes))
        return kept.select(np.argsort(-kept.scores, kind='stable'))


def spans(length: int, size: int, overlap: float) -> list[tuple[int, int]]:
    """Starts and ends of equally large pieces of a side, evenly spread.

    Neighbours have at least ``overlap`` of a piece in common.
    """
    if length <= size:
        return [(0, length)]
    step = size * (1 - overlap)
    count = int(np.ceil((length - size) / step)) + 1
    starts = np.linspace(0, length - size, count).round().astype(int).tolist()
    return [(start, start + size) for start in starts]


@dataclass(frozen=True)
class _Seers:
    """What every view sees of the picture, the whole picture first.

    Attributes:
        size (tuple[int, int]): Height and width of the picture.
        regions (np.ndarray): In pixels of the picture, (views, 4).
        inner (np.ndarray): Which of their sides are not the picture's, (views, 4).
        near (np.ndarray): What is near to each of those, in pixels of the picture, (views, 4).
    """

    size: tuple[int, int]
    regions: np.ndarray
    inner: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, views: Sequence[View], size: tuple[int, int], edge: float) -> _Seers:
        whole = (0, 0, size[1], size[0])
        regions = np.array([view.region or whole for view in views], np.float32)
        factors = np.array([view.prepared.factors * 2 for view in views], np.float32)
        return cls(size, regions, regions != np.array(whole), edge / factors)

    def distances(self, boxes: np.ndarray) -> np.ndarray:
        """From every box to the next inner edge of every view, (n, views); below 0 beyond it.

        In units of what is near.
        """
        apart = (boxes[:, None] - self.regions) * (1, 1, -1, -1) / self.near
        return np.where(self.inner, apart, np.inf).min(axis=2)

    def scores(self, boxes: np.ndarray, votes: np.ndarray) -> np.ndarray:
        """Mean of the scores that views gave, (n, ).

        A tile weighs nothing where a box is at its edge, and all from ``_CLEAR`` times as far. The
        whole picture, in which people are small, is heard for those whom no tile found.

        Args:
            boxes (np.ndarray): (n, 4).
            votes (np.ndarray): Score in every view, 0 where it was not found, (n, views).
        """
        weights = np.clip((self.distances(boxes) - 1) / (_CLEAR - 1), 0, 1)
        weights = np.where(votes > 0, np.maximum(weights, _LEAST), weights)
        weights[:, 0] *= ~(votes[:, 1:] > 0).any(axis=1)
        return ((weights * votes).sum(1) / weights.sum(1)).astype(np.float32)


@dataclass(frozen=True)
class _Seen:
    """Detections in pixels of the picture, with what their views saw of it.

    Attributes:
        detections (Detections): n of them.
        regions (np.ndarray): Region of every one's view, (n, 4).
        cut (np.ndarray): Whether it is cut at an inner edge of its view, (n, ).
        votes (np.ndarray): Its score in every view that has it whole, else 0, (n, views).
    """

    detections: Detections
    regions: np.ndarray
    cut: np.ndarray
    votes: np.ndarray

    @classmethod
    def of(cls, index: int, view: View, found: Detections, seers: _Seers) -> _Seen:
        height, width = seers.size
        region = seers.regions[index]
        boxes = found.boxes + np.tile(region[:2], 2)
        moved = replace(found, boxes=boxes, height=height, width=width)
        cut = seers.distances(boxes)[:, index] <= 1
        votes = np.zeros((len(boxes), len(seers.regions)), np.float32)
        votes[:, index] = np.where(cut, 0, found.scores)
        return cls(moved, np.tile(region, (len(boxes), 1)), cut, votes)

    def select(self, chosen: np.ndarray) -> _Seen:
        """Those at the places (or under the mask)."""
        return _Seen(
            self.detections.select(chosen),
            self.regions[chosen],
            self.cut[chosen],
            self.votes[chosen],
        )

    def join(self, other: _Seen, same: float) -> _Seen:
        """Both, with one of every pair that is the same person."""
        mine, theirs = _pairs(self, other, same)
        # cut ones give way to whole ones, else those that came first stay
        yields = self.cut[mine] & ~other.cut[theirs]
        keep, take = np.ones(len(self.cut), bool), np.ones(len(other.cut), bool)
        keep[mine[yields]] = False
        take[theirs[~yields]] = False
        votes, other_votes = self.votes.copy(), other.votes.copy()
        votes[mine] += other.votes[theirs]
        other_votes[theirs] = votes[mine]
        first, second = self.select(keep), other.select(take)
        return _Seen(
            _stack(first.detections, second.detections),
            np.concatenate([first.regions, second.regions]),
            np.concatenate([first.cut, second.cut]),
            np.concatenate([votes[keep], other_votes[take]]),
        )


def _pairs(first: _Seen, second: _Seen, same: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of those that are the same person, one to one; sure ones with sure ones first."""
    ious = _common_iou(
        first.detections.boxes, first.regions, second.detections.boxes, second.regions
    )
    ious[first.detections.labels[:, None] != second.detections.labels] = 0
    ious[ious < same] = 0
    sure = np.sqrt(first.detections.scores[:, None] * second.detections.scores)
    rows, columns = linear_sum_assignment(ious * sure, maximize=True)
    good = ious[rows, columns] > 0
    return rows[good], columns[good]


def _common_iou(
    boxes: np.ndarray, regions: np.ndarray, others: np.ndarray, other_regions: np.ndarray
) -> np.ndarray:
    """IoU of every pair of boxes within what both their views see, (n, m)."""
    mine = _cut_to(boxes[:, None], other_regions[None])
    theirs = _cut_to(others[None], regions[:, None])
    low = np.maximum(mine[..., :2], theirs[..., :2])
    high = np.minimum(mine[..., 2:], theirs[..., 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = _area(mine) + _area(theirs) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _cut_to(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    low = np.maximum(boxes[..., :2], regions[..., :2])
    return np.concatenate([low, np.maximum(np.minimum(boxes[..., 2:], regions[..., 2:]), low)], -1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)


def _stack(first: Detections, second: Detections) -> Detections:
    return replace(
        first,
        boxes=np.concatenate([first.boxes, second.boxes]),
        scores=np.concatenate([first.scores, second.scores]),
        labels=np.concatenate([first.labels, second.labels]),
    )
