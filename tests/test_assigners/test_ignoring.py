"""One switch of LLAHead sets the use of ignored gts under every assigner."""

import lla_heads
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmdet_lla.assigners import View
from mmdet_lla.assigners.views import view_of

from .other_heads import META, SIZES, crowd, predict
from .test_views import build_head

ASSIGNERS = {
    name.removesuffix('Assigner'): {k: v for k, v in cfg.items() if k != 'ignore_iof_thr'}
    for name, cfg in lla_heads.ASSIGNERS.items()
}
MAX_IOU, CENTER = ASSIGNERS['MaxIoU'], ASSIGNERS['CenterRegion']
KNOWS = ('LLA', 'OTA')
#: One region that holds many priors, and one person in a region.
REGIONS = InstanceData(
    bboxes=torch.tensor([[8.5, 8.5, 90.0, 100.0], [120.0, 40.0, 160.0, 110.0]]),
    labels=torch.tensor([-1, -1]),
)


def decide(assigner: dict, gt_instances, ignored, switch=None, **view):
    """Return gt_inds under LLAHead (num_priors,), the priors, and the complete result."""
    cfg = dict(assigner=assigner, ignore=switch, assigner_view=view)
    head = build_head(None, train_cfg=ConfigDict(cfg))
    view = head._view()
    priors = head._grid_priors([torch.zeros(1, 1, *size) for size in SIZES], view)
    bboxes, logits = predict(crowd(1, 20), priors.own, 0)
    result = view.assign(
        head.assigner,
        priors=priors.converted,
        num_level_priors=priors.num_level_priors,
        bboxes=bboxes,
        logits=logits,
        gt_instances=gt_instances,
        gt_instances_ignore=ignored,
        img_meta=META,
    )
    return result.gt_inds, priors, result


def covered_by_regions(priors: torch.Tensor, holds_boxes: bool) -> torch.Tensor:
    """Return the mask of points in a region, or of boxes that one covers for more than half."""
    covered = torch.zeros(len(priors), dtype=torch.bool)
    for x1, y1, x2, y2 in REGIONS.bboxes.tolist():
        if holds_boxes:
            left, top, right, bottom = priors.T
            width = (right.clamp(max=x2) - left.clamp(min=x1)).clamp(min=0)
            height = (bottom.clamp(max=y2) - top.clamp(min=y1)).clamp(min=0)
            covered |= width * height > 0.5 * (right - left) * (bottom - top)
        else:
            x, y = priors[:, 0], priors[:, 1]
            covered |= (torch.stack([x - x1, y - y1, x2 - x, y2 - y]) > 0.01).all(0)
    return covered


@pytest.mark.parametrize('name', ASSIGNERS)
def test_unused(name):
    gt_instances = crowd(1, 20)
    gt_inds, *_ = decide(ASSIGNERS[name], gt_instances, REGIONS, 'unused')
    alone, *_ = decide(ASSIGNERS[name], gt_instances, None)
    assert torch.equal(gt_inds, alone)
    assert (gt_inds > 0).any()


@pytest.mark.parametrize('name', ASSIGNERS)
def test_compete(name):
    """Ignored gts take part as gts of class 0, and priors they win are marked -1."""
    gt_instances = crowd(1, 20)
    gt_inds, _, result = decide(ASSIGNERS[name], gt_instances, REGIONS, 'compete')
    both = InstanceData(
        bboxes=torch.cat([gt_instances.bboxes, REGIONS.bboxes]),
        labels=torch.cat([gt_instances.labels, torch.zeros(2, dtype=torch.long)]),
    )
    merged, *_ = decide(ASSIGNERS[name], both, None)
    assert torch.equal(gt_inds, torch.where(merged > 20, -1, merged))
    assert (merged > 20).any() and result.num_gts == 20
    if result.labels is not None and name != 'CenterRegion':
        assert (result.labels[gt_inds < 0] == -1).all()


@pytest.mark.parametrize('name', ASSIGNERS)
def test_overlap(name):
    """Priors in regions are marked -1, and the others are assigned as without them."""
    gt_instances = crowd(1, 20)
    gt_inds, priors, result = decide(ASSIGNERS[name], gt_instances, REGIONS, 'overlap')
    head = build_head(ASSIGNERS[name])
    view = head._view()
    covered = covered_by_regions(priors.converted, view.priors == 'boxes')
    assert (gt_inds[covered] == -1).all() and 10 < covered.sum() < len(covered) / 2
    alone, *_ = decide(ASSIGNERS[name], gt_instances, None)
    assert (alone[covered] > 0).any() and (gt_inds > 0).any()
    # Handed only those that are left, the assigner decides the same.
    left = (~covered).nonzero().squeeze(1)
    sizes = [int(part.sum()) for part in (~covered).split(priors.num_level_priors)]
    bboxes, logits = predict(crowd(1, 20), priors.own, 0)
    there = view.assign(
        head.assigner,
        priors=priors.converted[left],
        num_level_priors=sizes,
        bboxes=bboxes[left],
        logits=logits[left],
        gt_instances=gt_instances,
        gt_instances_ignore=None,
        img_meta=META,
    )
    assert torch.equal(gt_inds[left], there.gt_inds)
    if there.max_overlaps is not None:
        overlaps = result.max_overlaps[left]
        assert torch.equal(overlaps, there.max_overlaps.to(overlaps.dtype))


