"""Stores the weights of a detector in channels-last layout, in which convolutions are fastest."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Store the weights of all 2d convolutions as NHWC.

    Feature maps follow their weights, and results are equal up to rounding. It is faster on CPUs,
    and on GPUs with mixed precision. A seed gives other initial weights than without the hook,
    because random numbers are drawn in the order of the memory.

    >>> hook = ChannelsLastHook()
    """

    def before_run(self, runner: Runner) -> None:
        """Convert the model before its weights are initialized."""
        runner.model.to(memory_format=torch.channels_last)
