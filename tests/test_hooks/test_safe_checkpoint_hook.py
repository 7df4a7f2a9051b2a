"""Checkpoints are complete or absent, and a damaged one is detected, named and skipped."""

import errno
import itertools
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import BaseLoop
from test_hooks.toy import make_runner

from mmdet_lla.hooks import CheckpointError, SafeCheckpointHook
from mmdet_lla.hooks.checkpoint_files import AtomicBackend, checkpoint_fault

names = (f'safe_{i}' for i in itertools.count())


@HOOKS.register_module()
class Count(Hook):
    """Leaves a number of numpy's in the message hub, as metrics do."""

    def after_train_iter(self, runner, *args, **kwargs):
        runner.message_hub.update_info('count', np.int64(runner.iter + 1))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Return a work directory of three epochs with a checkpoint each."""
    directory = tmp_path_factory.mktemp('trained')
    make_runner(directory, next(names), max_epochs=3, interval=1).train()
    return directory


@pytest.fixture
def directory(trained, tmp_path):
    """A copy of it whose last_checkpoint names the copy."""
    for path in sorted(trained.glob('*.pth'), key=os.path.getmtime):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        os.utime(tmp_path / path.name, (path.stat().st_atime, path.stat().st_mtime))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    return tmp_path


def resumed(directory, **kwargs):
    """Return the path that a training resumes from, and its warnings."""
    runner = make_runner(directory, next(names), max_epochs=4, resume=True, **kwargs)
    printed = []
    runner.logger.warning = printed.append
    hook = next(hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook))
    hook.before_run(runner)
    return runner._load_from, runner._resume, ' '.join(printed)


def test_checkpoints_load_in_any_process_and_keep_their_log(tmp_path):
    """Averages, a best one and numbers of numpy's included."""
    hooks = [dict(type='EMAHook')]
    runner = make_runner(
        tmp_path,
        next(names),
        max_epochs=2,
        interval=1,
        custom_hooks=hooks,
        hooks=dict(count=dict(type='Count')),
    )
    runner.train()
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        held = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    finally:
        torch.serialization.add_safe_globals(allowed)
    assert held['message_hub']['runtime_info']['count'] == 8
    log = runner.message_hub.log_scalars
    again = make_runner(
        tmp_path, next(names), max_epochs=2, interval=1, custom_hooks=hooks, resume=True
    )
    again.train()  # nothing is left to do
    for name, scalar in log.items():
        values, counts = again.message_hub.log_scalars[name].data
        assert len(values) == len(scalar.data[0]) > 0
        assert (values == scalar.data[0]).all() and (counts == scalar.data[1]).all(), name


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def test_last_checkpoint_is_taken(directory):
    assert resumed(directory) == (str(directory / 'epoch_3.pth'), True, '')


@pytest.mark.parametrize('size', [0, 1, 1000, -1000, -1])
def test_torn_checkpoint_is_named_and_the_one_before_used(directory, size):
    cut(directory / 'epoch_3.pth', size)
    path, resume, printed = resumed(directory)
    assert (path, resume) == (str(directory / 'epoch_2.pth'), True)
    assert f'Cannot resume from {directory}/epoch_3.pth: it is cut off' in printed
    assert f'Going on from {directory}/epoch_2.pth' in printed


