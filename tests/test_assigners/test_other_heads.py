"""LLAAssigner under mmdet's heads, as the configs put it there."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdet_lla import LLAAssigner

from .other_heads import (
    META,
    ONE_ANCHOR,
    SIZES,
    STRIDES,
    MlvlPointGenerator,
    at_anchor_head,
    at_ddod,
    at_rtmdet,
    at_tood,
    at_yolox,
    crowd,
    predict,
    spied,
)

HEADS = Path(__file__).parents[2] / 'configs/ablations/heads'


def assigner_of(head: str) -> dict:
    cfg = Config.fromfile(HEADS / f'{head}-lla_mobilenetv2_fpn_1xb4-12e_crowd.py')
    return cfg.model.train_cfg.assigner


@pytest.mark.parametrize('seed, num, num_ignored', [(0, 0, 0), (1, 1, 0), (2, 30, 6), (3, 0, 6)])
@pytest.mark.parametrize(
    'head, home, offset',
    [
        ('yolox', at_yolox, 0.5),
        ('rtmdet', at_rtmdet, 0),
        ('tood', at_tood, 0),
        ('ddod', at_ddod, 0),
    ],
)
def test_decides_as_on_points_and_logits(head, home, offset, seed, num, num_ignored):
    """What each head hands over is read for what it is."""
    points = torch.cat(MlvlPointGenerator(STRIDES, offset).grid_priors(SIZES, device='cpu'))
    gt_instances, ignored = crowd(seed, num), crowd(100 + seed, num_ignored)
    preds = predict(gt_instances, points, seed)
    assigner, run = home(assigner_of(head), preds, [gt_instances], [META], [ignored])
    with spied(assigner) as calls:
        losses = run()
    assert all(torch.as_tensor(value).isfinite().all() for value in losses.values())
    if head == 'yolox' and not num:
        assert not calls  # it calls nobody for an image without boxes
        return
    ((args, kwargs, result),) = calls
    handed = args[0] if args else kwargs['pred_instances']
    logits = handed.scores if head in ('rtmdet', 'ddod') else handed.scores.logit()
    # YOLOX has no use for priors that are left out of the loss.
    plain = LLAAssigner(ignore='unused' if head == 'yolox' else 'compete').assign(
        InstanceData(priors=points, bboxes=handed.bboxes, scores=logits), gt_instances, ignored
    )
    assert torch.equal(result.gt_inds, plain.gt_inds)
    torch.testing.assert_close(result.max_overlaps, plain.max_overlaps)
    assert num < 30 or result.gt_inds.unique().numel() > 20
    assert (result.gt_inds < 0).any() == (num_ignored > 0 and head != 'yolox')
    if head == 'tood':
        positive = result.gt_inds > 0
        of_class = handed.scores[positive, gt_instances.labels[result.gt_inds[positive] - 1]]
        torch.testing.assert_close(
            result.assign_metrics[positive], of_class * result.max_overlaps[positive] ** 6
        )
        assert not result.assign_metrics[~positive].any()


@pytest.mark.parametrize('head', ['RetinaHead', 'ATSSHead'])
def test_a_head_that_hands_over_priors_alone_is_told_the_way_out(head):
    points = torch.cat(MlvlPointGenerator(STRIDES, 0).grid_priors(SIZES, device='cpu'))
    home = at_anchor_head(head, ONE_ANCHOR)
    _, run = home(
        dict(type='LLAAssigner'),
        predict(crowd(0, 3), points, 0),
        [crowd(0, 3)],
        [META],
        [crowd(1, 1)],
    )
    with pytest.raises(ValueError, match=r"no bboxes, scores.*YOLOX, RTMDet.*type='LLAHead'"):
        run()
