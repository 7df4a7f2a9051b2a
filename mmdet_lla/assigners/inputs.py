"""Input of the assigners: read gts, priors and predictions, check them, and copy sizes to the host.

Nothing here needs mmdet. Gts of an image are any object with ``bboxes`` and ``labels``.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .candidates import PriorGrids, find_covered, find_grids
from .geometry import box_tensor
from .matching import to_device

PRIOR_FORMS = ('auto', 'points', 'boxes')
SCORE_FORMS = ('logits', 'probs')
IGNORE = ('compete', 'overlap', 'unused')

#: Side of an anchor box in strides of its level (authors of OTA, issue 4 of their repository).
ANCHOR_SCALE = 8

#: Centers of anchor boxes are rounded to this fraction of a pixel. The anchors of a location share
#: their center, but float32 corners give centers up to 1e-4 px apart.
CENTER_STEPS = 1024

#: Prior tensors whose data is kept, for training at several scales.
CACHE_SIZE = 32

#: From this many scores on, logits that all lie in [0, 1] are taken for probabilities.
MIN_SCORES_TO_CHECK = 100

INVERTED_GT = (
    'gt_instances.bboxes holds a box with x2 < x1 or y2 < y1, expected x1 y1 x2 y2 in '
    "pixels of the network's input"
)
NOT_FINITE_GT = (
    'gt_instances.bboxes or gt_instances_ignore.bboxes holds NaN or infinite values, '
    'expected finite x1 y1 x2 y2 in pixels'
)
NOT_FINITE_IGNORED = (
    'gt_instances_ignore.bboxes holds NaN or infinite values, expected finite x1 y1 x2 y2 in pixels'
)
NOT_FINITE_PREDICTION = (
    'pred_instances.bboxes holds NaN or infinite values, expected finite decoded boxes '
    'from the head; the training may have diverged'
)
NOT_FINITE_SCORE = (
    'pred_instances.scores holds NaN or infinite values, expected finite scores from the '
    'head; the training may have diverged'
)
NOT_PROBABILITIES = (
    "pred_instances.scores holds values outside [0, 1]; score_form='probs' expects "
    "probabilities, use 'logits' for raw scores"
)
NOT_LOGITS = (
    "pred_instances.scores all lie in [0, 1] and seem to be probabilities; score_form='logits' "
    "expects raw scores, use 'probs' for probabilities"
)


class ImageError(ValueError):
    """Error in the data of one image of a batch.

    Args:
        message (str): What is wrong.
        img (int): Index of the image in the batch.

    >>> ImageError('no labels', 2).img
    2
    """

    def __init__(self, message: str, img: int) -> None:
        super().__init__(message)
        self.img = img


class Assignment(NamedTuple):
    """What mmdet's ``AssignResult`` holds, for all images of a batch or for one of them.

    Attributes:
        num_gts (list[int] | int): Number of gts of each image.
        gt_inds (Tensor): 1-based index of the gt of its image that each prior is matched to, 0 for
            background, -1 for ignored, int64, shape (num_imgs, num_priors).
        max_overlaps (Tensor): IoU of prediction and gt, 0 on background, float32, same shape.
        labels (Tensor): Label of the gt, -1 elsewhere, int64, same shape.
    """

    num_gts: list[int] | int
    gt_inds: Tensor
    max_overlaps: Tensor
    labels: Tensor

    def select(self, img: int) -> 'Assignment':
        """Return the assignment of one image."""
        values: tuple[Any, ...] = self
        return Assignment(*(one[img] for one in values))


class GtList(NamedTuple):
    """The gts of all images as one list: image by image, ignore boxes after gts.

    Attributes:
        bboxes (list[Tensor]): ``x1 y1 x2 y2`` in pixels, parts of the list.
        labels (list[Tensor]): Parts of the list.
        img_inds (np.ndarray): Image of each gt, int64, shape (num_gts,).
        numbers (np.ndarray): 1-based index of each gt in its image, -1 for an ignore box, int64,
            shape (num_gts,).
        num_gts (list[int]): Number of gts of each image.
    """

    bboxes: list[Tensor]
    labels: list[Tensor]
    img_inds: np.ndarray
    numbers: np.ndarray
    num_gts: list[int]


def read_gts(
    who: str,
    batch_gts: Sequence[Any],
    batch_ignored: Sequence[Any | None] | None = None,
    device: torch.device | None = None,
) -> GtList:
    """List the gts of a batch, without synchronizing with the device.

    Args:
        who (str): Name of the caller, for messages.
        batch_gts (Sequence): ``bboxes`` (k, 4) and ``labels`` (k,) per image.
        batch_ignored (Sequence, optional): Ignore boxes that compete, ``bboxes`` (m, 4) per image;
            missing labels count as 0. Defaults to none.
        device (torch.device, optional): Required device. Defaults to any.

    Raises:
        ImageError: If the numbers of labels and boxes differ, or something is on another device.
    """
    bboxes: list[Tensor] = []
    labels: list[Any] = []
    counts: list[list[int]] = []
    ignored_of = batch_ignored or [None] * len(batch_gts)
    for img, (gts, ignored) in enumerate(zip(batch_gts, ignored_of, strict=True)):
        for name, instances in dict(gt_instances=gts, gt_instances_ignore=ignored).items():
            for field in ('bboxes', 'labels'):
                values = getattr(instances, field, None)
                if device and values is not None and values.device != device:
                    raise ImageError(
                        f'{who}: {name}.{field} is on {values.device}, pred_instances.priors on '
                        f'{device}; expected one device',
                        img,
                    )
        if len(gts.labels) != len(gts.bboxes):
            raise ImageError(
                f'{who}: gt_instances has {len(gts.bboxes)} bboxes but {len(gts.labels)} labels',
                img,
            )
        parts = [gts] if ignored is None else [gts, ignored]
        bboxes += [box_tensor(part.bboxes) for part in parts]
        labels += [getattr(part, 'labels', None) for part in parts]
        counts.append([len(gts.bboxes), len(ignored.bboxes) if ignored is not None else 0])
    if any(part is None for part in labels):
        zeros = bboxes[0].new_zeros(max(map(len, bboxes)), dtype=torch.int64)
        labels = [
            zeros[: len(boxes)] if part is None else part
            for part, boxes in zip(labels, bboxes, strict=True)
        ]
    sizes = np.array(counts, dtype=np.int64).reshape(-1, 2)
    img_inds = np.arange(len(sizes)).repeat(sizes.sum(1))
    numbers = [np.r_[np.arange(1, true + 1), np.full(ignored, -1)] for true, ignored in sizes]
    return GtList(bboxes, labels, img_inds, np.concatenate(numbers), sizes[:, 0].tolist())


class IgnoredPriors(NamedTuple):
    """The priors that ignore boxes exclude.

    Attributes:
        mask (Tensor, optional): bool, (num_imgs, num_priors); None if there can be none.
        bboxes (Tensor): The ignore boxes of all images, (num_ignored, 4).
    """

    mask: Tensor | None
    bboxes: Tensor


def exclude_ignored(
    priors: 'PriorInfo', batch_ignored: Sequence[Any | None] | None, threshold: float
) -> IgnoredPriors:
    """Find the priors that ignore boxes cover, see :func:`find_covered`."""
    batch_ignored = batch_ignored or []
    counts = np.array([0 if one is None else len(one.bboxes) for one in batch_ignored], np.int64)
    if not counts.any():
        return IgnoredPriors(None, priors.boxes[:0])
    parts = [box_tensor(one.bboxes) for one in batch_ignored if one is not None]
    ignored = torch.cat(parts).float()
    (img_inds,) = to_device(ignored.device, np.arange(len(counts)).repeat(counts))
    mask = find_covered(priors.boxes, ignored, img_inds, len(counts), threshold)
    return IgnoredPriors(mask, ignored)


def check_shapes(who: str, num_priors: int, pred_bboxes: Tensor, scores: Tensor) -> None:
    """Raise if predictions of a batch, (num_imgs, ...), do not fit the priors.

    Raises:
        ValueError: The message names the field, its shape and the expected one.
    """
    if pred_bboxes.shape[1:] != (num_priors, 4):
        raise ValueError(
            f'{who}: pred_instances.bboxes has shape {tuple(pred_bboxes.shape[1:])}, '
            f'expected ({num_priors}, 4), one decoded box per prior'
        )
    if scores.dim() != 3 or scores.size(1) != num_priors or not scores.size(2):
        raise ValueError(
            f'{who}: pred_instances.scores has shape {tuple(scores.shape[1:])}, '
            f'expected ({num_priors}, num_classes)'
        )


class PriorInfo(NamedTuple):
    """Per-prior data, cached until other priors are passed.

    Attributes:
        inds (Tensor): 0, 1, ..., int64, shape (num_priors,).
        points (Tensor): Centers in pixels, float32, shape (2, num_priors).
        strides (Tensor, optional): Stride in x and y, float32, shape (2, num_priors); None for
            points without.
        grids (PriorGrids, optional): The centers as grids; None without priors.
        boxes (Tensor): Anchor boxes, or points where there are none, (num_priors, 4 or 2).
        background_bbox (Tensor): A box of no area, shape (1, 4).
    """

    inds: Tensor
    points: Tensor
    strides: Tensor | None
    grids: PriorGrids | None
    boxes: Tensor
    background_bbox: Tensor

    def radius(self, num_strides: float) -> Tensor:
        """Return a multiple of the strides, which must be known, in pixels, (2, num_priors)."""
        assert self.strides is not None
        return self.strides * num_strides


class PriorCache:
    """Per-prior data of the tensors passed last.

    An entry is valid for one tensor object with unchanged content (``Tensor._version``) and for
    the settings it was computed with. Copies and pickles of a cache are empty.

    >>> cache, points = PriorCache(), torch.tensor([[4.0, 4.0], [12.0, 4.0]])
    >>> cache.get('me', points, 'auto').points.tolist()
    [[4.0, 12.0], [4.0, 4.0]]
    >>> cache.get('me', points, 'auto') is cache.get('me', points, 'auto')
    True
    >>> _ = points.add_(1)  # changed in place: computed again
    >>> cache.get('me', points, 'auto').points.tolist()
    [[5.0, 13.0], [5.0, 5.0]]
    """

    def __init__(self) -> None:
        self._entries: dict[tuple, tuple[Tensor, PriorInfo]] = {}

    def __reduce__(self) -> tuple:
        return PriorCache, ()

    def get(
        self, who: str, priors: Tensor, prior_form: str, needs_strides: bool = False
    ) -> PriorInfo:
        """Return the data of priors, computed when first seen.

        Args:
            who (str): Name of the caller, for messages.
            priors (Tensor): 'points': (n, 2), or (n, 4) as points with strides ``x y stride_x
                stride_y``; 'boxes': (n, 4) anchor boxes ``x1 y1 x2 y2``; 'auto': points if (n, 2),
                anchor boxes if (n, 4).
            prior_form (str): See above.
            needs_strides (bool): Whether points without strides are rejected.

        Raises:
            ValueError: If the shape or the values do not fit ``prior_form``.
        """
        version = None if priors.is_inference() else priors._version
        key = (id(priors), priors.data_ptr(), version, prior_form, needs_strides)
        if version is not None and key in self._entries:
            self._entries[key] = self._entries.pop(key)  # most recently used last
            return self._entries[key][1]
        info = read_priors(who, priors, prior_form, needs_strides)
        if version is not None:
            # Keeping the tensor alive keeps its id from being reused.
            self._entries[key] = priors, info
            if len(self._entries) > CACHE_SIZE:
                del self._entries[next(iter(self._entries))]
        return info


def read_priors(
    who: str, priors: Tensor, prior_form: str, needs_strides: bool = False
) -> PriorInfo:
    """Compute the data of priors; see :meth:`PriorCache.get`."""
    widths = (4,) if needs_strides or prior_form == 'boxes' else (2, 4)
    if priors.dim() != 2 or priors.size(1) not in widths:
        hint = (
            '; it measures in strides, so points must come with theirs, x y stride_x stride_y and '
            "prior_form='points'"
            if needs_strides
            else ''
        )
        raise ValueError(
            f'{who}: pred_instances.priors has shape {tuple(priors.shape)}; with '
            f'prior_form={prior_form!r} expected '
            f'{" or ".join(f"(n, {width})" for width in widths)}{hint}'
        )
    device, values = priors.device, priors.detach().cpu().float()
    points, strides, boxes = values[:, :2], None, priors[:, :2]
    if values.size(1) == 4 and prior_form != 'points':
        sides = values[:, 2:] - values[:, :2]
        _check_anchors(who, values, sides, prior_form)
        points = ((values[:, :2] + values[:, 2:]) / 2 * CENTER_STEPS).round_() / CENTER_STEPS
        strides = (sides[:, :1] * sides[:, 1:]).sqrt().expand(-1, 2) / ANCHOR_SCALE
        boxes = priors
    elif values.size(1) == 4:
        strides = values[:, 2:]
        if needs_strides and not (strides > 0).all():
            raise ValueError(
                f'{who}: pred_instances.priors holds strides that are not > 0; expected points '
                'with strides, x y stride_x stride_y'
            )
    return PriorInfo(
        torch.arange(len(points), device=device),
        points.T.contiguous().to(device),
        None if strides is None else strides.T.contiguous().to(device),
        find_grids(points, device) if len(points) else None,
        boxes.detach().float(),
        torch.zeros(1, 4, device=device),
    )


def _check_anchors(who: str, values: Tensor, sides: Tensor, prior_form: str) -> None:
    """Raise if (n, 4) priors read as anchor boxes are, or may be, points with strides."""
    if (sides < 0).any():
        raise ValueError(
            f'{who}: pred_instances.priors holds boxes with x2 < x1 or y2 < y1, so they seem to be '
            'points with strides; expected anchor boxes with prior_form='
            f"{prior_form!r}, use prior_form='points'"
        )
    # On maps of one or two cells, x and y of points are at most the stride.
    square = (values[:, 2] == values[:, 3]).all() and (values >= 0).all()
    if prior_form == 'auto' and len(values) and square:
        raise ValueError(
            f'{who}: pred_instances.priors can be read as anchor boxes x1 y1 x2 y2 or as points '
            "with strides x y s s; set prior_form='boxes' or 'points'"
        )


def copy_to_host(**tensors: Tensor | Sequence[Tensor]) -> dict[str, np.ndarray]:
    """Copy everything the CPU needs in one transfer, the only synchronization per batch.

    Args:
        tensors: Tensors, or sequences of them that are concatenated. Integers up to 2^53 are exact.

    Returns:
        dict[str, np.ndarray]: float64, by name, each of the shape it had; sequences are flat.

    >>> copy_to_host(a=torch.arange(2), b=[torch.ones(1), torch.zeros(2)])
    {'a': array([0., 1.]), 'b': array([1., 0., 0.])}
    """
    parts = [[one] if isinstance(one, Tensor) else list(one) for one in tensors.values()]
    first, *rest = (part.flatten() for group in parts for part in group)
    values = torch.cat([first.double(), *rest]).cpu().numpy()  # all become what the first is
    sizes = [sum(part.numel() for part in group) for group in parts]
    found = dict(zip(tensors, np.split(values, np.cumsum(sizes)[:-1]), strict=True))
    for name, one in tensors.items():
        if isinstance(one, Tensor):
            found[name] = found[name].reshape(one.shape)
    return found


def summarize_predictions(pred_bboxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
    """Compute what :func:`check_values` needs of predictions, (num_imgs,) each.

    Args:
        pred_bboxes (Tensor): (num_imgs, num_priors, 4).
        scores (Tensor): (num_imgs, num_priors, num_classes).
    """
    preds, scores = pred_bboxes.flatten(1), scores.flatten(1)
    return dict(
        pred_min=preds.amin(1),
        pred_max=preds.amax(1),
        score_min=scores.amin(1),
        score_max=scores.amax(1),
    )


def check_values(
    who: str,
    host: Mapping[str, np.ndarray],
    gts: GtList,
    score_form: str,
    num_scores: int,
    num_classes: int,
) -> None:
    """Raise for the first image with gts whose predictions or gts no loss can use.

    Args:
        who (str): Name of the caller, for messages.
        host (Mapping): From :func:`copy_to_host`: :func:`summarize_predictions`, ``gt_bboxes``
            (num_gts, 4) and ``gt_labels`` (num_gts,).
        gts (GtList): The gts.
        score_form (str): 'logits' or 'probs'.
        num_scores (int): Number of scores of an image.
        num_classes (int): Number of classes of the head.

    Raises:
        ImageError: The message names the field, what was found and what was expected.
    """
    low, high = host['score_min'], host['score_max']
    has_gts = np.bincount(gts.img_inds, minlength=len(low)) > 0
    faults = {
        NOT_FINITE_PREDICTION: ~np.isfinite(host['pred_min'] + host['pred_max']),
        NOT_FINITE_SCORE: ~np.isfinite(low + high),
    }
    found = find_gt_fault(host['gt_bboxes'], host['gt_labels'], gts, num_classes)
    if found is not None:
        faults[found[1]] = np.arange(len(low)) == found[0]
    if score_form == 'probs':
        faults[NOT_PROBABILITIES] = (low < 0) | (high > 1)
    elif num_scores >= MIN_SCORES_TO_CHECK:
        faults[NOT_LOGITS] = (low >= 0) & (high <= 1) & (low < high)
    bad = has_gts & np.logical_or.reduce(list(faults.values()))
    if bad.any():
        img = int(bad.argmax())
        raise ImageError(f'{who}: {next(text for text, at in faults.items() if at[img])}', img)


def find_gt_fault(
    bboxes: np.ndarray, labels: np.ndarray, gts: GtList, num_classes: int
) -> tuple[int, str] | None:
    """Find the first image whose gts no head can use.

    Args:
        bboxes (np.ndarray): ``x1 y1 x2 y2`` in pixels, shape (num_gts, 4).
        labels (np.ndarray): Labels, shape (num_gts,).
        gts (GtList): Their images; ignore boxes may be inverted and of any class.
        num_classes (int): Number of classes of the head.

    Returns:
        tuple[int, str], optional: The image and what is wrong, None if all are valid.
    """
    is_gt = gts.numbers > 0
    infinite = ~np.isfinite(bboxes).all(1)
    inverted = is_gt & (bboxes[:, 2:] < bboxes[:, :2]).any(1)
    unknown = is_gt & ~((labels >= 0) & (labels < num_classes))
    bad = infinite | inverted | unknown
    if not bad.any():
        return None
    first = gts.img_inds[bad].min()
    of_first = gts.img_inds == first
    if (infinite & of_first).any():
        return first, NOT_FINITE_GT
    if (inverted & of_first).any():
        box = bboxes[inverted & of_first][0].tolist()
        return first, (
            f'{INVERTED_GT}, got {box}; its loss could be anything. '
            '`mmdet-lla check` finds those of annotations'
        )
    label = labels[unknown & of_first][0]
    return first, (
        f'gt_instances.labels holds a value outside 0..{num_classes - 1}; the head scores '
        f'{num_classes} class(es), see num_classes of the head and metainfo of the dataset, '
        f'got {label:.0f}'
    )


def check_ignored(who: str, ignored: np.ndarray) -> None:
    """Raise if an ignore box that excludes priors is not finite."""
    if not np.isfinite(ignored).all():
        raise ValueError(f'{who}: {NOT_FINITE_IGNORED}')


def check_settings(
    who: str, checks: Mapping[str, tuple[bool, str]], values: Mapping[str, Any]
) -> None:
    """Raise for the first setting that is out of its range.

    Args:
        who (str): Name of the class, for messages.
        checks (Mapping): Whether each setting is valid, and what is expected of it.
        values (Mapping): The settings.

    Raises:
        ValueError: If one is not valid.
    """
    for name, (valid, expected) in checks.items():
        if not valid:
            raise ValueError(f'{who}: {name} must be {expected}, got {values[name]!r}')


def check_names(who: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Raise for the first unknown name and suggest the closest known one.

    >>> check_names('train_cfg', ['asigner'], ['assigner', 'ignore'])
    Traceback (most recent call last):
    ValueError: train_cfg has no 'asigner', did you mean 'assigner'? Expected: assigner, ignore
    """
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f', did you mean {close[0]!r}?' if close else '.'
            raise ValueError(f'{who} has no {name!r}{hint} Expected: {", ".join(known)}')


def is_count(value: object) -> bool:
    """Return whether a value is an int of at least 1.

    >>> is_count(3), is_count(True)
    (True, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