def test_damage_inside_is_noticed(directory):
    size = (directory / 'epoch_3.pth').stat().st_size
    whole = (directory / 'epoch_3.pth').read_bytes()
    noticed = 0
    for place in range(0, size, size // 50):
        (directory / 'epoch_3.pth').write_bytes(whole)
        flip(directory / 'epoch_3.pth', place)
        noticed += checkpoint_fault(directory / 'epoch_3.pth') is not None
    # The rest is padding between the parts of the file.
    assert noticed >= 10
    where = whole.index(b'epoch')
    (directory / 'epoch_3.pth').write_bytes(whole)
    flip(directory / 'epoch_3.pth', where)
    assert resumed(directory)[0] == str(directory / 'epoch_2.pth')


def test_last_checkpoint_that_names_a_missing_file(directory):
    (directory / 'epoch_3.pth').unlink()
    path, _, printed = resumed(directory)
    assert path == str(directory / 'epoch_2.pth') and 'epoch_3.pth: it does not exist' in printed


@pytest.mark.parametrize('content', [None, ''])
def test_without_last_checkpoint_the_newest_is_taken(directory, content):
    (directory / 'last_checkpoint').unlink()
    if content is not None:
        (directory / 'last_checkpoint').write_text(content)
    assert resumed(directory)[0] == str(directory / 'epoch_3.pth')


def test_all_torn_is_an_error_and_none_a_new_start(directory):
    for path in directory.glob('*.pth'):
        cut(path, 100)
    with pytest.raises(CheckpointError, match='epoch_3.pth(.|\n)*epoch_1.pth(.|\n)*No whole'):
        resumed(directory)
    for path in directory.iterdir():
        if path.is_file():
            path.unlink()
    assert resumed(directory) == (None, False, '')


def test_torn_checkpoint_that_was_asked_for_is_an_error(directory):
    cut(directory / 'epoch_2.pth', 500)
    with pytest.raises(CheckpointError, match='epoch_2.pth: it is cut off.*beside it is .*epoch_3'):
        resumed(directory, load_from=str(directory / 'epoch_2.pth'))


def test_weights_alone_are_no_checkpoint_to_resume(directory):
    torch.save(dict(state_dict={}), directory / 'epoch_3.pth')
    assert 'it has no meta, message_hub, meta.epoch, meta.iter' in resumed(directory)[2]


def test_any_damage_to_the_directory_of_a_checkpoint_is_no_traceback(directory):
    """A bit of it may ask for a decompression that stumbles."""
    path = directory / 'epoch_3.pth'
    whole, faults = path.read_bytes(), 0
    entry = whole.index(b'PK\x01\x02')
    while entry >= 0:
        for method in (8, 12, 14, 99):  # deflate, bzip2, LZMA, none
            path.write_bytes(whole[: entry + 10] + bytes([method]) + whole[entry + 11 :])
            faults += checkpoint_fault(path) is not None
        entry = whole.find(b'PK\x01\x02', entry + 1)
    assert faults > 20
    assert resumed(directory)[0] == str(directory / 'epoch_2.pth')


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ['EVIL'],)


def test_foreign_classes_are_rejected_and_not_executed(directory, monkeypatch):
    monkeypatch.setenv('EVIL', str(directory / 'evil'))
    torch.save(dict(meta={}, state_dict={}, message_hub=Evil()), directory / 'epoch_3.pth')
    path, _, printed = resumed(directory)
    assert (
        path == str(directory / 'epoch_2.pth') and 'more than tensors and plain values' in printed
    )
    with open(directory / 'epoch_3.pth', 'wb') as file:  # the format before zip files
        pickle.dump(Evil(), file)
    assert resumed(directory)[0] == str(directory / 'epoch_2.pth')
    assert not (directory / 'evil').exists()


def test_code_in_a_checkpoint_is_not_executed(directory):
    """``Runner.resume`` executes meta.config, which mmengine never writes."""
    state = torch.load(directory / 'epoch_3.pth', weights_only=True)
    state['meta']['config'] = f'import os\nos.mkdir({str(directory / "evil")!r})'
    torch.save(state, directory / 'epoch_3.pth')
    runner = make_runner(directory, next(names), max_epochs=4, resume=True)
    runner.train()
    assert runner.epoch == 4 and not (directory / 'evil').exists()


def test_full_disk_ends_with_a_message_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    written = []

    def fsync(fd):
        written.append(fd)
        if len(written) > 9:  # two a file, and one a directory; two files a checkpoint
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fsync)
    runner = make_runner(
        tmp_path, next(names), max_epochs=5, interval=1, checkpoint=dict(max_keep_ckpts=2)
    )
    with pytest.raises(
        CheckpointError,
        match=(
            r'epoch_3.pth could not be written: No space left on device. The last good '
            r'checkpoint is .*epoch_2.pth; make room and go on with --resume'
        ),
    ):
        runner.train()
    assert checkpoint_fault(tmp_path / 'epoch_2.pth') is None
    assert not list(tmp_path.glob('*.part'))
    monkeypatch.undo()
    make_runner(
        tmp_path,
        next(names),
        max_epochs=5,
        interval=1,
        resume=True,
        checkpoint=dict(max_keep_ckpts=2),
    ).train()
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_4.pth', 'epoch_5.pth']


def test_outdated_checkpoints_are_removed_after_the_new_one_is_written(tmp_path, monkeypatch):
    there = []
    remove = LocalBackend.remove
    monkeypatch.setattr(
        LocalBackend,
        'remove',
        lambda self, path: (
            there.append(sorted(p.name for p in tmp_path.glob('*.pth'))) or remove(self, path)
        ),
    )
    make_runner(
        tmp_path, next(names), max_epochs=4, interval=1, checkpoint=dict(max_keep_ckpts=2)
    ).train()
    assert there == [
        ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'],
        ['epoch_2.pth', 'epoch_3.pth', 'epoch_4.pth'],
    ]
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_4.pth')


