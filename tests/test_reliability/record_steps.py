"""A hook for configs: records what a step must give however many processes share it."""

import json
from pathlib import Path

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmdet_lla.heads import lla_head


@HOOKS.register_module()
class RecordSteps(Hook):
    """Writes the divisor and the mean losses over all processes of every step to ``steps.json``."""

    def before_train(self, runner):
        self.steps, self.divisors, self.reduce_mean = [], [], lla_head.reduce_mean

        def reduce_mean(value):
            self.divisors.append(self.reduce_mean(value))
            return self.divisors[-1]

        lla_head.reduce_mean = reduce_mean

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        values = torch.stack([outputs[name].detach().double() for name in sorted(outputs)])
        all_reduce(values, 'mean')
        # The divisor of one process is the sum over the batch, of several the mean over them.
        divisor = self.divisors.pop().double()
        self.steps.append([(divisor * runner.world_size).item(), *values.tolist()])

    def after_train(self, runner):
        lla_head.reduce_mean = self.reduce_mean
        if is_main_process():
            Path(runner.work_dir, 'steps.json').write_text(json.dumps(self.steps))
