"""Checkpoints of mmengine load, and nothing beyond what they need does."""

import os
import pickle

import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer


def test_training_log_of_mmengine_survives(tmp_path):
    history = HistoryBuffer([3., 1., 2.], [1, 1, 1])
    torch.save(dict(loss=history), tmp_path / 'checkpoint.pth')
    loaded = torch.load(tmp_path / 'checkpoint.pth', weights_only=True)['loss']
    assert isinstance(loaded, HistoryBuffer)
    assert (loaded.min(), loaded.mean(), loaded.current()) == (1., 2., 2.)


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('content', [
    Call(os.system, 'true'),
    Call(getattr, os, 'system'),
    Call(getattr, HistoryBuffer, '__init__'),
    Call(getattr, HistoryBuffer, '__reduce__'),
    Call(eval, '1'),
], ids=['os.system', 'getattr of a module', '__init__', '__reduce__', 'eval'])
def test_anything_else_is_refused(tmp_path, content):
    try:
        torch.save(dict(loss=content), tmp_path / 'checkpoint.pth')
    except (pickle.PicklingError, TypeError) as error:
        # A module cannot be pickled by value: name it the way an attacker would.
        assert 'module' in str(error)
        content = Call(getattr, os.path.join, '__globals__')
        torch.save(dict(loss=content), tmp_path / 'checkpoint.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'checkpoint.pth', weights_only=True)
