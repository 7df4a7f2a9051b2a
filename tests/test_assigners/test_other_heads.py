"""LLA, OTA and POTO under mmdet's heads, LLA with the configs that ship."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmdet_lla.assigners import LLAAssigner, OTAAssigner, POTOAssigner

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
HOMES = dict(yolox=at_yolox, rtmdet=at_rtmdet, tood=at_tood, ddod=at_ddod)
POINTS, PROBS = ('yolox', 'rtmdet'), ('yolox', 'tood')


def assigner_of(head: str, kind: type) -> dict:
    """Return the config of an assigner under a head, for LLA the one that ships."""
    if kind is LLAAssigner:
        cfg = Config.fromfile(HEADS / f'{head}-lla_mobilenetv2_fpn_1xb4-12e_crowd.py')
        return cfg.model.train_cfg.assigner
    return dict(
        type=('TaskAligned' if head == 'tood' else '') + kind.__name__,
        prior_form='points' if head in POINTS else 'boxes',
        score_form='probs' if head in PROBS else 'logits',
        ignore='unused',
    )


@pytest.mark.parametrize('seed, num, num_ignored', [(0, 0, 0), (1, 1, 0), (2, 30, 6), (3, 0, 6)])
@pytest.mark.parametrize(
    'head, kind',
    [*((head, kind) for head in HOMES for kind in (LLAAssigner, OTAAssigner))],
)
def test_assigns_as_on_points_and_logits(head, kind, seed, num, num_ignored):
    """The assigner reads the priors and scores of every head correctly."""
    offset = 0.5 if head == 'yolox' else 0
    points = torch.cat(
        MlvlPointGenerator(STRIDES, offset).grid_priors(SIZES, device='cpu', with_stride=True)
    )
    gt_instances, ignored = crowd(seed, num), crowd(100 + seed, num_ignored)
    preds = predict(gt_instances, points[:, :2], seed)
    assigner, run = HOMES[head](assigner_of(head, kind), preds, [gt_instances], [META], [ignored])
    with spied(assigner) as calls:
        losses = run()
    assert all(torch.as_tensor(value).isfinite().all() for value in losses.values())
    if head == 'yolox' and not num:
        assert not calls  # YOLOXHead calls no assigner for an image without gts
        return
    args, kwargs, result = calls[0]
    given = args[0] if args else kwargs['pred_instances']
    logits = given.scores.logit() if head in PROBS else given.scores
    # YOLOXHead does not exclude ignored priors from the loss.
    ignore = 'unused' if head == 'yolox' or kind is OTAAssigner else 'compete'
    plain = kind(prior_form='points', ignore=ignore).assign(
        InstanceData(priors=points, bboxes=given.bboxes, scores=logits), gt_instances, ignored
    )
    assert torch.equal(result.gt_inds, plain.gt_inds)
    torch.testing.assert_close(result.max_overlaps, plain.max_overlaps)
    assert num < 30 or result.gt_inds.unique().numel() > 20
    assert (result.gt_inds < 0).any() == (num_ignored > 0 and ignore == 'compete')
    if head == 'tood':
        positive = result.gt_inds > 0
        of_class = given.scores[positive, gt_instances.labels[result.gt_inds[positive] - 1]]
        torch.testing.assert_close(
            result.assign_metrics[positive], of_class * result.max_overlaps[positive] ** 6
        )
        assert not result.assign_metrics[~positive].any()


@pytest.mark.parametrize('head', POINTS)
def test_poto_gives_every_gt_one_prior(head):
    gt_instances = crowd(0, 20)
    points = torch.cat(MlvlPointGenerator(STRIDES, 0).grid_priors(SIZES, device='cpu'))
    cfg = assigner_of(head, POTOAssigner)
    cfg['center_radius'] = 1.5
    del cfg['ignore']
    assigner, run = HOMES[head](
        cfg, predict(gt_instances, points, 0), [gt_instances], [META], [crowd(1, 3)]
    )
    with spied(assigner) as calls:
        run()
    gt_inds = calls[0][-1].gt_inds
    assert sorted(gt_inds[gt_inds > 0].tolist()) == list(range(1, 21))


@pytest.mark.parametrize('head', ['RetinaHead', 'ATSSHead'])
def test_heads_that_pass_priors_only_are_rejected(head):
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
