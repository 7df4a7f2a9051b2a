"""Assignment and the head's step on a simulated GPU, which rejects mixed devices and counts.

See benchmarks/simulated_device.py.
"""

import importlib.util
from pathlib import Path

import pytest
import torch
from lla_heads import ASSIGNERS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from test_heads.test_lla_head import (
    ANCHORS,
    EMPTY,
    META,
    TRAIN_CFG,
    build,
    crowd,
    predictions,
)

from mmdet_lla import LLAAssigner

from .scenes import make_scene

PATH = Path(__file__).parents[2] / 'benchmarks' / 'simulated_device.py'
ONCE = {'copy to the host': 1}


@pytest.fixture(scope='module')
def simulated():
    """The module of the simulated device."""
    spec = importlib.util.spec_from_file_location('simulated_device', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scenes_of(num_imgs, num_boxes, num_classes, kind='points'):
    """Priors, predictions, scores and boxes of a batch."""
    scenes = [make_scene(seed, kind, num_boxes, num_classes, 2.0, 40.0) for seed in range(num_imgs)]
    preds, scores = (torch.stack([one[name] for one in scenes]) for name in ('preds', 'scores'))
    sides = [
        [
            InstanceData(bboxes=one['boxes'][chosen], labels=one['classes'][chosen])
            for one, chosen in ((one, one['ignored'] == ignored) for one in scenes)
        ]
        for ignored in (False, True)
    ]
    return scenes[0]['priors'], preds, scores, *sides


@pytest.mark.parametrize('num_classes', [1, 3])
def test_a_batch_takes_150_operators_and_one_synchronization(simulated, num_classes):
    """Also for gts with too few inside priors, and for contested priors."""
    seen = set()
    for num_imgs in (1, 2, 16):
        for num_boxes in (5, 60):
            batch = scenes_of(num_imgs, num_boxes, num_classes)
            with simulated.SimulatedDevice() as device:
                batch, assigner = simulated.to_device(batch), LLAAssigner()
                for _ in range(2):  # priors are looked at the first time
                    device.reset()
                    assigner.assign_batch(*batch)
            assert dict(device.synchronizations) == ONCE
            seen.add(sum(device.operators.values()))
    assert max(seen) <= 150
    assert max(seen) - min(seen) <= 3  # what a single image does not need


KNOBS = {
    'LLA': {},
    'ignored regions': dict(ignore='overlap'),
    'ignore boxes unused': dict(ignore='unused'),
    'any pair competes': dict(candidates='all'),
    'only picked': dict(contested='picked'),
    'other costs': dict(cls_cost='bce', reg_cost='giou'),
    'costs beyond the penalty': dict(outside_penalty=1.0),
    'around centers': dict(candidates='center', prior_form='points'),
    'dynamic K': dict(topk='dynamic'),
    'dynamic K, ignored regions': dict(topk='dynamic', ignore='overlap'),
}


@pytest.mark.parametrize('knobs', KNOBS.values(), ids=KNOBS)
@pytest.mark.parametrize('num_classes', [1, 3])
def test_device_equals_cpu_with_one_synchronization(simulated, knobs, num_classes):
    kind = 'strided' if 'prior_form' in knobs else 'points'
    batch = scenes_of(3, 20, num_classes, kind)
    expected = LLAAssigner(**knobs).assign_batch(*batch)
    assert expected.gt_inds.any(1).all()
    with simulated.SimulatedDevice() as device:
        batch, assigner = simulated.to_device(batch), LLAAssigner(**knobs)
        assigner.assign_batch(*batch)
        device.reset()
        found = assigner.assign_batch(*batch)
    copies = 2 if knobs.get('topk') == 'dynamic' else 1
    assert dict(device.synchronizations) == {'copy to the host': copies}
    for name in ('gt_inds', 'max_overlaps', 'labels'):
        assert torch.equal(getattr(found, name).host, getattr(expected, name))


def test_simota_on_the_device_equals_cpu(simulated):
    batch = scenes_of(3, 20, 2, 'strided')
    batch = (*batch[:2], batch[2].sigmoid(), *batch[3:])
    expected = LLAAssigner.simota().assign_batch(*batch)
    with simulated.SimulatedDevice() as device:
        batch, assigner = simulated.to_device(batch), LLAAssigner.simota()
        assigner.assign_batch(*batch)
        device.reset()
        found = assigner.assign_batch(*batch)
    assert dict(device.synchronizations) == {'copy to the host': 2}
    assert expected.gt_inds.any() and torch.equal(found.gt_inds.host, expected.gt_inds)


def batch_of(num_imgs, head):
    outs = [
        [level.detach().repeat(num_imgs, 1, 1, 1) for level in kind] for kind in predictions(head)
    ]
    boxes = [crowd(3, seed) for seed in range(num_imgs)]
    ignored = [crowd(3, seed + 50, 3) if seed else EMPTY for seed in range(num_imgs)]
    return outs, boxes, [META] * num_imgs, ignored


@pytest.mark.parametrize('form', [{}, ANCHORS], ids=['points', 'anchors'])
def test_losses_of_a_batch_take_two_synchronizations(simulated, form):
    """For the assignment, and for the number of positive priors."""
    head = build(num_classes=3, **form)
    seen = []
    for num_imgs in (1, 2, 8):
        outs, *rest = batch_of(num_imgs, head)
        expected = head.loss_by_feat(*outs, *rest)
        with simulated.SimulatedDevice() as device:
            outs, *rest = simulated.to_device((outs, *rest))
            for _ in range(2):
                device.reset()
                losses = head.loss_by_feat(*outs, *rest)
        for name, loss in expected.items():
            torch.testing.assert_close(losses[name].host, loss, rtol=1e-6, atol=0)
        # mmdet's GIoU loss copies its epsilon anew each time, its coder of anchor boxes their means
        # and deviations.
        assert device.synchronizations.pop('blocking copy from the host') == 1 + 2 * bool(form)
        assert dict(device.synchronizations) == ONCE | {'aten::nonzero': 1}
        seen.append(sum(device.operators.values()))
    assert max(seen) - min(seen) <= 5 and max(seen) < 280


@pytest.mark.parametrize('assigner, synchronizations', [('LLAAssigner', 2), ('POTOAssigner', None)])
def test_one_to_one_loss_on_the_device_equals_cpu(simulated, assigner, synchronizations):
    """POTO matches on the CPU, image by image."""
    train_cfg = ConfigDict(TRAIN_CFG, one_to_one=dict(assigner=dict(type=assigner)))
    head = build(num_classes=3, one_to_one=dict(), train_cfg=train_cfg)
    seen = []
    for num_imgs in (1, 4):
        outs, boxes, metas, ignored = batch_of(num_imgs, head)
        priors = head._grid_priors(outs[0], head.one_to_one.view())
        scores = torch.randn(num_imgs, len(priors.own), 3)
        preds = head._decode(priors, outs[1]).detach()
        batch = scores, preds, priors.converted, priors.num_level_priors, boxes, metas, ignored
        expected = head.one_to_one.loss(head.loss_cls, *batch)
        with simulated.SimulatedDevice() as device:
            on_device = simulated.to_device(batch)
            for _ in range(2):
                device.reset()
                loss = head.one_to_one.loss(head.loss_cls, *on_device)
        torch.testing.assert_close(loss.host, expected, rtol=1e-6, atol=0)
        if synchronizations:
            assert sum(device.synchronizations.values()) == synchronizations
            seen.append(sum(device.operators.values()))
    assert not synchronizations or seen[1] - seen[0] <= 5


@pytest.mark.parametrize('assigner', list(ASSIGNERS)[1:])
def test_losses_mix_no_devices_under_any_assigner(simulated, assigner):
    head = build(num_classes=3, train_cfg=ConfigDict(assigner=ASSIGNERS[assigner]))
    outs, *rest = batch_of(2, head)
    expected = head.loss_by_feat(*outs, *rest)
    with simulated.SimulatedDevice():
        outs, *rest = simulated.to_device((outs, *rest))
        losses = head.loss_by_feat(*outs, *rest)
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name].host, loss, rtol=1e-6, atol=0)