@pytest.mark.parametrize('ignore', ['compete', 'overlap'])
@pytest.mark.parametrize('name', KNOWS)
def test_head_switch_and_assigner_argument_agree(name, ignore):
    gt_instances = crowd(1, 20)
    own, *_ = decide({**ASSIGNERS[name], 'ignore': ignore}, gt_instances, REGIONS)
    switched, *_ = decide({**ASSIGNERS[name], 'ignore': 'unused'}, gt_instances, REGIONS, ignore)
    assert torch.equal(own, switched) and (own == -1).any()
    # And so does what the view makes of an assigner that knows none.
    without = {**ASSIGNERS[name], 'ignore': 'unused'}
    viewed, *_ = decide(without, gt_instances, REGIONS, ignore=ignore)
    assert torch.equal(own, viewed)


def test_overlap_equals_max_iou_assigner():
    gt_instances = crowd(1, 20)
    own, *_ = decide({**MAX_IOU, 'ignore_iof_thr': 0.3}, gt_instances, REGIONS)
    switched, *_ = decide(MAX_IOU, gt_instances, REGIONS, 'overlap', ignore_iof_thr=0.3)
    assert torch.equal(own, switched)
    other, *_ = decide(MAX_IOU, gt_instances, REGIONS, 'overlap', ignore_iof_thr=0.8)
    assert not torch.equal(other, switched)


@pytest.mark.parametrize('name', ASSIGNERS)
def test_all_priors_covered_or_no_gts(name):
    whole = InstanceData(bboxes=torch.tensor([[-900.0, -900.0, 900.0, 900.0]]))
    gt_inds, *_ = decide(ASSIGNERS[name], crowd(1, 20), whole, 'overlap')
    assert (gt_inds == -1).all()
    none = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    for ignore in ('compete', 'overlap'):
        gt_inds, *_ = decide(ASSIGNERS[name], none, REGIONS, ignore)
        assert (gt_inds < 0).any() and not (gt_inds > 0).any()
        for nothing in (none, None):
            gt_inds, *_ = decide(ASSIGNERS[name], crowd(1, 20), nothing, ignore)
            alone, *_ = decide(ASSIGNERS[name], crowd(1, 20), None)
            assert torch.equal(gt_inds, alone)


def test_shadowed_labels_stay_with_their_priors():
    """Shadowed labels of CenterRegionAssigner, where some priors are excluded."""
    gt_instances = crowd(1, 20)
    gt_inds, _, result = decide(CENTER, gt_instances, REGIONS, 'overlap')
    _, _, alone = decide(CENTER, gt_instances, None)
    shadowed, before = (one.get_extra_property('shadowed_labels') for one in (result, alone))
    assert len(shadowed)
    assert not (gt_inds[shadowed[:, 0]] > 0).all()
    pairs = {tuple(pair) for pair in before.tolist()}
    assert {tuple(pair) for pair in shadowed.tolist()} <= pairs


def test_inverted_and_infinite_ignore_boxes():
    gt_instances = crowd(1, 20)
    inverted = InstanceData(bboxes=torch.tensor([[50.0, 60.0, 40.0, 90.0]]))
    for name in ASSIGNERS:
        for ignore in ('compete', 'overlap'):
            gt_inds, *_ = decide(ASSIGNERS[name], gt_instances, inverted, ignore)
            assert (gt_inds > 0).any()
    bad = InstanceData(bboxes=torch.tensor([[50.0, float('nan'), 60.0, 90.0]]))
    for ignore in ('compete', 'overlap'):
        with pytest.raises(ValueError, match='gt_instances_ignore.bboxes holds NaN'):
            decide(ASSIGNERS['SimOTA'], gt_instances, bad, ignore)


def test_wrong_settings_are_named():
    cfg = ConfigDict(assigner=dict(type='SimOTAAssigner'), ignore='never')
    with pytest.raises(ValueError, match=r"train_cfg.ignore must be one of .* got 'never'"):
        build_head(None, train_cfg=cfg)
    with pytest.raises(ValueError, match='View: ignore must be one of'):
        View('boxes', ignore='never')
    with pytest.raises(ValueError, match=r'View: ignore_iof_thr must be in \[0, 1\), got 1'):
        View('boxes', ignore='overlap', ignore_iof_thr=1)
    assert view_of(TASK_UTILS.build(dict(type='SimOTAAssigner'))).ignore is None
