"""Merging of tiles: no duplicates and no missed people across edges."""

import numpy as np
import pytest

from mmdet_lla.inference import Predictor, Tiles
from mmdet_lla.inference.tiles import View, tile_spans
from mmdet_lla.runtime import Detections
from mmdet_lla.runtime.detector import PreparedImage
from mmdet_lla.utils.boxes import box_iou

WIDTH, HEIGHT = 4000, 3000


def crowd(seed: int, people: int = 250) -> np.ndarray:
    """Return boxes of people in groups, some nearly behind each other."""
    random = np.random.default_rng(seed)
    groups = random.uniform(0, 1, (people // 6, 2)) * (WIDTH, HEIGHT)
    centers = groups[random.integers(len(groups), size=people)] + random.normal(0, 45, (people, 2))
    heights = np.exp(random.uniform(np.log(40), np.log(700), people))
    widths = heights * random.uniform(0.3, 0.5, people)
    sizes = np.stack([widths, heights], 1)
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], 1)
    boxes = boxes.clip(0, (WIDTH, HEIGHT) * 2)
    boxes = boxes[((boxes[:, 2:] - boxes[:, :2]) > (12, 35)).all(1)]
    kept: list = []  # without pairs that cannot be distinguished in a tile
    for i in range(len(boxes)):
        if not kept or box_iou(boxes[[i]], boxes[kept]).max() < 0.75:
            kept.append(i)
    return boxes[kept]


def perfect_views(people: np.ndarray, tiles: Tiles, seed: int):
    """Return nearly exact detections, per view, of all people of whom a third is visible."""
    random = np.random.default_rng(seed)
    image = np.empty((HEIGHT, WIDTH, 0), np.uint8)
    views = tiles.views(image, lambda part: PreparedImage(None, (), *part.shape[:2], (0.5, 0.5)))
    found = []
    for view in views:
        left, top, right, bottom = view.region or (0, 0, WIDTH, HEIGHT)
        cut = people.clip((left, top) * 2, (right, bottom) * 2)
        visible = np.prod(cut[:, 2:] - cut[:, :2], 1) / np.prod(people[:, 2:] - people[:, :2], 1)
        seen = cut[visible > 0.34]
        height = np.minimum(seen[:, [3]] - seen[:, [1]], 200)
        seen = seen + random.normal(0, 0.012, seen.shape) * height
        seen = seen.clip((left, top) * 2, (right, bottom) * 2) - (left, top) * 2
        found.append(
            Detections(
                seen.astype(np.float32),
                random.uniform(0.4, 0.9, len(seen)).astype(np.float32),
                np.zeros(len(seen), np.int64),
                ('person',),
                view.prepared.height,
                view.prepared.width,
            )
        )
    return views, found


def count_errors(people: np.ndarray, found: np.ndarray) -> tuple[int, int]:
    """Missed people, and duplicate detections."""
    ious = box_iou(people, found)
    matched = 0
    while ious.size and ious.max() > 0.5:
        row, column = np.unravel_index(ious.argmax(), ious.shape)
        ious[row], ious[:, column] = 0, 0
        matched += 1
    return len(people) - matched, len(found) - matched


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('size', [800, 1300])
def test_no_person_is_missed_or_duplicated(seed, size):
    people, tiles = crowd(seed), Tiles(size)
    merged = tiles.merge(*perfect_views(people, tiles, seed))
    assert len(people) > 150
    assert count_errors(people, merged.boxes) == (0, 0)
    assert (np.diff(merged.scores) <= 0).all()


def one_view(region, box, score, size=(300, 400)) -> tuple[View, Detections]:
    left, top, right, bottom = region or (0, 0, size[1], size[0])
    prepared = PreparedImage(None, (), bottom - top, right - left, (1.0, 1.0))
    boxes = np.array([box], np.float32) - np.array((left, top) * 2, np.float32)
    found = Detections(
        boxes,
        np.array([score], np.float32),
        np.zeros(1, np.int64),
        ('person',),
        bottom - top,
        right - left,
    )
    return View(prepared, region), found


def test_a_whole_box_replaces_a_cut_one():
    whole = one_view(None, (0, 0, 1, 1), 0.1)
    cut = one_view((0, 0, 240, 300), (150, 100, 240, 250), 0.9)
    full = one_view((160, 0, 400, 300), (175, 100, 265, 250), 0.4)
    views, found = zip(whole, cut, full, strict=True)
    merged = Tiles(240, edge=4).merge(views, found)
    assert merged.scores.tolist() == pytest.approx([0.4, 0.05])
    np.testing.assert_allclose(merged.boxes[0], (175, 100, 265, 250))
    assert (merged.height, merged.width) == (300, 400)


