"""Assignment under autocast equals that of the same values in float32."""

from inspect import signature

import numpy as np
import pytest
import torch
from lla_heads import build_head
from mmengine.structures import InstanceData
from test_reliability.hostile import hostile_boxes

from mmdet_lla.assigners import LLAAssigner


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_assignment_under_autocast_equals_float32(dtype, monkeypatch):
    torch.manual_seed(0)
    norm = dict(type='GN', num_groups=4)
    head = build_head(num_classes=3, in_channels=16, feat_channels=16, norm_cfg=norm)
    head.init_weights()
    # One that is watched is called image by image.
    seen, assign = [], head.assigner.assign

    def record(*args, **kwargs):
        result = assign(*args, **kwargs)
        seen.append((signature(assign).bind(*args, **kwargs).arguments, result))
        return result

    monkeypatch.setattr(head.assigner, 'assign', record)
    rng = np.random.default_rng(0)
    for _ in range(3):
        feats = [torch.randn(2, 16, n, n) * 3 for n in (12, 6, 3, 2, 1)]
        gts = [
            InstanceData(
                bboxes=hostile_boxes(rng, 40, inverted=False), labels=torch.randint(0, 3, (40,))
            )
            for _ in range(2)
        ]
        with torch.autocast('cpu', dtype):
            outs = head(tuple(feats))
            assert outs[0][0].dtype == dtype
            losses = head.loss_by_feat(*outs, gts, [dict(img_shape=(96, 96))] * 2)
        assert all(loss.isfinite() for loss in losses.values())
    assert len(seen) == 6
    for given, result in seen:
        preds = given['pred_instances']
        values = InstanceData(
            priors=preds.priors, bboxes=preds.bboxes.float(), scores=preds.scores.float()
        )
        again = LLAAssigner().assign(values, given['gt_instances'])
        assert torch.equal(again.gt_inds, result.gt_inds) and (again.gt_inds > 0).any()
        assert torch.equal(again.max_overlaps, result.max_overlaps)
