"""The one-to-one branch of LLAHead: what trains it, and predictions with and without NMS."""

import copy
from pathlib import Path

import pytest
import torch
from lla_heads import build_head
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData

from mmdet_lla import LLAHead
from mmdet_lla.analysis.recording import record_assignments
from mmdet_lla.assigners import POTOAssigner
from mmdet_lla.heads.one_to_one import logit_of_product

CONFIGS = Path(__file__).parents[2] / 'configs'
TEST_CFG = dict(
    nms_pre=5000,
    min_bbox_size=-1,
    score_thr=0.05,
    max_per_img=300,
    nms=dict(type='nms', iou_threshold=0.6),
)
STRIDES = (8, 16, 32, 64, 128)
SIZE = 256
ANCHORS = dict(
    anchor_generator=dict(
        type='AnchorGenerator',
        ratios=[1.0],
        octave_base_scale=8,
        scales_per_octave=1,
        strides=list(STRIDES),
    ),
    bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
)


def build(one_to_one=dict(), train=dict(), test=dict(), **kwargs) -> LLAHead:
    torch.manual_seed(0)
    head = build_head(
        num_classes=2,
        one_to_one=one_to_one,
        train_cfg=dict(assigner=dict(type='LLAAssigner'), **train),
        test_cfg={**TEST_CFG, **test},
        **kwargs,
    )
    head.init_weights()
    return head


def sample(*boxes, ignored=()) -> DetDataSample:
    as_boxes = lambda boxes: torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)  # noqa: E731
    one = DetDataSample(
        gt_instances=InstanceData(
            bboxes=as_boxes(boxes), labels=torch.zeros(len(boxes), dtype=torch.long)
        ),
        ignored_instances=InstanceData(
            bboxes=as_boxes(ignored), labels=torch.full((len(ignored),), -1)
        ),
    )
    one.set_metainfo(dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0)))
    return one


def features(seed=0, num=2):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(num, 32, SIZE // s, SIZE // s, generator=rng) for s in STRIDES]


PEOPLE = ((10.0, 20.0, 50.0, 110.0), (40.0, 30.0, 80.0, 120.0), (90.0, 60.0, 110.0, 100.0))
BATCH = [sample(*PEOPLE, ignored=[(60.0, 0.0, 120.0, 40.0)]), sample()]


@pytest.mark.parametrize('form', [{}, ANCHORS], ids=['points', 'anchors'])
@pytest.mark.parametrize('batch', [BATCH, [sample(), sample()]], ids=['people', 'nobody'])
def test_every_parameter_is_trained(form, batch):
    head = build(**form)
    losses = head.loss(features(), batch)
    assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_iou', 'loss_one_to_one'}
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize('detach', [True, False])
def test_detach_stops_the_gradient(detach):
    head = build(dict(detach=detach))
    head.loss(features(), BATCH)['loss_one_to_one'].backward()
    trained = {name.split('.')[0] for name, p in head.named_parameters() if p.grad is not None}
    assert trained == {'one_to_one'} | (
        set() if detach else {'reg_convs', 'cls_convs', 'retina_cls'}
    )


def test_the_branch_does_not_change_the_other_losses():
    head, plain = build(), build(None)
    plain.load_state_dict(
        {k: v for k, v in head.state_dict().items() if not k.startswith('one_to_one')}
    )
    theirs = plain.loss(features(), BATCH)
    assert set(theirs) == {'loss_cls', 'loss_bbox', 'loss_iou'}
    ours = head.loss(features(), BATCH)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_loss_is_the_focal_loss_of_one_prior_a_box():
    head = build(train=dict(one_to_one=dict(assigner=dict(type='POTOAssigner', alpha=0.5))))
    assert (
        isinstance(head.one_to_one.assigner, POTOAssigner) and head.one_to_one.assigner.alpha == 0.5
    )
    seen, assign = [], head.one_to_one.assigner.assign
    head.one_to_one.assigner.assign = lambda *a, **kw: seen.append(assign(*a, **kw)) or seen[-1]
    loss = head.loss(features(), BATCH)['loss_one_to_one']
    gt_inds = torch.stack([one.gt_inds for one in seen])
    assert sorted(gt_inds[gt_inds > 0].tolist()) == [1, 2, 3]
    *_, logits = head(features(), both=True)
    logits = torch.cat([one.permute(0, 2, 3, 1).reshape(2, -1, 2) for one in logits], 1)
    target = torch.zeros_like(logits)
    target[..., 0] = (gt_inds > 0).float()
    prob = logits.sigmoid()
    right = torch.where(target > 0, prob, 1 - prob)
    alpha = torch.where(target > 0, 0.25, 0.75)
    expected = (-alpha * (1 - right) ** 2 * right.log()).sum() / 3
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)
    weighted = build(dict(loss_weight=0.5), train=dict(one_to_one=head.one_to_one.train_cfg))
    torch.testing.assert_close(weighted.loss(features(), BATCH)['loss_one_to_one'], loss / 2)


def test_ignored_regions_can_be_excluded_from_the_loss():
    losses = {
        ignore: build(train=dict(one_to_one=dict(ignore=ignore))).loss(features(), BATCH)
        for ignore in (None, 'overlap')
    }
    assert losses['overlap']['loss_one_to_one'] < losses[None]['loss_one_to_one']
    assert losses['overlap']['loss_cls'] == losses[None]['loss_cls']