@pytest.mark.parametrize(
    'views, score',
    [
        # the mean of both tiles; the whole image, where people are small, does not count
        (['left 0.8', 'right 0.4', 'whole 0.1'], 0.6),
        (['left 0.8', 'right 0.4'], 0.6),
        (['left 0.8', 'right 0'], 0.4),
        (['whole 0.8', 'left 0', 'right 0'], 0.8 / 3),
        (['near 0.8', 'right 0.4'], 0.5),  # 10 pixels from an edge weigh a third of 16
        (['at 0.8', 'right 0.4'], 0.4),  # a cut box does not count
        (['at 0.8', 'whole 0.4'], 0.4),
    ],
)
def test_scores_are_means_over_views_with_the_complete_person(views, score):
    box = (200, 100, 220, 160)
    regions = {
        'whole': None,
        'left': (0, 0, 240, 300),
        'right': (180, 0, 400, 300),
        'near': (0, 0, 228, 300),
        'at': (0, 0, 222, 300),
    }
    given = dict(one.split() for one in views)
    parts = [one_view(None, box, float(given.pop('whole', 0)))]
    parts += [one_view(regions[name], box, float(value)) for name, value in given.items()]
    seen, found = zip(*parts, strict=True)
    found = [one.select(one.scores > 0) for one in found]
    merged = Tiles(240, edge=4).merge(seen, found)
    assert merged.scores.tolist() == pytest.approx([score], abs=0.01)
    np.testing.assert_allclose(merged.boxes, [box], atol=0.01)


def test_false_positives_are_no_likelier_in_overlaps():
    """The maximum of several scores would raise them from 1 of 2 to 3 of 4."""
    random = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(np.arange(30, 3900, 90), np.arange(30, 2900, 130)), -1)
    corners = corners.reshape(-1, 2).astype(float)
    slots = np.concatenate([corners, corners + (30, 80)], 1)
    tiles = Tiles(800)
    views, _ = perfect_views(slots, tiles, 0)
    found = []
    for i, view in enumerate(views):
        left, top, right, bottom = view.region or (0, 0, 0, 0)
        inside = (slots[:, :2] >= (left, top)).all(1) & (slots[:, 2:] <= (right, bottom)).all(1)
        boxes = (slots[inside] - (left, top) * 2).astype(np.float32)
        scores = random.choice(np.array([0.3, 0.7], np.float32), len(boxes))
        size = view.prepared.height, view.prepared.width
        found.append(Detections(boxes, scores, np.zeros(len(boxes), int), ('person',), *size))
        assert inside.any() == (i > 0)
    merged = tiles.merge(views, found)
    num_views = sum(
        (merged.boxes[:, :2] >= view.region[:2]).all(1)
        & (merged.boxes[:, 2:] <= view.region[2:]).all(1)
        for view in views[1:]
    )
    for count in (1, 2, 4):
        above = merged.scores[num_views == count] > 0.5
        assert len(above) > 50 and above.mean() < 0.6


def test_boxes_that_are_cut_everywhere_are_discarded():
    views, found = zip(
        one_view(None, (150, 20, 260, 290), 0.5),
        one_view((0, 0, 240, 300), (200, 60, 240, 120), 0.9),
        strict=True,
    )
    merged = Tiles(240).merge(views, found)
    np.testing.assert_allclose(merged.boxes, [(150, 20, 260, 290)])


@pytest.mark.parametrize('length, size', [(100, 200), (200, 200), (201, 200), (4000, 1000)])
def test_tiles_cover_a_side_and_overlap(length, size):
    pieces = tile_spans(length, size, 0.25)
    assert pieces[0][0] == 0 and pieces[-1][1] == length
    assert {end - start for start, end in pieces} == {min(size, length)}
    for (_, end), (start, _) in zip(pieces, pieces[1:], strict=False):
        assert end - start >= 0.25 * size - 1


@pytest.mark.parametrize(
    'options', [dict(size=10), dict(size=99, overlap=0.7), dict(size=99, iou_thr=1)]
)
def test_invalid_settings(options):
    with pytest.raises(ValueError, match=list(options)[-1]):
        Tiles(**options)


def test_predictor_tiles_only_large_images(directory, images):
    model = directory / 'config.py', directory / 'weights.pth'
    plain = Predictor(*model, threshold=0.3)
    tiled = Predictor(*model, threshold=0.3, tiles=Tiles(96), batch_size=3)
    paths = sorted(images.iterdir())
    for path, before, after in zip(paths, plain(paths), tiled(paths), strict=True):
        assert (before.height, before.width) == (after.height, after.width)
        assert len(after) and after.boxes.min() >= 0
        assert (after.boxes[:, 2:] <= (after.width + 0.01, after.height + 0.01)).all()
        if max(after.height, after.width) > 96:
            assert len(after) != len(before), path
    small = np.full((90, 90, 3), 90, np.uint8)
    np.testing.assert_allclose(tiled(small).boxes, plain(small).boxes, atol=0.01)
