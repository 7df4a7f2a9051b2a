"""Train configs for two iterations as they ship, in two processes.

    python tests/test_reliability/all_configs.py DIRECTORY CROWD CONFIG...

The script replaces the data (small generated images, through the own pipeline of each config),
the number of iterations, and the width of ResNets. Pretrained weights and validation are left out.
Configs that are equal afterwards are trained once. RANK.json in DIRECTORY holds per config the
losses, the parameters without gradient, the number of parameters that changed, and whether both
processes end with the same weights.
"""

import functools
import gc
import json
import os
import socket
import sys
import traceback
from multiprocessing import get_context
from pathlib import Path

import torch
import torch._dynamo  # which the first optimizer would import, in each process anew
import torch.distributed as dist

import mmdet_lla  # noqa: F401  (before mmdet: operators for mmcv-lite)

# isort: split
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.config import utils as config_utils
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, DefaultScope
from mmengine.runner import Runner
from mmengine.runner import runner as runner_module

from mmdet_lla import compat

SIZE = (64, 64)
NARROW = 8  # channels of a ResNet's stem, for 64


@HOOKS.register_module()
class Watch(Hook):
    """Record the losses and the names of all parameters that get a gradient."""

    def before_train(self, runner):
        self.losses, self.finite = [], {}
        self.parameters = dict(bare(runner.model).named_parameters())
        self.before = sums(self.parameters)
        for name, value in self.parameters.items():
            if value.requires_grad:
                value.register_post_accumulate_grad_hook(functools.partial(self.look, name))

    def look(self, name, value):
        self.finite[name] = self.finite.get(name, True) and bool(value.grad.isfinite().all())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: float(value) for name, value in outputs.items()})


def sums(parameters):
    """Return the sum of each parameter, which changes with any of its values."""
    return torch.stack([value.detach().double().sum() for value in parameters.values()])


def bare(model):
    return model.module if is_model_wrapper(model) else model


def replaced(path, crowd):
    """Return a config with small data, random weights and two iterations."""
    cfg = Config.fromfile(path)
    loader = cfg.train_dataloader
    dataset = loader.dataset
    while 'pipeline' not in dataset:  # the first of several datasets
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    pipeline = dataset.pipeline
    for step in pipeline:
        if 'scale' in step:
            step['scale'] = SIZE
    loader.update(num_workers=0, persistent_workers=False)
    loader.dataset = dict(
        type='CrowdDataset',
        data_root=crowd,
        ann_file='annotation_train.odgt',
        data_prefix=dict(img='Images/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=pipeline,
        serialize_data=False,  # which collects garbage first
    )
    for part in ('dataloader', 'cfg', 'evaluator'):
        cfg[f'val_{part}'] = cfg[f'test_{part}'] = None
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
    cfg.model.backbone.init_cfg = None
    if cfg.model.backbone.type == 'ResNet':  # half of the time went into its 23 million weights
        cfg.model.backbone.base_channels = NARROW
        cfg.model.neck.in_channels = [width * NARROW // 64 for width in cfg.model.neck.in_channels]
    if 'roi_head' in cfg.model:
        cfg.model.roi_head.bbox_head.fc_out_channels = 64
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=100, save_last=False)
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='Watch')]
    cfg.update(log_level='ERROR', randomness=dict(seed=0))
    return cfg


def train(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    watch = next(hook for hook in runner.hooks if isinstance(hook, Watch))
    after = sums(watch.parameters)
    gathered = [torch.empty_like(after) for _ in range(2)]
    dist.all_gather(gathered, after)
    return dict(
        losses=watch.losses,
        finite=all(watch.finite.values()),
        names=list(watch.parameters),
        without_gradient=sorted(watch.parameters.keys() - watch.finite.keys()),
        moved=int((after != watch.before).sum()),
        same=all(torch.equal(one, after) for one in gathered),
    )


def train_all(directory, configs, rank, port):
    """Train one config after the other; runs in a process of its own."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )  # fmt: skip
    results, trained = {}, {}
    for i, (path, cfg) in enumerate(configs.items()):
        text = json.dumps(cfg.to_dict(), sort_keys=True)
        if text in trained:
            results[path] = results[trained[text]]
            continue
        trained[text] = path
        cfg.launcher = 'pytorch'
        cfg.experiment_name = cfg.visualizer.name = f'config_{i}'
        cfg.work_dir = str(directory / 'work')
        DefaultScope.get_instance(cfg.experiment_name, scope_name='mmdet')
        try:
            results[path] = train(cfg)
        except Exception:
            results[path] = dict(error=traceback.format_exc())
            break  # the processes are no longer at the same config
    (directory / f'{rank}.json').write_text(json.dumps(results))


def main():
    directory, crowd, *paths = sys.argv[1:]
    register_all_modules()
    compat.apply()
    torch.set_num_threads(1)
    # Each of these takes longer than a training: pretty-printing a config, collecting the
    # environment, and reading mmdet's list of models for every config that inherits its files.
    Config.pretty_text = property(str)
    runner_module.collect_env = dict
    config_utils.load = functools.cache(config_utils.load)
    configs = {path: replaced(path, crowd) for path in paths}
    gc.freeze()  # garbage collection skips all imported modules
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    started = [
        get_context('fork').Process(target=train_all, args=(Path(directory), configs, rank, port))
        for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()


if __name__ == '__main__':
    main()
