"""Input of all assigners: forms of priors and scores, unknown arguments, cached priors."""

import copy

import golden
import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

import mmdet_lla
from mmdet_lla.assigners import LLAAssigner, OTAAssigner, POTOAssigner
from mmdet_lla.assigners import inputs as inputs_module
from mmdet_lla.assigners.inputs import PriorCache, read_priors
from mmdet_lla.assigners.views import View, view_for

from .other_heads import ONE_ANCHOR, RETINA_ANCHORS
from .scenes import make_scene

FAMILY = [LLAAssigner, OTAAssigner, POTOAssigner]


def instances(scene):
    pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=scene['scores'])
    return pred, InstanceData(bboxes=scene['boxes'], labels=scene['classes'])


@pytest.mark.parametrize('order', ['by location', 'by anchor'])
def test_anchors_of_a_location_share_their_center(order):
    """Float32 corners give centers up to 1e-4 px apart, which made 4,831 grids of 5."""
    cfg = {**RETINA_ANCHORS, 'strides': [8, 16, 32, 64, 128]}
    generator = TASK_UTILS.build(cfg)
    sizes = [(-(-800 // s), -(-1344 // s)) for s in cfg['strides']]
    levels = generator.grid_priors(sizes, device='cpu')
    if order == 'by anchor':
        levels = [level.view(-1, 9, 4).transpose(0, 1).flatten(0, 1) for level in levels]
    info = read_priors('me', torch.cat(levels), 'boxes')
    assert len(info.grids.first) == (5 if order == 'by location' else 45)
    x = (torch.arange(168) * 8.0).repeat_interleave(9)
    assert order == 'by anchor' or torch.equal(info.points[0, : len(x)], x)


def test_priors_changed_in_place_are_read_again():
    scene, assigner = make_scene(3, 'points', 12, 1, 2.0, 40.0), LLAAssigner()
    pred, gts = instances(scene)
    before = assigner.assign(pred, gts).gt_inds
    scene['priors'].add_(13)
    after = assigner.assign(pred, gts).gt_inds
    assert not torch.equal(before, after)
    assert torch.equal(after, LLAAssigner().assign(pred, gts).gt_inds)


def test_settings_changed_afterwards_have_an_effect():
    scene = make_scene(4, 'strided', 12, 2, 2.0, 40.0)
    pred, gts = instances(scene)
    for changes in (dict(center_radius=0.5), dict(cls_weight=9.0), dict(candidates='inside')):
        settings = dict(candidates='center', prior_form='points')
        assigner = LLAAssigner(**settings)
        before = assigner.assign(pred, gts).gt_inds
        for name, value in changes.items():
            setattr(assigner, name, value)
        after = assigner.assign(pred, gts).gt_inds
        assert not torch.equal(before, after)
        assert torch.equal(after, LLAAssigner(**{**settings, **changes}).assign(pred, gts).gt_inds)


def test_the_cache_keeps_the_priors_of_several_scales(monkeypatch):
    monkeypatch.setattr(inputs_module, 'CACHE_SIZE', 2)
    cache, points = PriorCache(), [torch.rand(n, 2) for n in (3, 4, 5)]
    first, second, third = (cache.get('me', one, 'auto') for one in points)
    assert cache.get('me', points[1], 'auto') is second
    assert cache.get('me', points[2], 'auto') is third
    assert cache.get('me', points[0], 'auto') is not first  # the oldest was dropped
    assert cache.get('me', points[2], 'points') is not third
    assert not copy.deepcopy(cache)._entries
    with torch.inference_mode():
        assert cache.get('me', torch.rand(3, 2), 'auto').points.shape == (2, 3)


@pytest.mark.parametrize('offset', [0, 0.5])
@pytest.mark.parametrize('assigner', [LLAAssigner, OTAAssigner])
def test_strided_points_of_tiny_maps_are_not_read_as_boxes(assigner, offset):
    sizes = [(1, 2), (1, 1)] if offset == 0 else [(1, 1), (1, 1)]
    points = [
        [(x + offset) * s, (y + offset) * s, s, s]
        for (h, w), s in zip(sizes, (8, 16), strict=True)
        for y in range(h)
        for x in range(w)
    ]
    pred = InstanceData(
        priors=torch.tensor(points, dtype=torch.float),
        bboxes=torch.rand(len(points), 4).cumsum(1),
        scores=torch.zeros(len(points), 1),
    )
    gts = InstanceData(bboxes=torch.tensor([[0.0, 0, 16, 16]]), labels=torch.tensor([0]))
    with pytest.raises(ValueError, match="set prior_form='boxes' or 'points'"):
        assigner().assign(pred, gts)
    assert assigner(prior_form='points').assign(pred, gts).gt_inds.any()
    for cfg in (ONE_ANCHOR, RETINA_ANCHORS):  # anchors of a single location are boxes
        anchors = AnchorGenerator(**{k: v for k, v in cfg.items() if k != 'type'})
        read_priors('me', torch.cat(anchors.grid_priors([(1, 1)] * 4, device='cpu')), 'auto')


@pytest.mark.parametrize('assigner', FAMILY)
def test_probabilities_are_not_taken_for_logits(assigner):
    assert assigner().score_form == 'logits'
    scene = make_scene(5, 'strided', 12, 2, 2.0, 40.0)
    scene['scores'] = scene['scores'].sigmoid()
    pred, gts = instances(scene)
    with pytest.raises(ValueError, match="seem to be probabilities.*use 'probs'"):
        assigner(prior_form='points').assign(pred, gts)
    assert assigner(prior_form='points', score_form='probs').assign(pred, gts).gt_inds.any()
    pred.scores = torch.zeros_like(pred.scores)  # logits before the first step
    assert assigner(prior_form='points').assign(pred, gts).gt_inds.any()


@pytest.mark.parametrize('assigner', FAMILY)
def test_unknown_arguments_are_rejected(assigner):
    pred, gts = instances(make_scene(6, 'strided', 6, 1, 2.0, 40.0))
    assigner = assigner(prior_form='points')
    with pytest.raises(ValueError, match="assign has no 'num_levels_priors', did you mean"):
        assigner.assign(pred, gts, num_levels_priors=[1])
    with pytest.raises(TypeError, match='takes 4 positional arguments, got 1 more'):
        assigner.assign(pred, gts, None, [1])
    assigner.assign(pred, gts, num_level_priors=[len(pred)], img_meta={})


def test_ties_is_deprecated():
    with pytest.warns(DeprecationWarning, match='ties is deprecated'):
        LLAAssigner(ties='topk')


@pytest.mark.parametrize('assigner', FAMILY)
def test_views_leave_the_assigner_unchanged(assigner):
    assigner = assigner()
    before = dict(vars(assigner))
    view = view_for(assigner, dict(ignore='overlap'))
    assert view.ignore == 'overlap' and not view.counts_won
    assert vars(assigner) == before and view_for(assigner, {}).ignore is None
    assert view_for(LLAAssigner(ignore='unused'), dict(ignore='compete')).counts_won


def test_covered_priors_take_one_synchronization_and_keep_num_gts(monkeypatch):
    copies, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, 'tolist', lambda self: copies.append(1) or tolist(self))
    view = View('points', 'logits', ignore='overlap')
    pred, gts = instances(make_scene(7, 'points', 6, 1, 2.0, 40.0))
    result = view.assign(
        None,  # is not called: everything is covered
        priors=pred.priors,
        num_level_priors=[192, 48, 12],
        bboxes=pred.bboxes,
        logits=pred.scores,
        gt_instances=gts,
        gt_instances_ignore=InstanceData(bboxes=torch.tensor([[-99.0, -99.0, 999.0, 999.0]])),
        img_meta={},
    )
    assert result.num_gts == 6 and (result.gt_inds == -1).all() and len(copies) == 1


def assign(assigner, scene, **settings):
    pred, gts = instances(scene)
    ignored = torch.zeros(len(gts), dtype=torch.bool)
    ignored[-1:] = True
    settings = {'prior_form': 'points', **settings}
    return assigner(**settings).assign(pred, gts[~ignored], gts[ignored])


@pytest.mark.parametrize('assigner', FAMILY)
@pytest.mark.parametrize(
    'name, value, settings, message',
    [
        ('preds', float('nan'), {}, 'pred_instances.bboxes holds NaN or infinite'),
        ('preds', float('inf'), {}, 'pred_instances.bboxes holds NaN or infinite'),
        ('scores', float('-inf'), {}, 'pred_instances.scores holds NaN or infinite'),
        ('scores', float('nan'), dict(score_form='probs'), 'pred_instances.scores holds NaN'),
        ('scores', 1.5, dict(score_form='probs'), r'outside \[0, 1\]'),
        ('boxes', float('nan'), {}, 'gt_instances.bboxes or .* holds NaN'),
        ('boxes', 1e4, {}, r'x2 < x1 or y2 < y1.*got \[10000.0'),
        ('classes', 2, {}, r'gt_instances.labels .* 0..1.* 2 class.*got 2'),
        ('classes', -1, {}, 'gt_instances.labels'),
        ('priors', 1e5, dict(prior_form='boxes'), "anchor boxes .*use prior_form='points'"),
    ],
)
def test_wrong_values_are_named(assigner, name, value, settings, message):
    scene = make_scene(10, 'strided', 6, 2, 2.0, 40.0)
    if settings.get('score_form') == 'probs':
        scene['scores'] = scene['scores'].sigmoid()
    scene[name] = scene[name].clone()
    scene[name].view(-1)[0] = value
    with pytest.raises(ValueError, match=f'{assigner.__name__}: .*{message}'):
        assign(assigner, scene, **settings)


@pytest.mark.parametrize('ignore', ['compete', 'overlap'])
@pytest.mark.parametrize('assigner', [LLAAssigner, OTAAssigner])
def test_ignore_boxes_that_are_not_finite_are_named(assigner, ignore):
    scene = make_scene(12, 'strided', 6, 1, 2.0, 40.0)
    scene['boxes'][-1, 0] = float('nan')
    with pytest.raises(ValueError, match='gt_instances_ignore.bboxes holds NaN'):
        assign(assigner, scene, ignore=ignore)


@pytest.mark.parametrize('assigner', FAMILY)
@pytest.mark.parametrize(
    'shapes, message',
    [
        (dict(priors=(5, 3)), r'priors has shape \(5, 3\)'),
        (dict(bboxes=(4, 4)), r'bboxes has shape \(4, 4\)'),
        (dict(scores=(5,)), r'scores has shape \(5,\)'),
        (dict(scores=(5, 0)), r'scores has shape \(5, 0\)'),
    ],
)
def test_wrong_shapes_are_named(assigner, shapes, message):
    shapes = dict(priors=(5, 4), bboxes=(5, 4), scores=(5, 1)) | shapes
    gts = InstanceData(bboxes=torch.zeros(1, 4), labels=torch.zeros(1, dtype=torch.long))
    # InstanceData itself rejects unequal lengths.
    plain = type('Pred', (dict,), {'__getattr__': dict.__getitem__})
    pred = plain({name: torch.ones(shape) for name, shape in shapes.items()})
    with pytest.raises(ValueError, match=message):
        assigner(prior_form='points').assign(pred, gts)


@pytest.mark.parametrize('assigner', FAMILY)
def test_predictions_are_required(assigner):
    gts = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match='has no bboxes, scores.*LLAHead'):
        assigner().assign(InstanceData(priors=torch.zeros(5, 4)), gts)


@pytest.mark.parametrize('assigner', FAMILY)
def test_nothing_to_assign(assigner):
    scene = make_scene(7, 'strided', 0, 1, 1.0, 40.0)
    result = assign(assigner, scene)
    assert not result.gt_inds.any() and not result.max_overlaps.any()
    assert result.num_gts == 0 and (result.labels == -1).all()
    scene = make_scene(7, 'strided', 3, 1, 1.0, 40.0)
    scene |= {name: scene[name][:0] for name in ('priors', 'preds', 'scores')}
    assert len(assign(assigner, scene).gt_inds) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('assigner', FAMILY)
def test_half_precision_decides_as_the_same_values_in_float32(assigner, dtype):
    scene = make_scene(5, 'strided', 20, 3, 3.0, 40.0)
    half = {k: v.to(dtype) if k in ('preds', 'scores') else v for k, v in scene.items()}
    full = {**scene, **{k: half[k].float() for k in ('preds', 'scores')}}
    with torch.autocast('cpu', dtype=dtype):
        result = assign(assigner, half)
    assert torch.equal(result.gt_inds, assign(assigner, full).gt_inds)
    assert result.max_overlaps.dtype is torch.float32


def test_vectors_and_types_are_complete():
    assert (len(golden.ASSIGN), len(golden.OTA), len(golden.POTO)) == (12, 11, 8)
    for assigner in FAMILY:
        assert type(TASK_UTILS.build(dict(type=assigner.__name__))) is assigner
        assert getattr(mmdet_lla, assigner.__name__) is assigner
