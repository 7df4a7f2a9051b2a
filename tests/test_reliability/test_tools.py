"""Commands with untrusted files, full disks, NaN and several processes."""

import functools
import http.server
import importlib
import json
import os
import pickle
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdet_lla.cli import test, train
from mmdet_lla.hooks.checkpoint_files import checkpoint_fault
from mmdet_lla.synthetic import CrowdParams, build_dataset

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
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
"""


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    directory = tmp_path_factory.mktemp('crowd')
    build_dataset(str(directory), 4, 3, CrowdParams(width=96, height=96), workers=1)
    return directory


@pytest.fixture
def scene(crowd, tmp_path, monkeypatch):
    """The current directory, with config.py."""
    (tmp_path / 'config.py').write_text(CONFIG.format(root=ROOT, crowd=crowd))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(str))
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')  # ours, and undone
    monkeypatch.setenv('LOCAL_RANK', '0')
    return tmp_path


@pytest.fixture
def call(scene, capsys):
    def call(tool, *args):
        """Run a command in this process; its message if it failed, else None."""
        capsys.readouterr()
        command = test if tool == 'test.py' else train
        return capsys.readouterr().err if command.main(['config.py', *args]) else None

    return call


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def evil(scene):
    """A checkpoint that makes a directory when it is unpickled."""
    torch.save(dict(meta={}, message_hub={}, state_dict=Evil(scene / 'made')), scene / 'evil.pth')
    return 'evil.pth'


@pytest.mark.slow
def test_no_tool_executes_a_pickle(call, scene, evil, monkeypatch):
    output = call('train.py', '--resume', evil)
    assert 'Cannot resume from evil.pth: ' in output and 'more than tensors' in output
    monkeypatch.setenv('TORCH_HOME', str(scene / 'cache'))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(scene))
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for tool, args in (
            ('train.py', ['--cfg-options', f'load_from={evil}']),
            (
                'train.py',
                ['--cfg-options', f'load_from=http://127.0.0.1:{server.server_port}/{evil}'],
            ),
            (
                'train.py',
                [
                    '--cfg-options',
                    'model.backbone.init_cfg.type=Pretrained',
                    f'model.backbone.init_cfg.checkpoint={evil}',
                ],
            ),
            ('test.py', [evil]),
        ):
            with pytest.raises(Exception, match='[Ww]eights.only'):
                call(tool, *args)
        server.shutdown()
    assert not (scene / 'made').exists()
    pickle.loads(pickle.dumps(Evil(scene / 'made')))  # as it would have
    assert (scene / 'made').exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    'command, args',
    [
        ('predict', ['evil.pth', 'IMAGE']),
        ('predict', ['config.py', 'IMAGE', '--weights', 'evil.pth']),
        ('export', ['evil.pth', 'a.onnx']),
        ('publish', ['evil.pth']),
        ('convert_checkpoint', ['evil.pth', 'b.pth', '--config', 'config.py']),
        ('browse_assignments', ['config.py', 'evil.pth']),
        ('sweep_nms', ['config.py', 'evil.pth']),
        ('analyze', ['DETECTIONS', '--ann-file', 'ANNOTATIONS', '--write-threshold', 'evil.pth']),
    ],
)
def test_no_command_executes_a_pickle(scene, crowd, evil, capsys, command, args):
    annotations = crowd / 'annotation_val.odgt'
    with open(annotations, encoding='utf-8') as file, open('found.odgt', 'w') as found:
        for record in map(json.loads, file):
            boxes = [dict(box=one['fbox'], score=0.9, tag=1) for one in record['gtboxes']]
            found.write(json.dumps(dict(ID=record['ID'], dtboxes=boxes)) + '\n')
    image = next((crowd / 'Images').glob('*val*.jpg'))
    names = dict(IMAGE=image, DETECTIONS='found.odgt', ANNOTATIONS=annotations)
    main = importlib.import_module(f'mmdet_lla.cli.{command}').main
    try:
        status, message = main([str(names.get(arg, arg)) for arg in args]), ''
    except SystemExit as error:
        status, message = 1, str(error.code)
    output = capsys.readouterr()
    assert status and 'evil.pth' in message + output.err + output.out
    assert not (scene / 'made').exists()


@pytest.mark.slow
def test_full_disk_and_nan_end_with_a_message(call, scene, python):
    assert call('train.py') is None
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = os.path.getsize('work/epoch_1.pth')
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        output = call('train.py', '--resume', '--cfg-options', 'train_cfg.max_epochs=3')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 'epoch_2.pth could not be written: File too large. The last good' in output
    assert 'epoch_1.pth; make room' in output
    assert checkpoint_fault('work/epoch_1.pth') is None and not list(scene.rglob('.*.part*'))
    assert call('train.py', '--resume', '--cfg-options', 'train_cfg.max_epochs=2') is None

    options = 'train_cfg.max_epochs=20 work_dir=wild optim_wrapper.optimizer.lr=1e20'
    output = call('train.py', '--cfg-options', *options.split(), 'optim_wrapper.clip_grad=None')
    assert 'Training stopped in iteration' in output and 'annotation' not in output
    assert (
        'first module with such an output: ' in output and '.jpg' in output and 'hint: ' in output
    )


#: srun as far as our scripts go: notes its arguments, and starts the tasks with Slurm's variables.
SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > srun.txt
while [ "$1" != python ]; do
    case $1 in --ntasks=*) export SLURM_NTASKS=${1#*=} ;; esac
    shift
done
export SLURM_NODELIST=here
for task in $(seq $((SLURM_NTASKS - 1))); do SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & done
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"
wait
"""


