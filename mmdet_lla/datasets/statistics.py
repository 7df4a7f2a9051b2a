"""How crowded a data set is, beside CrowdHuman's published figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .image_sizes import Size
from .odgt import BOXES, read_instances, visible_ratio

OVERLAPS = (0.3, 0.5, 0.7)
_HEIGHT_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

# CrowdHuman's training set: tables 1 and 2 of arXiv 1805.00123.
CROWDHUMAN = {
    'images': 15000,
    'people': 339565,
    'ignore regions': 99227,
    'people a image': 22.64,
    'pairs a image, IoU > 0.5': 2.40,
}


@dataclass
class CrowdStatistics:
    """Distributions over a data set.

    Attributes:
        people: People in each image, shape (images,).
        ignored: Ignore regions in each image, shape (images,).
        heights: Body height of every person in pixels, shape (people,).
        relative_heights: The same by the image's height, for images of known size.
        visible: Share of the body that is seen, of those of whom it is known, shape (n,).
        pairs: Pairs of people in a image whose body boxes overlap by more than each of
            ``OVERLAPS``, shape (images, len(OVERLAPS)).
    """

    people: np.ndarray
    ignored: np.ndarray
    heights: np.ndarray
    relative_heights: np.ndarray
    visible: np.ndarray
    pairs: np.ndarray

    def summary(self) -> dict[str, float]:
        """Figures by name, those that CrowdHuman's paper gives under the names in CROWDHUMAN."""
        images = max(len(self.people), 1)
        figures = {
            'images': len(self.people),
            'people': int(self.people.sum()),
            'ignore regions': int(self.ignored.sum()),
            'people a image': self.people.sum() / images,
            'most people in a image': int(self.people.max(initial=0)),
            'images without people': int((self.people == 0).sum()),
        }
        for column, overlap in enumerate(OVERLAPS):
            name = f'pairs a image, IoU > {overlap}'
            figures[name] = self.pairs[:, column].sum() / images
        if len(self.heights):
            low, middle, high = np.percentile(self.heights, (10, 50, 90))
            figures['height, 10th percentile'] = low
            figures['height, median'] = middle
            figures['height, 90th percentile'] = high
        if len(self.visible):
            figures['visible share, mean'] = self.visible.mean()
            figures['people seen less than 65 %'] = (self.visible < 0.65).mean()
        if len(self.relative_heights):
            figures['height by image height, median'] = np.median(self.relative_heights)
        return figures


def crowd_statistics(
    records: Sequence[Mapping], sizes: Mapping[str, Size] | None = None, box: str = 'body'
) -> CrowdStatistics:
    """Statistics of annotation records.

    Args:
        records: As in an ``.odgt`` file; people with boxes of no area are left out.
        sizes: (height, width) of images by ID, as far as known.
        box: Which box is measured, 'body', 'visible' or 'head'.

    Raises:
        OdgtError: A record cannot be used.
    """
    sizes = sizes or {}
    people, ignored, pairs, heights, relative, visible = [], [], [], [], [], []
    for record in records:
        instances = read_instances(record, BOXES[box])
        corners = np.array([i['bbox'] for i in instances], dtype=float).reshape(-1, 4)
        is_ignored = np.array([i['ignore_flag'] for i in instances], dtype=bool)
        boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        kept = ~is_ignored & (boxes[:, 2:] > 0).all(axis=1)
        boxes = boxes[kept]
        people.append(len(boxes))
        ignored.append(int(is_ignored.sum()))
        heights.append(boxes[:, 3])
        if record['ID'] in sizes:
            relative.append(boxes[:, 3] / sizes[record['ID']][0])
        shares = np.array(
            [visible_ratio(i) for i, k in zip(instances, kept, strict=True) if k], dtype=float
        )
        visible.append(shares[~np.isnan(shares)])
        overlaps = _pair_overlaps(boxes)
        pairs.append([int((overlaps > threshold).sum()) for threshold in OVERLAPS])
    return CrowdStatistics(
        people=np.array(people, dtype=int),
        ignored=np.array(ignored, dtype=int),
        heights=np.concatenate([np.empty(0), *heights]),
        relative_heights=np.concatenate([np.empty(0), *relative]),
        visible=np.concatenate([np.empty(0), *visible]),
        pairs=np.array(pairs, dtype=int).reshape(-1, len(OVERLAPS)),
    )


def plot_statistics(statistics: CrowdStatistics, path: str, title: str) -> None:
    """Draw four panels: people and overlaps a image, heights, visible shares.

    Args:
        statistics: What to draw.
        path: Image file to write.
        title: Heading.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout='constrained')
    figure.suptitle(title)
    (people, pairs), (heights, visible) = figure.subplots(2, 2)
    summary = statistics.summary()

    most = int(statistics.people.max(initial=0))
    people.hist(statistics.people, bins=np.linspace(-0.5, most + 0.5, min(most, 60) + 2))
    _mark(people, summary['people a image'], 'k', 'mean')
    _mark(people, CROWDHUMAN['people a image'], 'C1', 'CrowdHuman')
    people.set(xlabel='people in a image', ylabel='images')
    people.legend()

    means = [summary[f'pairs a image, IoU > {overlap}'] for overlap in OVERLAPS]
    names = [f'> {overlap}\n({mean:.2f})' for overlap, mean in zip(OVERLAPS, means, strict=True)]
    pairs.bar(names, means)
    published = CROWDHUMAN['pairs a image, IoU > 0.5']
    pairs.plot([OVERLAPS.index(0.5)], [published], 'C1D', label=f'CrowdHuman ({published:.2f})')
    pairs.margins(y=0.15)
    pairs.set(xlabel='IoU of two bodies', ylabel='pairs a image')
    pairs.legend()

    if len(statistics.heights):
        low, high = statistics.heights.min(), statistics.heights.max()
        heights.hist(statistics.heights, bins=np.geomspace(low, max(high, low + 1), 40))
        heights.set_xscale('log')
        heights.set_xticks([t for t in _HEIGHT_TICKS if low <= t <= high])
        heights.xaxis.set_major_formatter('{x:g}')
        heights.xaxis.set_minor_formatter('')
        _mark(heights, summary['height, median'], 'k', 'median')
        heights.legend()
    heights.set(xlabel='body height in pixels', ylabel='people')

    visible.hist(statistics.visible, bins=np.linspace(0, 1, 21))
    visible.set(xlabel='visible share of the body box', ylabel='people')
    for axes in (people, pairs, heights, visible):
        axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=120)


def _mark(axes, value: float, color: str, name: str) -> None:
    axes.axvline(value, color=color, linestyle='--', label=f'{name} ({value:.3g})')


def _pair_overlaps(boxes: np.ndarray) -> np.ndarray:
    """IoU of all pairs of boxes (N, 4) as x, y, w, h; shape (N * (N - 1) / 2,)."""
    first, second = np.triu_indices(len(boxes), k=1)
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    inner = np.minimum(end[first], end[second]) - np.maximum(start[first], start[second])
    shared = np.clip(inner, 0, None).prod(axis=1)
    area = boxes[:, 2:].prod(axis=1)
    return shared / (area[first] + area[second] - shared)