def test_a_batch_at_a_time_is_image_by_image():
    """Also with an assigner that takes batches; errors name the image."""
    head = build(train=dict(one_to_one=dict(assigner=dict(type='LLAAssigner', topk=1))))
    batch = [*copy.deepcopy(BATCH), sample(*PEOPLE[1:])]
    at_once = head.loss(features(num=3), batch)['loss_one_to_one']
    assigner = head.one_to_one.assigner
    seen, assign = [], assigner.assign
    assigner.assign = lambda *args, **kwargs: seen.append(assign(*args, **kwargs)) or seen[-1]
    assert torch.equal(head.loss(features(num=3), batch)['loss_one_to_one'], at_once)
    assert [int((one.gt_inds > 0).sum()) for one in seen] == [3, 0, 2]

    def refuse(*args, **kwargs):
        raise ValueError('no')

    assigner.assign = refuse
    batch[0].set_metainfo(dict(img_path='first.jpg'))
    with pytest.raises(ValueError, match=r'^no \(image first.jpg\)$'):
        head.loss(features(num=3), batch)


def worst_overlap(result) -> float:
    """The largest IoU of two detections of a class."""
    boxes = result.bboxes + 1000 * result.labels[:, None]
    return bbox_overlaps(boxes, boxes).fill_diagonal_(0).max().item()


def test_one_to_one_predicts_without_nms_and_the_others_with_it():
    head, plain = build(), build(None)
    for one in (head, plain):  # scores high enough to be kept, and many boxes on each other
        torch.nn.init.constant_(one.retina_cls.bias, 0.5)
        torch.nn.init.constant_(one.retina_reg.bias, 4.0)
    torch.nn.init.constant_(head.one_to_one.filter.bias, 1.0)
    plain.load_state_dict(
        {k: v for k, v in head.state_dict().items() if not k.startswith('one_to_one')}
    )
    feats, samples = features(num=1), [BATCH[0]]
    assert not head.needs_nms and plain.needs_nms
    (result,) = head.predict(feats, samples)
    assert len(result) == 300 and worst_overlap(result) > 0.6
    assert (result.scores[:-1] >= result.scores[1:]).all()
    cls_scores, _, ious = head(feats)
    assert torch.equal(cls_scores[0], head(feats, both=True)[3][0])
    score = torch.cat(
        [
            (cls.sigmoid() * iou.sigmoid()).sqrt().flatten()
            for cls, iou in zip(cls_scores, ious, strict=True)
        ]
    )
    assert torch.isclose(result.scores, score.sort(descending=True).values[:300]).all()

    head.test_cfg.one_to_one = False
    assert head.needs_nms
    (suppressed,), (theirs,) = head.predict(feats, samples), plain.predict(feats, samples)
    assert len(suppressed) and worst_overlap(suppressed) <= 0.6
    assert torch.equal(suppressed.bboxes, theirs.bboxes)
    assert torch.equal(suppressed.scores, theirs.scores)
    # Without NMS by config, of a head that has no branch.
    plain.test_cfg.nms = None
    assert not plain.needs_nms
    (free,) = plain.predict(feats, samples)
    assert len(free) == 300 and worst_overlap(free) > 0.6
    assert torch.equal(free.scores[:1], theirs.scores[:1])


def test_the_branch_learns_one_detection_per_gt():
    """On the features of one image; the other branches say them several times."""
    head = build(test=dict(score_thr=0.3))
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    feats, batch = features(num=1), [BATCH[0]]
    for _ in range(120):
        optimizer.zero_grad()
        sum(head.loss(feats, batch).values()).backward()
        optimizer.step()
    once = head.predict(feats, batch)[0]
    assert len(once) == len(PEOPLE)
    head.test_cfg.update(one_to_one=False, nms=None)
    assert len(head.predict(feats, batch)[0]) > 2 * len(PEOPLE)


def test_recordings_see_the_main_assigner():
    head = build()
    with record_assignments(head) as calls:
        head.loss(features(), BATCH)
    assert len(calls) == 2
    assert max(int((call.result.gt_inds > 0).sum()) for call in calls) > len(PEOPLE)
    assert (calls[0].levels >= 0).all()


@pytest.mark.parametrize('as_list', [False, True])
def test_the_branch_starts_undecided(as_list):
    """Overrides of the head's layers are none of its own."""
    init = dict(
        type='Normal',
        layer='Conv2d',
        std=0.01,
        override=[
            dict(type='Normal', name='retina_cls', std=0.01, bias_prob=0.1),
            dict(type='Normal', name='retina_reg', std=0.01, bias=4.0),
        ],
    )
    head = build(init_cfg=[init] if as_list else init)
    assert head.retina_cls.bias[0] > -3 and head.retina_reg.bias[0] == 4
    assert head.one_to_one.filter.bias.eq(0).all()
    assert head.one_to_one.filter.weight.std() < 0.02


def test_scores_are_products():
    """Also where probabilities are so near to 0 or 1 that they cannot be told from them."""
    a, b = torch.meshgrid(*[torch.linspace(-30, 30, 61).double()] * 2, indexing='ij')
    product = a.sigmoid() * b.sigmoid()
    absent = (-a).sigmoid() + a.sigmoid() * (-b).sigmoid()
    logits = logit_of_product(a.float(), b.float())
    torch.testing.assert_close(logits, (product.log() - absent.log()).float(), rtol=1e-5, atol=1e-5)
    extreme = torch.tensor([-300.0, 300.0], dtype=torch.float16)
    assert logit_of_product(extreme, extreme).isfinite().all()
    head = build()
    cls_scores, _, _, one_to_one = head(features(), both=True)
    assert (one_to_one[0] < cls_scores[0]).all()


@pytest.mark.parametrize(
    'one_to_one, message',
    [
        (dict(stacked_convs=-1), 'one_to_one.stacked_convs must be an int >= 0, got -1'),
        (dict(loss_weight=0), 'one_to_one.loss_weight must be finite and > 0, got 0'),
    ],
)
def test_wrong_settings_are_named(one_to_one, message):
    with pytest.raises(ValueError, match=message):
        build(one_to_one)
