"""The search of candidates.py finds exactly the inside pairs."""

import pytest
import torch
from mmdet.models.task_modules import MaxIoUAssigner, SimOTAAssigner
from mmengine.structures import InstanceData

from mmdet_lla.assigners import candidates
from mmdet_lla.assigners.candidates import (
    exact_margin,
    find_covered,
    find_grids,
    find_near_any_gt,
    inside_rectangles,
    list_pairs,
)
from mmdet_lla.assigners.geometry import INSIDE_MARGIN, is_inside, is_near_center

from .scenes import PRIORS, centers, make_scene


def listed(boxes, points):
    rectangles = inside_rectangles(boxes.T, find_grids(points))
    rows, cols = rectangles.rows, rectangles.cols
    return list_pairs(rectangles, int(rows.sum()), int((rows * cols).sum()))


def one_by_one(boxes, points):
    """All pairs, tested one by one, ordered by box and then by prior."""
    return is_inside(boxes.T.unsqueeze(-1), points.T).nonzero(as_tuple=True)


@pytest.mark.parametrize('kind', PRIORS)
@pytest.mark.parametrize('size', [3.0, 20.0, 60.0])
def test_listed_pairs_are_the_inside_pairs_in_order(kind, size):
    for seed in range(5):
        scene = make_scene(seed, kind, 15, 1, 1.0, size)
        points = centers(scene['priors'], kind)
        for ours, plain in zip(
            listed(scene['boxes'], points), one_by_one(scene['boxes'], points), strict=True
        ):
            assert torch.equal(ours, plain)


def test_borders_are_exact():
    """Sides of gts lie a rounding error from the margin, at coordinates of any size."""
    x = torch.tensor([0.0, 0.01, 8.0, 1e3, 1e3, 65536.0, 1e7])
    points = torch.stack(torch.meshgrid(x, x, indexing='xy'), -1).view(-1, 2)
    boxes = []
    for value in (0.0, 8.0, 1e3, 65536.0):
        side = torch.tensor(value)
        for _ in range(3):
            side = torch.nextafter(side, torch.tensor(-torch.inf))
        for margin in (-INSIDE_MARGIN, 0.0, INSIDE_MARGIN):
            at = torch.tensor(value) + margin
            for _ in range(4):
                boxes += [
                    torch.stack([at, at, at + 9.0, at + 2e4]),
                    torch.stack([at - 9.0, at - 2e4, at, at]),
                ]
                at = torch.nextafter(at, torch.tensor(torch.inf))
    boxes = torch.stack(boxes)
    for ours, plain in zip(listed(boxes, points), one_by_one(boxes, points), strict=True):
        assert torch.equal(ours, plain)


@pytest.mark.parametrize('margin', [INSIDE_MARGIN, 0.0, 2.0])
def test_the_exact_margin_the_search_is_the_test_in_float32(margin):
    """For points and sides of any size, down to the last bit around the margin."""
    rng = torch.Generator().manual_seed(0)
    side = torch.randn(20000, generator=rng) * 10.0 ** torch.randint(-6, 9, (20000,), generator=rng)
    for sign in (1, -1):
        point = side + sign * margin
        for _ in range(int(torch.randint(5, (1,), generator=rng)) + 3):
            distance = (point - side) * sign
            bound = side.double() + sign * exact_margin(margin)
            assert torch.equal(distance > margin, (point.double() - bound) * sign > 0)
            point = torch.nextafter(point, point + torch.randn(20000, generator=rng))


def test_grids_of_all_lengths_take_little_memory():
    """One long row, beside many priors that form a grid each."""
    rng = torch.Generator().manual_seed(0)
    row = torch.stack([torch.arange(5000.0), torch.zeros(5000)], 1)
    column = torch.stack([torch.zeros(3000), torch.arange(3000.0)], 1)
    points = torch.cat([row, torch.rand(2000, 2, generator=rng) * 50, column])
    assert find_grids(points).coords.numel() < 40 * len(points)
    boxes = torch.tensor([[9.5, -5.0, 4000.5, 30.0], [-1.0, 4.5, 1.0, 2000.0]])
    for ours, plain in zip(listed(boxes, points), one_by_one(boxes, points), strict=True):
        assert torch.equal(ours, plain)


def test_near_center_equals_mmdet():
    simota = SimOTAAssigner(center_radius=1.5)
    for seed in range(5):
        scene = make_scene(seed, 'strided', 15, 1, 1.0, 40.0)
        priors, boxes = scene['priors'], scene['boxes'].T
        reach = priors[:, 2:].T * 1.5
        valid, both = simota.get_in_gt_and_in_center_info(priors, scene['boxes'])
        assert valid.any() and both.any() and not valid.all()
        points = scene['points'].T
        none = torch.zeros(15, dtype=torch.long)
        assert torch.equal(find_near_any_gt(boxes, none, 1, points, reach)[0], valid)
        ours = is_inside(boxes.unsqueeze(-1), points, 0.0) & is_near_center(
            boxes.unsqueeze(-1), points, reach
        )
        assert torch.equal(ours[:, valid].T, both)


@pytest.mark.parametrize('chunk', [1, 1 << 18])
def test_chunks_of_boxes_leave_no_seam(chunk, monkeypatch):
    monkeypatch.setattr(candidates, 'TABLE_CHUNK', chunk)
    scene = make_scene(0, 'strided', 15, 1, 1.0, 40.0)
    reach = scene['priors'][:, 2:].T
    boxes, points = scene['boxes'].T.unsqueeze(-1), scene['points'].T
    either = is_inside(boxes, points, 0.0) | is_near_center(boxes, points, reach)
    image = torch.arange(15) // 6  # 6, 6 and 3 boxes
    admitted = find_near_any_gt(scene['boxes'].T, image, 4, points, reach)
    covered = find_covered(scene['points'], scene['boxes'], image, 4, 0.5)
    for index in range(4):
        of_image = image == index
        assert torch.equal(admitted[index], either[of_image].any(0))
        assert torch.equal(covered[index], is_inside(boxes, points)[of_image].any(0))


@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.5])
def test_priors_are_covered_where_mmdet_ignores_them(threshold):
    """MaxIoUAssigner leaves -1 where an ignored gt covers an anchor."""
    priors = make_scene(1, 'anchors', 1, 1, 1.0, 40.0)['priors']
    ignored = make_scene(2, 'anchors', 6, 1, 1.0, 60.0)['boxes']
    away = torch.tensor([[900.0, 900.0, 910.0, 910.0]])
    result = MaxIoUAssigner(
        0.5, 0.5, ignore_iof_thr=max(threshold, 1e-12), match_low_quality=False
    ).assign(
        InstanceData(priors=priors),
        InstanceData(bboxes=away, labels=torch.zeros(1, dtype=torch.long)),
        InstanceData(bboxes=ignored),
    )
    covered = find_covered(priors, ignored, torch.zeros(6, dtype=torch.long), 1, threshold)[0]
    assert covered.any() and not covered.all()
    assert torch.equal(covered, result.gt_inds == -1)
