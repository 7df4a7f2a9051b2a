"""`assign` needs torch and NumPy only, and gives the results of LLAAssigner and the reference."""

import sys
from pathlib import Path

import pytest
import torch
from golden import ASSIGN, expected_gt_inds, load, predicted_boxes, split_boxes
from mmengine.structures import InstanceData
from programs import run_program

from mmdet_lla.assigners import LLAAssigner, assign
from mmdet_lla.assigners.reference import assign_reference

from .scenes import make_scene

ROOT = Path(__file__).parents[2]

#: Makes Python find none of OpenMMLab's packages, as where they are not installed.
WITHOUT_MMDET = """
import sys
from importlib.machinery import PathFinder
absent = ('mmengine', 'mmcv', 'mmdet')
class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split('.')[0] in absent else super().find_spec(name, path, target)
sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""


@pytest.mark.parametrize('name', [name for name in ASSIGN if name != 'assign_all_ignored'])
def test_images_and_batches_are_assigned_as_by_the_reference_code(name):
    z = load(name)
    gts, ignored = split_boxes(z['gt_bboxes'], z['gt_labels'])
    preds, settings = predicted_boxes(z), dict(topk=int(z['topk']), reg_weight=float(z['reg_cost']))
    expected = expected_gt_inds(z['assigned'], z['gt_labels'])
    inputs = z['points'], preds, z['cls_logits'], gts.bboxes, gts.labels, ignored.bboxes
    assert torch.equal(assign(*inputs, **settings).gt_inds, expected)
    twice = [inputs[0], *(torch.stack([one, one]) for one in inputs[1:3])]
    found = assign(*twice, *([one, one] for one in inputs[3:]), **settings)
    assert found.num_gts == [len(gts)] * 2 and torch.equal(found.gt_inds, expected.expand(2, -1))


@pytest.mark.parametrize('seed', range(8))
def test_the_reference_decides_the_same(seed):
    scene = make_scene(seed, 'points', 12, 3, 2.0, 40.0)
    names = ('points', 'preds', 'scores', 'boxes', 'classes')
    expected = assign_reference(*(scene[name] for name in names))
    assert expected.any() and torch.equal(
        assign(*(scene[name] for name in names)).gt_inds, expected
    )


def test_settings_equal_the_assigner():
    scene = make_scene(5, 'anchors', 12, 2, 2.0, 40.0)
    settings = dict(topk='dynamic', contested='picked', cls_cost='bce')
    inputs = {name: scene[name] for name in ('priors', 'preds', 'scores', 'boxes', 'classes')}
    pred = InstanceData(priors=scene['priors'], bboxes=scene['preds'], scores=scene['scores'])
    gts = InstanceData(bboxes=scene['boxes'], labels=scene['classes'])
    expected = LLAAssigner(**settings).assign(pred, gts)
    found = assign(*inputs.values(), **settings)
    assert torch.equal(found.gt_inds, expected.gt_inds) and found.num_gts == 12
    with pytest.raises(ValueError, match="has no 'topK', did you mean 'topk'"):
        assign(*inputs.values(), topK=5)
    with pytest.raises(ValueError, match=r'^assign: gt_bboxes holds a box with x2 < x1'):
        assign(*list(inputs.values())[:3], scene['boxes'][:, [2, 3, 0, 1]] - 1, scene['classes'])


def test_the_example_trains_without_mmdet():
    code = WITHOUT_MMDET + (
        'import runpy\n'
        f'losses = runpy.run_path({str(ROOT / "examples/train_plain_torch.py")!r})["main"]'
        "(['--iters', '80'])\n"
        'assert sum(losses[-10:]) < 0.5 * sum(losses[:10]), losses\n'
        'assert not [name for name in sys.modules if name.split(".")[0] in absent]\n'
        'import mmdet_lla.assigners\n'
        'try:\n    mmdet_lla.assigners.LLAAssigner\n'
        'except ModuleNotFoundError as error:\n    print(error.name)\n'
    )
    done = run_program(sys.executable, '-c', code, cwd=ROOT)
    assert done.stdout.splitlines()[-1] in ('mmdet', 'mmcv', 'mmengine')
