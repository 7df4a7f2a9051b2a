"""A resumed training equals one that was never interrupted, in every bit."""

import itertools

import pytest
import torch
from mmengine.hooks import Hook
from test_hooks.toy import Numbers, make_runner


class Stop(Exception):
    pass


class StopAt(Hook):
    """Breaks off before an iteration."""

    priority = 'LOWEST'

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            raise Stop


names = (f'toy_{i}' for i in itertools.count())


def weights(runner):
    return torch.cat([value.flatten() for value in runner.model.state_dict().values()])


def run(folder, stop_at=None, resume=False, **kwargs):
    runner = make_runner(folder, next(names), resume=resume, **kwargs)
    if stop_at is not None:
        runner.register_hook(StopAt(stop_at))
        with pytest.raises(Stop):
            runner.train()
    else:
        runner.train()
    return runner


EPOCHS = dict(max_epochs=4)
WITHIN = dict(max_epochs=4, interval=1, checkpoint=dict(by_epoch=False))
ITERATIONS = dict(max_iters=17, interval=1)


@pytest.mark.parametrize(
    'training, stop_at, workers',
    [
        (EPOCHS, 9, 0),
        (EPOCHS, 8, 0),
        (WITHIN, 8, 0),
        (WITHIN, 1, 0),
        (ITERATIONS, 5, 0),
        (ITERATIONS, 12, 0),
        (dict(ITERATIONS, sampler='InfiniteSampler'), 14, 0),
        (dict(ITERATIONS, sampler='InfiniteSampler', batch_sampler=None), 14, 0),
        (WITHIN, 5, 1),
        (ITERATIONS, 14, 1),
    ],
)
def test_resumed_training_is_the_same(tmp_path, training, stop_at, workers):
    whole = run(tmp_path / 'whole', workers=workers, **training)
    run(tmp_path / 'cut', stop_at=stop_at, workers=workers, **training)
    resumed = run(tmp_path / 'cut', resume=True, workers=workers, **training)
    assert torch.equal(weights(resumed), weights(whole))
    begin = len(whole.model.seen) - len(resumed.model.seen)
    assert begin > 0 and resumed.model.seen == whole.model.seen[begin:]


def test_augmentation_is_the_same_with_and_without_workers(tmp_path):
    seen = [
        run(tmp_path / str(workers), workers=workers, **EPOCHS).model.seen for workers in (0, 2)
    ]
    assert seen[0] == seen[1]


def test_augmentation_and_order_change_from_epoch_to_epoch(tmp_path):
    seen = run(tmp_path, **EPOCHS).model.seen
    noise, order = {}, []
    for indices, inputs in seen:
        order.append(indices)
        for index, (_, value) in zip(indices, inputs, strict=True):
            noise.setdefault(index, []).append(value)
    assert len(noise) == 10
    assert all(len(set(values)) == 4 for values in noise.values())
    assert order[:4] != order[4:8]


def test_every_epoch_holds_every_picture_once(tmp_path):
    seen = run(tmp_path, stop_at=9, **ITERATIONS).model.seen
    seen += run(tmp_path, resume=True, **ITERATIONS).model.seen
    for epoch in range(4):
        indices = sum((batch for batch, _ in seen[4 * epoch : 4 * epoch + 4]), [])
        assert sorted(indices) == list(range(10))


def test_order_follows_the_seed_of_the_checkpoint(tmp_path):
    """A config without a seed draws one, which must outlive the interruption."""
    cut = run(tmp_path, stop_at=9, seed=None, **EPOCHS)
    resumed = run(tmp_path, resume=True, seed=None, **EPOCHS)
    assert resumed.seed == cut.seed
    whole = run(tmp_path / 'whole', seed=cut.seed, **EPOCHS)
    assert torch.equal(weights(resumed), weights(whole))


def test_pictures_trained_on_are_not_read_again(tmp_path, monkeypatch):
    run(tmp_path, stop_at=13, **ITERATIONS)
    runner = make_runner(tmp_path, next(names), resume=True, **ITERATIONS)
    read, prepare = [], Numbers.prepare_data
    monkeypatch.setattr(Numbers, 'prepare_data', lambda self, i: read.append(i) or prepare(self, i))
    runner.train()
    trained = sum((batch for batch, _ in runner.model.seen), [])
    assert len(runner.model.seen) == 4 and read == trained


def test_changed_data_set_goes_on_at_an_epoch(tmp_path):
    run(tmp_path, stop_at=6, **WITHIN)
    resumed = run(tmp_path, resume=True, size=20, **WITHIN)
    assert sorted(sum((batch for batch, _ in resumed.model.seen[:7]), [])) == list(range(20))


def test_no_batch_at_all_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='2 pictures make no batch'):
        run(
            tmp_path,
            size=2,
            batch_sampler=dict(type='AspectRatioBatchSampler', drop_last=True),
            **EPOCHS,
        )
