"""Measure how crowded a data set is, next to the published figures of CrowdHuman."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..utils.boxes import box_iou
from .image_sizes import Size
from .odgt import BOXES, read_instances, visible_ratio

OVERLAPS = (0.3, 0.5, 0.7)
_HEIGHT_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

# CrowdHuman's training set: tables 1 and 2 of arXiv 1805.00123.
CROWDHUMAN = {
    'images': 15000,
    'people': 339565,
    'ignore regions': 99227,
    'people per image': 22.64,
    'pairs per image, IoU > 0.5': 2.40,
}


@dataclass
class CrowdStatistics:
    """Distributions over a data set.

    Attributes:
        people: People per image, shape (num_images,).
        ignored: Ignore regions per image, shape (num_images,).
        heights: Body height of every person in pixels, shape (num_people,).
        relative_heights: Heights divided by the image height, for images of known size.
        visible: Visible fraction of each body, where known, shape (n,).
        pairs: Pairs of people per image whose body boxes overlap by more than each of
            ``OVERLAPS``, shape (num_images, len(OVERLAPS)).
    """

    people: np.ndarray
    ignored: np.ndarray
    heights: np.ndarray
    relative_heights: np.ndarray
    visible: np.ndarray
    pairs: np.ndarray

    def summarize(self) -> dict[str, float]:
        """Return figures by name; those of CrowdHuman's paper have the names of CROWDHUMAN."""
        images = max(len(self.people), 1)
        figures = {
            'images': len(self.people),
            'people': int(self.people.sum()),
            'ignore regions': int(self.ignored.sum()),
            'people per image': self.people.sum() / images,
            'most people in an image': int(self.people.max(initial=0)),
            'images without people': int((self.people == 0).sum()),
        }
        for column, overlap in enumerate(OVERLAPS):
            figures[f'pairs per image, IoU > {overlap}'] = self.pairs[:, column].sum() / images
        if len(self.heights):
            low, middle, high = np.percentile(self.heights, (10, 50, 90))
            figures['height, 10th percentile'] = low
            figures['height, median'] = middle
            figures['height, 90th percentile'] = high
        if len(self.visible):
            figures['visible fraction, mean'] = self.visible.mean()
            figures['people less than 65 % visible'] = (self.visible < 0.65).mean()
        if len(self.relative_heights):
            figures['height / image height, median'] = np.median(self.relative_heights)
        return figures


def compute_statistics(
    records: Sequence[Mapping], sizes: Mapping[str, Size] | None = None, box: str = 'body'
) -> CrowdStatistics:
    """Compute the statistics of annotation records.

    >>> boxes = [{'tag': 'person', 'fbox': [x, 0, 10, 20]} for x in (0, 2, 40)]
    >>> statistics = compute_statistics([{'ID': 'a', 'gtboxes': boxes}])
    >>> statistics.people.tolist(), statistics.pairs.tolist()
    ([3], [[1, 1, 0]])

    Args:
        records: As in an ``.odgt`` file; people with boxes without area are left out.
        sizes: (height, width) of images by ID, as far as known.
        box: Which box is measured, 'body', 'visible' or 'head'.

    Raises:
        OdgtError: A record cannot be used.
    """
    sizes = sizes or {}
    people, ignored, pairs, heights, relative, visible = [], [], [], [], [], []
    for record in records:
        instances = read_instances(record, BOXES[box])
        ignored.append(sum(one['ignore_flag'] for one in instances))
        instances = [
            one
            for one in instances
            if not one['ignore_flag']
            and one['bbox'][2] > one['bbox'][0]
            and one['bbox'][3] > one['bbox'][1]
        ]
        people.append(len(instances))
        boxes = np.array([one['bbox'] for one in instances], dtype=float).reshape(-1, 4)
        heights.append(boxes[:, 3] - boxes[:, 1])
        if record['ID'] in sizes:
            relative.append(heights[-1] / sizes[record['ID']][0])
        ratios = np.array([visible_ratio(one) for one in instances], dtype=float)
        visible.append(ratios[~np.isnan(ratios)])
        overlaps = box_iou(boxes, boxes)[np.triu_indices(len(boxes), k=1)]
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
    """Plot people and overlaps per image, heights and visible fractions in four panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout='constrained')
    figure.suptitle(title)
    (people, pairs), (heights, visible) = figure.subplots(2, 2)
    summary = statistics.summarize()

    most = int(statistics.people.max(initial=0))
    people.hist(statistics.people, bins=np.linspace(-0.5, most + 0.5, min(most, 60) + 2))
    _mark(people, summary['people per image'], 'k', 'mean')
    _mark(people, CROWDHUMAN['people per image'], 'C1', 'CrowdHuman')
    people.set(xlabel='people per image', ylabel='images')
    people.legend()

    means = [summary[f'pairs per image, IoU > {overlap}'] for overlap in OVERLAPS]
    names = [f'> {overlap}\n({mean:.2f})' for overlap, mean in zip(OVERLAPS, means, strict=True)]
    pairs.bar(names, means)
    published = CROWDHUMAN['pairs per image, IoU > 0.5']
    pairs.plot([OVERLAPS.index(0.5)], [published], 'C1D', label=f'CrowdHuman ({published:.2f})')
    pairs.margins(y=0.15)
    pairs.set(xlabel='IoU of two bodies', ylabel='pairs per image')
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
    visible.set(xlabel='visible fraction of the body box', ylabel='people')
    for axes in (people, pairs, heights, visible):
        axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=120)


def _mark(axes, value: float, color: str, name: str) -> None:
    axes.axvline(value, color=color, linestyle='--', label=f'{name} ({value:.3g})')
