"""Trainings of four iterations with the switches of mmengine and mmdet that users change.

    python tests/test_reliability/switches.py DIRECTORY

runs those of ``IN_TWO`` in two processes on CPUs and prints, by name, the losses of each process.
"""

import copy
import json
import os
import socket
import sys
from multiprocessing import get_context
from pathlib import Path

import torch
import torch._dynamo  # which the first optimizer would import, in each process anew
import torch.distributed as dist

import mmdet_lla  # noqa: F401  (before mmdet: operators for mmcv-lite)

# isort: split
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmdet_lla import compat

ITERATIONS = 4


@DATASETS.register_module(force=True)
class Squares(BaseDataset):
    """Eight images of 64 x 64 with two boxes each."""

    METAINFO = dict(classes=('person',))

    def load_data_list(self):
        return [dict(seed=seed) for seed in range(8)]

    def prepare_data(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8)
        corner = torch.randint(0, 24, (2, 2), generator=generator).float()
        sample = DetDataSample(
            metainfo=dict(
                img_id=index,
                img_path=f'{index}.jpg',
                img_shape=(64, 64),
                ori_shape=(64, 64),
                pad_shape=(64, 64),
                batch_input_shape=(64, 64),
                scale_factor=(1.0, 1.0),
            ),
            gt_instances=InstanceData(
                bboxes=torch.cat([corner, corner + torch.tensor([24.0, 36.0])], 1),
                labels=torch.zeros(2, dtype=torch.long),
            ),
            ignored_instances=InstanceData(
                bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
            ),
        )
        return dict(inputs=image, data_samples=sample)


@HOOKS.register_module(force=True)
class LossesHook(Hook):
    """Keeps the loss of each iteration."""

    losses: list = []

    def before_train(self, runner):
        type(self).losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(float(outputs['loss']))


def make_config(work_dir):
    """A detector of LLAHead with 60,000 parameters."""
    norm = dict(type='GN', num_groups=4, requires_grad=True)
    return dict(
        model=dict(
            type='FCOS',
            data_preprocessor=dict(
                type='DetDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3, pad_size_divisor=32
            ),
            backbone=dict(type='ResNet', depth=18, base_channels=4, out_indices=(1, 2, 3)),
            neck=dict(
                type='FPN', in_channels=[8, 16, 32], out_channels=16, num_outs=3, norm_cfg=norm
            ),
            bbox_head=dict(
                type='LLAHead',
                num_classes=1,
                in_channels=16,
                feat_channels=16,
                stacked_convs=1,
                norm_cfg=norm,
                anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
            ),
            train_cfg=dict(assigner=dict(type='LLAAssigner')),
        ),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='Squares'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=ITERATIONS),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
        default_hooks=dict(
            checkpoint=None,
            exact_resume=dict(type='ExactResumeHook'),
            nan_guard=dict(type='NaNGuardHook'),
            losses=dict(type='LossesHook'),
        ),
        custom_hooks=[],
        default_scope='mmdet',
        work_dir=str(work_dir),
        log_level='ERROR',
        randomness=dict(seed=0),
    )


#: Changes of the config by name; keys are dotted paths.
SWITCHES = {
    'plain': {},
    'compile': {'compile': dict(backend='eager')},
    'with_cp': {'model.backbone.with_cp': True},
    'SyncBN': {'model.backbone.norm_cfg': dict(type='SyncBN')},
    'accumulative_counts': {'optim_wrapper.accumulative_counts': 2},
    'bfloat16': {'optim_wrapper.type': 'AutocastOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'},
    'float16': {'optim_wrapper.type': 'AutocastOptimWrapper', 'optim_wrapper.dtype': 'float16'},
    'clip_grad': {'optim_wrapper.clip_grad': dict(max_norm=0.1)},
    'EMA': {'custom_hooks': [dict(type='EMAHook')]},
    'efficient_conv_bn_eval': {
        'model.backbone.norm_eval': True,
        'efficient_conv_bn_eval': 'backbone',
    },
    'channels-last': {'custom_hooks': [dict(type='ChannelsLastHook')]},
    'frozen backbone': {'model.backbone.frozen_stages': 4},
    'auto_scale_lr': {'auto_scale_lr': dict(enable=True, base_batch_size=4)},
    'multi-scale': {
        'model.data_preprocessor.batch_augments': [
            dict(
                type='BatchSyncRandomResize',
                random_size_range=(32, 96),
                size_divisor=32,
                interval=1,
            )
        ]
    },
}
#: Those whose losses are those of a plain training up to rounding.
SAME = ('compile', 'with_cp', 'EMA', 'efficient_conv_bn_eval')
#: In two processes: what depends on their number.
IN_TWO = ('plain', 'SyncBN', 'accumulative_counts', 'EMA')


def train(name, work_dir, launcher='none'):
    """Return the losses of a training with a switch."""
    torch.manual_seed(0)
    config = Config(copy.deepcopy(make_config(work_dir)))
    config.merge_from_dict(copy.deepcopy(SWITCHES[name]))
    config.launcher = launcher
    config.experiment_name = f'{name}_{launcher}'.replace(' ', '_')
    Runner.from_cfg(config).train()
    return list(LossesHook.losses)


def work(directory, rank, port, send):
    """Train with every switch, as one of two processes."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        LOCAL_WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    for name in IN_TWO:
        try:
            send.send((name, train(name, directory / name, 'pytorch')))
        except Exception as error:  # the other process fails, too, or is ended with this one
            send.send((name, f'{type(error).__name__}: {error}'))
            return
    dist.destroy_process_group()


def main():
    directory = Path(sys.argv[1])
    register_all_modules()
    compat.apply()
    torch.set_num_threads(1)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    fork = get_context('fork')  # to import everything once
    results, started = [], []
    for rank in range(2):
        receive, send = fork.Pipe(duplex=False)
        process = fork.Process(target=work, args=(directory, rank, port, send))
        process.start()
        send.close()
        started.append((process, receive))
    for process, receive in started:
        found = {}
        try:
            while True:
                name, value = receive.recv()
                found[name] = value
        except EOFError:
            process.join(10)
            process.kill()
        results.append(found)
    print(json.dumps(results))


if __name__ == '__main__':
    main()
