"""A training of milliseconds: images of one number with random augmentation, one linear layer."""

import random

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader


@DATASETS.register_module()
class Numbers(BaseDataset):
    """``size`` numbers; the augmentation adds noise of Python's, numpy's and torch's generators."""

    def __init__(self, size: int, pipeline=(), **kwargs) -> None:
        self.size = size
        # To serialize is to collect garbage first, which takes longer than a toy training.
        super().__init__(pipeline=pipeline, serialize_data=False, **kwargs)

    def load_data_list(self) -> list:
        return [dict(value=float(i), width=1 + i % 2, height=1) for i in range(self.size)]

    def prepare_data(self, index: int) -> dict:
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        value = self.get_data_info(index)['value']
        return dict(inputs=torch.tensor([value / self.size, noise]), index=index)


class Seen(list):
    """For tests alone, and so not what a training depends on."""


@MODELS.register_module()
class Line(BaseModel):
    """Learns the noise, with dropout; ``seen`` keeps the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)
        self.seen = Seen()

    def forward(self, inputs, index=None, mode='loss'):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        out = nn.functional.dropout(self.line(inputs), 0.5, self.training)
        if mode == 'tensor':
            return out
        self.seen.append(([int(i) for i in index], inputs.tolist()))
        return dict(
            loss_a=(out - inputs.sum(1, keepdim=True)).square().mean(), loss_b=out.abs().mean()
        )


class ToyRunner(Runner):
    """Its workers end with the training.

    A runner is garbage in a circle: the collector ends the threads of its workers' queues first,
    and torch then waits 5 s for each worker to hear what no thread sends.
    """

    def train(self):
        try:
            return super().train()
        finally:
            loader = self.train_dataloader
            if isinstance(loader, DataLoader) and loader._iterator is not None:
                loader._iterator._shutdown_workers()


def make_runner(
    work_dir,
    name,
    max_iters=None,
    max_epochs=None,
    workers=0,
    interval=2,
    checkpoint=None,
    size=10,
    sampler='DefaultSampler',
    seed=3,
    hooks=None,
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=None,
    model='Line',
    **kwargs,
) -> Runner:
    """A runner with our hooks; over iterations if ``max_iters`` is given."""
    train_cfg = dict(by_epoch=True, max_epochs=max_epochs)
    if max_iters is not None:
        train_cfg = dict(by_epoch=False, max_iters=max_iters)
    cfg = Config(
        dict(
            model=dict(type=model),
            train_dataloader=dict(
                batch_size=3,
                num_workers=workers,
                persistent_workers=workers > 0,
                sampler=dict(type=sampler, shuffle=True) if isinstance(sampler, str) else sampler,
                batch_sampler=batch_sampler,
                dataset=dataset or dict(type='Numbers', size=size),
            ),
            train_cfg=train_cfg,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3),
                dict(type='CosineAnnealingLR', T_max=5, by_epoch=max_iters is None),
            ],
            default_hooks=dict(
                checkpoint=dict(
                    type='SafeCheckpointHook',
                    interval=interval,
                    **{'by_epoch': max_iters is None, **(checkpoint or {})},
                ),
                **{
                    'exact_resume': dict(type='ExactResumeHook'),
                    'nan_guard': dict(type='NaNGuardHook'),
                    **(hooks or {}),
                },
            ),
            default_scope='mmdet',
            work_dir=str(work_dir),
            experiment_name=name,
            log_level='ERROR',
            randomness=dict(seed=seed),
            **kwargs,
        )
    )
    return ToyRunner.from_cfg(cfg)