@pytest.fixture
def launch(scene, monkeypatch):
    """Start a script of tools/; on the command line, everything is as its users have it."""
    bin_ = scene / 'bin'
    bin_.mkdir()
    for name, text in dict(srun=SRUN, scontrol='#!/bin/sh\necho 127.0.0.1\n').items():
        (bin_ / name).write_text(text)
        (bin_ / name).chmod(0o755)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    env = dict(
        os.environ,
        PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT / "tests"}',
        OMP_NUM_THREADS='1',
        PYTHONWARNINGS='ignore',
        PORT=str(port),
        GPUS='2',
        PATH=os.pathsep.join([str(bin_), os.path.dirname(sys.executable), os.environ['PATH']]),
    )
    del env['LOCAL_RANK']

    def launch(script, *args, **more):
        return subprocess.Popen(
            ['bash', str(ROOT / 'tools' / script), *args],
            env=dict(env, **more),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return launch


def wait(*processes):
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0, output[-3000:]


HALF = ('--cfg-options', 'train_dataloader.batch_size=1', 'train_dataloader.batch_sampler=None')


@pytest.fixture
def one(call, scene):
    """A training in one process; its work directory."""
    with open('config.py', 'a') as file:
        file.write(
            "custom_imports = dict(imports=['mmdet_lla', 'test_reliability.record_steps'], "
            "allow_failed_imports=False)\ncustom_hooks = [dict(type='RecordSteps')]\n"
            'train_cfg.update(max_epochs=2)\n'
        )
    assert (
        call(
            'train.py', '--work-dir', 'one', '--cfg-options', 'train_dataloader.batch_sampler=None'
        )
        is None
    )
    return scene / 'one'


@pytest.mark.slow
@pytest.mark.parametrize('how', ['torchrun on two machines', 'Slurm on one'])
def test_two_processes_train_and_test_with_the_tools(one, call, launch, python, how):
    """Divisor, losses and metrics of the scripts of tools/ are those of one process."""
    Path('bin/python').symlink_to(python)
    if how == 'torchrun on two machines':
        wait(
            *[
                launch(
                    'dist_train.sh',
                    *('config.py', '1', '--work-dir', 'two', *HALF),
                    **dict(NNODES='2', NODE_RANK=str(rank), MASTER_ADDR='127.0.0.1'),
                )
                for rank in range(2)
            ]
        )
    else:
        wait(
            launch(
                'slurm_train.sh',
                *('cluster', 'crowds', 'config.py', 'two', *HALF),
                SRUN_ARGS='--gres=none --requeue',
            )
        )
        output = Path('srun.txt').read_text().splitlines()
        assert ' '.join(output[: output.index('python')]) == (
            '-p cluster --job-name=crowds --gres=gpu:2 --ntasks=2 --ntasks-per-node=2 '
            '--cpus-per-task=5 --kill-on-bad-exit=1 --gres=none --requeue'
        )
    steps = [json.loads(Path(name, 'steps.json').read_text()) for name in ('one', 'two')]
    assert len(steps[0]) == 4 and min(step[0] for step in steps[0]) > 10
    np.testing.assert_allclose(steps[1], steps[0], rtol=1e-5)
    states = [
        torch.load(f'{name}/epoch_2.pth', weights_only=True)['state_dict']
        for name in ('one', 'two')
    ]
    for name, value in states[0].items():  # a ReLU of an input of some 1e-7 may turn
        torch.testing.assert_close(states[1][name], value, rtol=1e-5, atol=1e-5)
    script, args = (
        ('slurm_test.sh', 'cluster crowds config.py one/epoch_2.pth')
        if how == 'Slurm on one'
        else ('dist_test.sh', 'config.py one/epoch_2.pth 2')
    )
    wait(launch(script, *args.split(), '--work-dir', 'tested_by_two'))
    assert call('test.py', 'one/epoch_2.pth', '--work-dir', 'tested_by_one') is None
    results = [
        json.loads(next(Path(f'tested_by_{name}').glob('*/*.json')).read_text())
        for name in ('one', 'two')
    ]
    for key in ('crowd_human/mAP', 'crowd_human/mMR', 'crowd_human/JI'):
        assert results[0][key] == results[1][key]
