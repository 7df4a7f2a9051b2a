"""Checkpoints of mmengine load, and other pickles do not."""

import os
import pickle
from types import SimpleNamespace

import pytest
import torch
from mmengine.dist import utils as dist_utils
from mmengine.hooks import LoggerHook
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_lla.compat import apply, hand_batches, mmengine_log_allowed


@pytest.fixture
def patched():
    """The patches, which stay; the safe globals only for this test."""
    before = torch.serialization.get_safe_globals()
    apply.cache_clear()
    apply()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def test_training_log_of_mmengine_survives(tmp_path):
    history = HistoryBuffer([3.0, 1.0, 2.0], [1, 1, 1])
    torch.save(dict(loss=history), tmp_path / 'checkpoint.pth')
    before = torch.serialization.get_safe_globals()
    with mmengine_log_allowed():
        loaded = torch.load(tmp_path / 'checkpoint.pth', weights_only=True)['loss']
    assert set(torch.serialization.get_safe_globals()) == set(before)
    assert isinstance(loaded, HistoryBuffer)
    assert (loaded.min(), loaded.mean(), loaded.current()) == (1.0, 2.0, 2.0)


class Call:
    """An object that is pickled as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'content',
    [
        Call(os.system, 'true'),
        Call(getattr, os, 'system'),
        Call(getattr, HistoryBuffer, '__init__'),
        Call(getattr, HistoryBuffer, '__reduce__'),
        Call(eval, '1'),
    ],
    ids=['os.system', 'getattr of a module', '__init__', '__reduce__', 'eval'],
)
def test_other_pickles_are_rejected(tmp_path, content):
    try:
        torch.save(dict(loss=content), tmp_path / 'checkpoint.pth')
    except (pickle.PicklingError, TypeError) as error:
        # A module cannot be pickled by value: name it the way an attacker would.
        assert 'module' in str(error)
        content = Call(getattr, os.path.join, '__globals__')
        torch.save(dict(loss=content), tmp_path / 'checkpoint.pth')
    with pytest.raises(pickle.UnpicklingError), mmengine_log_allowed():
        torch.load(tmp_path / 'checkpoint.pth', weights_only=True)


def test_mmengine_loads_only_safe_checkpoints(patched, tmp_path):
    """Also on mmengine's maintained fork, which bypasses torch's check by itself."""
    log, run = tmp_path / 'log.pth', tmp_path / 'run'
    torch.save(dict(loss=HistoryBuffer([3.0, 1.0], [1, 1])), log)
    torch.save(dict(loss=Call(os.mkdir, str(run))), tmp_path / 'evil.pth')
    for _ in range(2):
        assert CheckpointLoader.load_checkpoint(str(log), 'cpu')['loss'].mean() == 2.0
        with pytest.raises(pickle.UnpicklingError, match='mkdir'):
            CheckpointLoader.load_checkpoint(str(tmp_path / 'evil.pth'), 'cpu')
        assert not run.exists()
        torch.load(log, weights_only=True)


@pytest.mark.parametrize('skips', ['one by one', 'at once', 'not at all'])
def test_loop_gets_the_batches_that_it_has_not_trained_on(skips):
    """With the ways in which the loops of mmengine and its fork skip batches."""
    old = iter(()) if skips == 'one by one' else SimpleNamespace(skip_iter=lambda num_iters: None)
    loop = SimpleNamespace(dataloader_iterator=old)
    hand_batches(loop, iter('de'), done=3)
    if skips == 'one by one':
        for _ in range(3):
            next(loop.dataloader_iterator)
    elif skips == 'at once':
        loop.dataloader_iterator.skip_iter(3)
    assert list(loop.dataloader_iterator) == ['d', 'e']


@pytest.mark.parametrize('rank, written', [(0, ['now.json']), (1, [])])
def test_one_process_writes_the_metrics(patched, monkeypatch, tmp_path, rank, written):
    monkeypatch.setattr(dist_utils, 'get_rank', lambda group=None: rank)
    runner = SimpleNamespace(
        log_dir=str(tmp_path),
        test_dataloader=[],
        logger=SimpleNamespace(info=lambda printed: None),
        log_processor=SimpleNamespace(
            get_log_after_epoch=lambda *args, **kwargs: ({'AP': 0.5}, 'AP: 0.5')
        ),
    )
    hook = LoggerHook()
    hook.json_log_path = 'now.json'
    hook.after_test_epoch(runner)
    assert [path.name for path in tmp_path.iterdir()] == written
