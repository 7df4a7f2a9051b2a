"""AssignmentHook logs and draws assignments, and does not change the training."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_crowd import make_crowd, tiny_config

from mmdet_lla.analysis.assignment_stats import compute_candidates
from mmdet_lla.analysis.recording import record_assignments
from mmdet_lla.hooks import AssignmentHook


class Witness(Hook):
    """Record losses and, independently, the assignments."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.losses, self.steps = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.context = record_assignments(runner.model.bbox_head)
        self.calls = self.context.__enter__()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.context.__exit__(None, None, None)
        self.losses.append({name: float(value) for name, value in outputs.items()})
        self.steps.append(list(self.calls))


@pytest.fixture(scope='module')
def directory(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp('assignment_hook')
    make_crowd(directory)
    return directory


def train(
    directory: Path, name: str, head: str = 'lla', hook: dict = None, epochs: int = 1, **changes
) -> tuple[Runner, Witness]:
    cfg = tiny_config(directory, head)
    cfg.merge_from_dict(
        dict(
            work_dir=str(directory / name),
            experiment_name=f'{directory.name}-{name}-{epochs}',
            train_cfg=dict(max_epochs=epochs),
            **changes,
        )
    )
    cfg.visualizer.name = cfg.experiment_name  # there is one visualizer a name
    if hook is not None:
        cfg.custom_hooks = [dict(type='AssignmentHook', **hook)]
    runner, witness = Runner.from_cfg(cfg), Witness()
    runner.register_hook(witness)
    runner.train()
    return runner, witness


def scalars(runner: Runner) -> dict[int, dict[str, float]]:
    """Return the values that the hook wrote to the visualizer's files, by step."""
    path = Path(runner.work_dir) / runner.timestamp / 'vis_data/scalars.json'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        line['step']: {name: value for name, value in line.items() if name != 'step'}
        for line in lines
        if 'assign/priors_per_gt' in line
    }


@pytest.mark.parametrize('head', ['lla', 'yolox'])
def test_training_is_the_same_with_and_without_the_hook(directory, head):
    hook = dict(interval=1, draw_interval=2, draw_at=[1], num_images=1)
    plain_run, plain = train(directory, f'{head}-plain', head)
    watched_run, watched = train(directory, f'{head}-watched', head, hook)
    assert len(plain.losses) == 3 and plain.losses == watched.losses
    states = (run.model.state_dict() for run in (plain_run, watched_run))
    for (name, value), other in zip(
        *(s.items() if i == 0 else s.values() for i, s in enumerate(states)), strict=True
    ):
        assert torch.equal(value, other), name
    assert list(scalars(watched_run)) == [1, 2, 3]


def test_scalars_are_means_since_the_last_log(directory):
    runner, witness = train(
        directory,
        'values',
        hook=dict(interval=2),
        visualizer=dict(
            vis_backends=[dict(type=f'{kind}VisBackend') for kind in ('Local', 'Tensorboard')]
        ),
    )
    found = scalars(runner)
    assert list(found) == [2, 3]  # the third step stood alone at the end
    for step, calls in ((2, witness.steps[0] + witness.steps[1]), (3, witness.steps[2])):
        taken = [
            (call.result.gt_inds == 1 + i).sum().item()
            for call in calls
            for i in range(len(call.gt_instances))
        ]
        levels = torch.cat([call.levels[call.result.gt_inds > 0] for call in calls])
        ious = torch.cat([call.result.max_overlaps[call.result.gt_inds > 0] for call in calls])
        values = {name.split('/')[1]: value for name, value in found[step].items()}
        expected = dict(
            priors_per_gt=np.mean(taken),
            gts_without_prior=np.mean(np.array(taken) == 0),
            positives_per_image=sum(taken) / len(calls),
            pred_iou=ious.mean().item(),
            **{f'level_{i}': (levels == i).float().mean().item() for i in range(5)},
        )
        assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-5)
        assert 0 <= values['outside'] <= 1
        if step == 2:
            last = [
                (call.result.gt_inds > 0, compute_candidates(call).sum(0) > 1)
                for call in witness.steps[1]
            ]
            assert values['contested'] == pytest.approx(
                sum((a & b).sum().item() for a, b in last) / sum(a.sum().item() for a, _ in last)
            )
    runner.visualizer.close()
    board = EventAccumulator(f'{runner.work_dir}/{runner.timestamp}/vis_data').Reload()
    assert [(event.step, event.value) for event in board.Scalars('assign/outside')] == [
        (step, pytest.approx(values['assign/outside'])) for step, values in found.items()
    ]
    hub = runner.message_hub.get_scalar('assign/priors_per_gt')
    assert hub.current() == found[3]['assign/priors_per_gt']


def test_images_are_drawn_after_the_selected_updates(directory):
    runner, _ = train(directory, 'images', hook=dict(draw_at=[0, 2, 3], num_images=2))
    images = Path(runner.work_dir) / runner.timestamp / 'vis_data/vis_image'
    steps = sorted(
        (name[: -len(step) - 1], int(step))
        for name, step in ((path.stem, path.stem.rsplit('_', 1)[1]) for path in images.iterdir())
    )
    names = sorted({name for name, _ in steps})
    assert len(names) == 2 and steps == [(name, step) for name in names for step in (0, 2, 3)]
    first, last = (cv2.imread(str(images / f'{names[0]}_{step}.png')) for step in (0, 3))
    assert first.shape == last.shape and (first != last).any()


def test_a_resumed_training_continues_the_count(directory):
    train(directory, 'resumed', hook=dict(interval=3))
    runner, witness = train(
        directory, 'resumed', hook=dict(interval=3, draw_at=[0, 4]), epochs=2, resume=True
    )
    assert len(witness.losses) == 3
    assert list(scalars(runner)) in ([6], [3, 6])  # both, where they began in the same second
    images = Path(runner.work_dir) / runner.timestamp / 'vis_data/vis_image'
    assert {path.stem.rsplit('_', 1)[1] for path in images.iterdir()} == {'4'}


@pytest.mark.parametrize(
    'name, value',
    [
        ('interval', 0),
        ('draw_interval', 0),
        ('num_images', 0),
        ('draw_at', [-1]),
        ('draw_at', [1.5]),
        ('split', 'test'),
    ],
)
def test_bad_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=f'AssignmentHook: {name}|AssignmentHook: .*{value}'):
        AssignmentHook(**{name: value})


def test_detectors_without_assigner_and_old_arguments():
    runner = SimpleNamespace(model=torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match='AssignmentHook: .*Linear.*no assigner'):
        AssignmentHook().before_train(runner)
    with pytest.warns(DeprecationWarning, match='num_pictures is now num_images'):
        assert AssignmentHook(num_pictures=3).num_images == 3
    with pytest.raises(TypeError, match="no argument 'numbers'"):
        AssignmentHook(numbers=3)
