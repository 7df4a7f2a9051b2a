"""What our command lines do with files not to be trusted, full disks, NaN and processes."""

import functools
import http.server
import importlib
import json
import os
import pickle
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdet_lla.datasets.crowd_generator import CrowdParams, build_dataset
from mmdet_lla.hooks.checkpoint_files import checkpoint_fault

ROOT = Path(__file__).resolve().parents[2]

CONFIG = '''
_base_ = '{root}/configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
data_root = '{crowd}/'
model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, base_channels=8,
                  norm_cfg=dict(type='GN', num_groups=4)),
    neck=dict(in_channels=[8, 16, 32, 64], start_level=1, out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1,
                   norm_cfg=dict(type='GN', num_groups=4)))
resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
load, boxes = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)
flip = dict(type='RandomFlip', prob=0.5)
pack = dict(type='PackDetInputs', meta_keys=(
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=[load, boxes, resize, flip, pack]))
val_dataloader = dict(
    batch_size=1, num_workers=0, persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=[load, resize, boxes, pack]))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotation_val.odgt')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1, val_interval=9)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01, weight_decay=0.))
randomness = dict(seed=1)
log_level = 'WARNING'
work_dir = 'work'
'''


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    folder = tmp_path_factory.mktemp('crowd')
    build_dataset(str(folder), 4, 3, CrowdParams(width=96, height=96), workers=1)
    return folder


@pytest.fixture
def scene(crowd, tmp_path, monkeypatch):
    """The current folder, with config.py."""
    (tmp_path / 'config.py').write_text(CONFIG.format(root=ROOT, crowd=crowd))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    monkeypatch.setattr(Config, 'pretty_text', property(str))
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')  # ours, and undone
    monkeypatch.setenv('LOCAL_RANK', '0')
    return tmp_path


@pytest.fixture
def call(scene, monkeypatch):
    def call(tool, *args):
        """Run a tool in this process; what it says at a bad end, else None."""
        monkeypatch.setattr(sys, 'argv', [tool, 'config.py', *args])
        loaders = ('test_dataloader', ) if tool == 'test.py' else ('train_dataloader', )
        try:
            importlib.import_module('_mmdet_tool').run(tool, loaders)
        except SystemExit as error:
            return str(error)
        return None

    return call


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path), )


@pytest.fixture
def evil(scene):
    """A checkpoint that makes a folder when it is unpickled."""
    torch.save(dict(meta={}, message_hub={}, state_dict=Evil(scene / 'made')), scene / 'evil.pth')
    return 'evil.pth'


@pytest.mark.slow
def test_no_tool_executes_a_pickle(call, scene, evil, monkeypatch):
    said = call('train.py', '--resume', evil)
    assert 'Cannot resume from evil.pth: it holds more than weights' in said
    monkeypatch.setenv('TORCH_HOME', str(scene / 'cache'))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(scene))
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for tool, args in (
            ('train.py', ['--cfg-options', f'load_from={evil}']),
            ('train.py', ['--cfg-options',
                          f'load_from=http://127.0.0.1:{server.server_port}/{evil}']),
            ('train.py', ['--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
                          f'model.backbone.init_cfg.checkpoint={evil}']),
            ('test.py', [evil]),
        ):
            with pytest.raises(Exception, match='[Ww]eights.only'):
                call(tool, *args)
        server.shutdown()
    assert not (scene / 'made').exists()
    pickle.loads(pickle.dumps(Evil(scene / 'made')))  # as it would have
    assert (scene / 'made').exists()


@pytest.mark.slow
def test_full_disk_and_nan_end_with_a_message(call, scene):
    assert call('train.py') is None
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = os.path.getsize('work/epoch_1.pth')
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        said = call('train.py', '--resume', '--cfg-options', 'train_cfg.max_epochs=3')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 'epoch_2.pth could not be written: File too large. The last good' in said
    assert 'epoch_1.pth; make room' in said
    assert checkpoint_fault('work/epoch_1.pth') is None and not list(scene.rglob('*.part'))
    assert call('train.py', '--resume', '--cfg-options', 'train_cfg.max_epochs=2') is None

    said = call('train.py', '--cfg-options', 'train_cfg.max_epochs=20', 'work_dir=wild',
                'optim_wrapper.optimizer.lr=1e20', 'optim_wrapper.clip_grad=None')
    assert 'Training stopped in iteration' in said and 'annotation' not in said
    assert 'first module with such an output: ' in said and '.jpg' in said and 'hint: ' in said
    dump, = (scene / 'wild').glob('non_finite_iter_*_rank_0.pth')
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools/replay_step.py'), 'config.py', str(dump)],
        capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    module = said.split('first module with such an output: ')[1].split('\n')[0]
    assert f'not finite: {module}' in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_two_processes_train_and_test_with_the_tools(call, scene):
    """The same losses and metrics from dist_train.sh and dist_test.sh as from one process."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore',
               PORT=str(20000 + os.getpid() % 20000),
               PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ['PATH'])

    def launch(script, *args):
        done = subprocess.run(['bash', str(ROOT / 'tools' / script), 'config.py', *args], env=env,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    launch('dist_train.sh', '2', '--work-dir', 'two', '--cfg-options',
           'train_dataloader.batch_size=1', 'train_dataloader.batch_sampler=None')
    assert call('train.py', '--work-dir', 'one', '--cfg-options',
                'train_dataloader.batch_sampler=None') is None
    one, two = (torch.load(f'{name}/epoch_1.pth', weights_only=True)['state_dict']
                for name in ('one', 'two'))
    for name, value in one.items():
        # float32, two steps; test_processes.py is the exact comparison
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=5e-5)
    launch('dist_test.sh', 'one/epoch_1.pth', '2', '--work-dir', 'tested_by_two')
    assert call('test.py', 'one/epoch_1.pth', '--work-dir', 'tested_by_one') is None
    results = [json.loads(next(Path(f'tested_by_{name}').glob('*/*.json')).read_text())
               for name in ('one', 'two')]
    for key in ('crowd_human/mAP', 'crowd_human/mMR', 'crowd_human/JI'):
        assert results[0][key] == results[1][key]