def test_forward_of_the_head_does_not_synchronize(simulated):
    head = build(stacked_convs=1)
    feats = [torch.randn(2, 32, 128 // s, 128 // s) for s in (8, 16, 32, 64, 128)]
    expected = head(feats)
    with simulated.SimulatedDevice() as device, torch.no_grad():
        for module in head.modules():
            module._parameters = simulated.to_device(dict(module._parameters))
        found = head(simulated.to_device(feats))
    assert not device.synchronizations
    for ours, theirs in zip(sum(found, []), sum(expected, []), strict=True):
        torch.testing.assert_close(ours.host, theirs)


def test_the_simulated_device_rejects_mixed_devices_and_counts(simulated):
    with simulated.SimulatedDevice() as device:
        here, there = simulated.to_device(torch.arange(4.0)), torch.arange(4.0)
        with pytest.raises(RuntimeError, match='same device'):
            here + there
        with pytest.raises(RuntimeError, match='same device'):
            there[here.long()]
        assert (here + torch.tensor(1.0)).cpu().tolist() == [1, 2, 3, 4]
        device.reset()
        for wait in (
            lambda: here.sum().item(),
            lambda: bool(here.any()),
            lambda: here[here > 1],
            lambda: here.nonzero(),
            lambda: here.unique(),
            lambda: torch.equal(here, here),
            lambda: there.to(here.device),
            lambda: here.new_tensor([1.0]),
            lambda: here.cpu(),
            lambda: here.repeat_interleave(here.long()),
            lambda: here[torch.tensor([1])],
        ):
            before = sum(device.synchronizations.values())
            wait()
            assert sum(device.synchronizations.values()) == before + 1
        total = sum(device.synchronizations.values())
        for fine in (
            lambda: here.new_zeros(3),
            lambda: torch.ones(3, device=here.device),
            lambda: there.to(here.device, non_blocking=True),
            lambda: here[here.long()],
            lambda: here.long().repeat_interleave(here.long(), output_size=6),
        ):
            assert isinstance(fine(), simulated.SimulatedTensor)
        assert sum(device.synchronizations.values()) == total
        before = sum(device.operators.values())
        assert here.view(2, 2)[1:].T.shape == (2, 1)
        assert sum(device.operators.values()) == before
