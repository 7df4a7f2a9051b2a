"""LLAHead under mmdet's contract: arguments, inherited methods, precision, compile, scales."""

import pytest
import torch
from lla_heads import build_head
from mmdet.structures import DetDataSample
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mmdet_lla import LLAHead
from mmdet_lla.heads import lla_head
from mmdet_lla.heads.separable import SeparableConv2d

STRIDES = (8, 16, 32, 64, 128)
LLA = dict(type='LLAAssigner')


def build(num_classes=2, train_cfg=None, **kwargs) -> LLAHead:
    torch.manual_seed(0)
    defaults = dict(test_cfg=dict(score_thr=0.0, nms_pre=100, max_per_img=5))
    if train_cfg is not None:
        defaults['train_cfg'] = train_cfg
    head = build_head(num_classes=num_classes, **{**defaults, **kwargs})
    head.init_weights()
    return head


def make_batch(size=128, num=2):
    rng = torch.Generator().manual_seed(1)
    feats = [torch.randn(num, 32, size // s, size // s, generator=rng) for s in STRIDES]
    samples = []
    for img in range(num):
        one = DetDataSample(
            gt_instances=InstanceData(
                bboxes=torch.tensor([[8.0, 10.0, 50.0, 90.0], [40.0, 20.0, 70.0, 100.0]]),
                labels=torch.tensor([0, img]),
            ),
            ignored_instances=InstanceData(bboxes=torch.tensor([[90.0, 0.0, 120.0, 40.0]])),
        )
        one.set_metainfo(
            dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0))
        )
        samples.append(one)
    return feats, samples


def test_positional_arguments_equal_retina_head():
    head = LLAHead(1, 64, 2)
    assert len(head.cls_convs) == 2 and head.in_channels == 64


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(train_cfg=dict(assigner=LLA, asigner_view={})), "did you mean 'assigner_view'"),
        (dict(train_cfg=dict(assigner=LLA, allowed_border=0)), 'allowed_border=0 is not supported'),
        (dict(train_cfg=dict(assigner=LLA, pos_weight=5)), 'pos_weight=5 is not supported'),
        (
            dict(train_cfg=dict(assigner=LLA, sampler=dict(type='RandomSampler', num=9))),
            'sampler=.*RandomSampler.* is not supported',
        ),
        (
            dict(train_cfg=dict(assigner=LLA, one_to_one=dict(asigner=LLA))),
            "train_cfg.one_to_one has no 'asigner', did you mean 'assigner'",
        ),
        (dict(test_cfg=dict(score_thresh=0.1)), "test_cfg has no 'score_thresh', did you mean"),
    ],
)
def test_settings_without_effect_are_rejected(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_the_neutral_settings_of_retina_head_are_accepted():
    neutral = dict(allowed_border=-1, pos_weight=-1, debug=False)
    build(train_cfg=dict(assigner=LLA, sampler=dict(type='PseudoSampler'), **neutral))


@pytest.mark.parametrize('one_to_one', [None, {}])
def test_loss_and_predict_is_loss_and_predict(one_to_one):
    feats, samples = make_batch()
    head = build(one_to_one=one_to_one)
    losses, results = head.loss_and_predict(feats, samples)
    assert losses == head.loss(feats, samples)
    assert ('loss_one_to_one' in losses) == (one_to_one is not None)
    for ours, expected in zip(results, head.predict(feats, samples), strict=True):
        assert len(ours) == 5 and torch.equal(ours.bboxes, expected.bboxes)
        assert torch.equal(ours.scores, expected.scores)


def test_inherited_methods_work_or_refuse():
    feats, samples = make_batch()
    head = build()
    cls_scores, bbox_preds, _ = head(feats)
    metas = [one.metainfo for one in samples]
    with pytest.raises(ValueError, match='needs score_factors, the IoU logits'):
        head.predict_by_feat(cls_scores, bbox_preds, batch_img_metas=metas)
    for refused in (head.get_targets, head.loss_by_feat_single):
        with pytest.raises(NotImplementedError, match='call loss_by_feat'):
            refused(cls_scores)
    points, flags = head.get_anchors(
        [one.shape[-2:] for one in feats], [dict(pad_shape=(128, 128))] * 2, device='cpu'
    )
    assert len(points) == len(flags) == 2


@pytest.mark.parametrize('one_to_one', [None, {}])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_losses_and_gradients_equal_float32(dtype, one_to_one):
    """Of the same logits; one of -20 for a positive prior overflowed in float16."""
    feats, samples = make_batch()
    head = build(one_to_one=one_to_one)
    with torch.no_grad():
        outs = [
            [(3 * one - (20 if i == 0 else 0)).to(dtype) for one in level]
            for i, level in enumerate(head(feats, both=one_to_one is not None))
        ]
    instances = (
        [one.gt_instances for one in samples],
        [one.ignored_instances for one in samples],
        [one.metainfo for one in samples],
    )
    found = {}
    for precision in (dtype, torch.float32):
        leaves = [[one.to(precision).clone().requires_grad_() for one in level] for level in outs]
        losses = head._compute_all_losses(leaves, *instances)
        sum(losses.values()).backward()
        grads = [one.grad.float() for level in leaves for one in level if one.grad is not None]
        found[precision] = losses, grads
    (losses, grads), (expected, expected_grads) = found.values()
    for name, loss in expected.items():
        assert losses[name].dtype is torch.float32
        torch.testing.assert_close(losses[name], loss, rtol=1e-6, atol=0)
    for grad, one in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, one, rtol=1e-2, atol=1e-6)


def test_it_can_be_compiled():
    """With Dynamo, the part of torch.compile that reads Python, and as many steps as it adapts."""
    feats, samples = make_batch()
    head = build(one_to_one={})
    expected = head.loss(feats, samples)
    torch._dynamo.reset()
    loss = torch.compile(head.loss, backend='eager')
    for _ in range(3):
        losses = loss(feats, samples)
        sum(losses.values()).backward()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_priors_of_every_scale_are_generated_once(monkeypatch):
    head, calls = build(), []
    generate = head.prior_generator.grid_priors
    monkeypatch.setattr(
        head.prior_generator,
        'grid_priors',
        lambda *args, **kwargs: calls.append(args) or generate(*args, **kwargs),
    )
    for size in (128, 256, 128, 256):
        head.loss(*make_batch(size))
    assert len(calls) == 2 and len(head.assigner._prior_cache._entries) == 2
    monkeypatch.setattr(lla_head, 'CACHE_SIZE', 2)
    head.loss(*make_batch(384))
    assert len(head._prior_cache) == 2


@pytest.mark.parametrize('kernel_size, padding', [(3, 1), (1, 0)])
def test_separable_convolutions_are_dense_ones_of_rank_one(kernel_size, padding):
    conv = SeparableConv2d(4, 6, kernel_size, padding=padding)
    features = torch.randn(2, 4, 8, 9)
    depthwise = torch.ones(4, 1, 1) if kernel_size == 1 else conv.depthwise.weight[:, 0]
    weight = conv.weight * depthwise  # (6, 4, kernel_size, kernel_size)
    expected = torch.nn.functional.conv2d(features, weight, conv.bias, padding=padding)
    torch.testing.assert_close(conv(features), expected, rtol=1e-4, atol=1e-5)
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = build(conv_cfg=dict(type='SeparableConv2d'))
    assert type(head.cls_convs[0].conv) is SeparableConv2d
    assert all(loss.isfinite() for loss in head.loss(*make_batch()).values())
    with pytest.raises(ValueError, match='groups must be 1, got 2'):
        SeparableConv2d(4, 6, 3, groups=2)