@LOOPS.register_module()
class Scores(BaseLoop):
    """A validation that returns given scores."""

    def __init__(self, runner, dataloader, evaluator, scores):
        self._runner, self.dataloader, self.scores = runner, dataloader, scores

    def run(self):
        metrics = {name: values[self.runner.epoch - 1] for name, values in self.scores.items()}
        self.runner.call_hook('after_val_epoch', metrics=metrics)


ACCURACY, LOSS = [0.3, 0.5, 0.4, 0.6], [4.0, 3.0, 5.0, 2.0]
SCORES = dict(acc=ACCURACY, loss=LOSS)


def validated(directory, scores, **kwargs):
    return make_runner(
        directory,
        next(names),
        max_epochs=4,
        interval=1,
        size=3,
        val_dataloader={},
        val_evaluator={},
        val_cfg=dict(type='Scores', scores=scores),
        checkpoint=dict(max_keep_ckpts=2, save_best=list(scores)),
        **kwargs,
    )


class Killed(BaseException):
    pass


def die_at(monkeypatch, moment):
    """Die in place of the ``moment``-th time that a file is written, named or removed."""
    left = iter(range(moment, -1, -1))

    def mortal(do):
        def call(*args):
            if not next(left):
                raise Killed
            return do(*args)

        return call

    monkeypatch.setattr(os, 'fsync', mortal(lambda file: None))
    monkeypatch.setattr(os, 'replace', mortal(os.replace))
    monkeypatch.setattr(LocalBackend, 'remove', mortal(LocalBackend.remove))


def best_files(directory):
    return {path.name for path in directory.glob('best_*.pth')}


@pytest.mark.slow
def test_a_complete_best_checkpoint_exists_at_every_moment(tmp_path, monkeypatch):
    for moment in itertools.count(1):
        directory = tmp_path / str(moment)
        with monkeypatch.context() as patch:
            die_at(patch, moment)
            try:
                validated(directory, SCORES).train()
            except Killed:
                pass
            else:
                break
        found = best_files(directory)
        assert all(checkpoint_fault(directory / name) is None for name in found)
        assert len(found) <= 2 * len(SCORES)
        if not (directory / 'last_checkpoint').exists():
            continue
        last = torch.load((directory / 'last_checkpoint').read_text(), weights_only=True)
        known = {
            os.path.basename(path)
            for name, path in last['message_hub']['runtime_info'].items()
            if name.startswith('best_ckpt')
        }
        assert known <= found
        if last['meta']['epoch'] > 1:  # every metric has found a best one by then
            assert len(known) == len(SCORES)
        if moment % 7 == 0 and last['meta']['epoch'] < 4:
            validated(directory, SCORES, resume=True).train()
            assert {f'best_{name}_epoch_4.pth' for name in SCORES} <= best_files(directory)
    assert moment > 30
    assert best_files(directory) == {f'best_{name}_epoch_4.pth' for name in SCORES}


def test_a_best_checkpoint_that_cannot_be_written(tmp_path, monkeypatch):
    put = AtomicBackend.put

    def full(self, obj, path):
        if 'best_acc_epoch_2' in str(path):
            raise OSError(errno.ENOSPC, 'No space left on device')
        put(self, obj, path)

    monkeypatch.setattr(AtomicBackend, 'put', full)
    with pytest.raises(
        CheckpointError,
        match='best checkpoint could not be written: No space left '
        'on device. The last good checkpoint is .*/epoch_2.pth; make room',
    ):
        validated(tmp_path, dict(acc=ACCURACY)).train()
    assert checkpoint_fault(tmp_path / 'best_acc_epoch_1.pth') is None


def test_resuming_from_a_best_checkpoint_is_not_exact(tmp_path):
    validated(tmp_path, dict(acc=ACCURACY)).train()
    printed = []
    runner = validated(
        tmp_path, dict(acc=ACCURACY), resume=True, load_from=str(tmp_path / 'best_acc_epoch_4.pth')
    )
    runner.logger.warning = printed.append
    runner.train()
    assert "has no ['optimizer', 'param_schedulers'], which start anew" in ' '.join(printed)


def test_one_checkpoint_is_too_few():
    with pytest.raises(ValueError, match='at least 2, got 1'):
        SafeCheckpointHook(max_keep_ckpts=1)


def test_checkpoints_are_written_to_out_dir(tmp_path):
    kwargs = dict(interval=1, checkpoint=dict(out_dir=str(tmp_path / 'far')))
    make_runner(tmp_path / 'near', next(names), max_epochs=2, **kwargs).train()
    path = tmp_path / 'far' / 'near' / 'epoch_2.pth'
    assert path.is_file() and (tmp_path / 'near' / 'last_checkpoint').read_text() == str(path)
    cut(path, 10)
    assert resumed(tmp_path / 'near', **kwargs)[0] == str(path.with_name('epoch_1.pth'))
