"""Records the assignments of a training: scalars over time, images at chosen iterations."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from mmdet_lla.analysis.assignment_stats import SUMS, compute_candidates, sum_statistics, summarize
from mmdet_lla.analysis.images import render_assignment
from mmdet_lla.analysis.recording import (
    Assignment,
    compute_assignments,
    find_assigner_head,
    watch_assignments,
)
from mmdet_lla.analysis.samples import build_plain_dataset, find_indices, get_file_name

from .randomness import untouched_randomness

#: Before the names of all scalars, in the visualizer's backends and the message hub.
PREFIX = 'assign/'


@HOOKS.register_module()
class AssignmentHook(Hook):
    """Record the assignments of a training without changing it.

    Works with any detector whose ``bbox_head`` or ``rpn_head`` has an ``assigner``. Scalars go to
    the visualizer (all its backends) and to the message hub, named ``assign/priors_per_gt``,
    ``gts_without_prior``, ``positives_per_image``, ``outside``, ``contested``, ``pred_iou``,
    ``prior_iou`` and ``level_0``..., as in
    :func:`~mmdet_lla.analysis.assignment_stats.summarize`. Each is the mean over all images of
    all processes since the last ones, except ``contested``, which costs a call of the assigner per
    gt and is computed for the last iteration only. The sums stay on the device in between.

    At chosen iterations a few images of the data set are drawn with their assignment by the current
    weights. The first process draws; all of them run the images, because heads average over
    processes.

    Args:
        interval (int): Iterations from one set of scalars to the next. Defaults to 50.
        draw_at (Sequence[int]): Numbers of updates after which images are drawn, 0 for the
            untrained detector. Defaults to none.
        draw_interval (int, optional): Draw after every so many updates too.
        num_images (int): How many images, the first that have gts. Defaults to 2.
        images (Sequence[str]): Their IDs or file names without extension, instead.
        split (str): Whether they are of the 'train' or the 'val' set, see
            :func:`~mmdet_lla.analysis.samples.build_plain_dataset`. Defaults to 'val'.

    Raises:
        ValueError: If an argument is out of its range; when the training begins, if no head has
            an assigner.
    """

    def __init__(
        self,
        interval: int = 50,
        draw_at: Sequence[int] = (),
        draw_interval: int | None = None,
        num_images: int = 2,
        images: Sequence[str] = (),
        split: str = 'val',
        **deprecated,
    ) -> None:
        for old, new in (('num_pictures', 'num_images'), ('pictures', 'images')):
            if old in deprecated:
                warnings.warn(
                    f'AssignmentHook: {old} is now {new}', DeprecationWarning, stacklevel=2
                )
        num_images = deprecated.pop('num_pictures', num_images)
        images = deprecated.pop('pictures', images)
        if deprecated:
            raise TypeError(f'AssignmentHook has no argument {next(iter(deprecated))!r}')
        for name, value in dict(
            interval=interval, draw_interval=draw_interval, num_images=num_images
        ).items():
            if value is not None and value < 1:
                raise ValueError(f'AssignmentHook: {name} must be at least 1, got {value!r}')
        if any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in draw_at):
            raise ValueError(
                'AssignmentHook: draw_at must be numbers of updates, each an int >= 0,'
                f' got {draw_at!r}'
            )
        if split not in ('train', 'val'):
            raise ValueError(f"AssignmentHook: split must be 'train' or 'val', got {split!r}")
        self.interval = interval
        self.draw_at = frozenset(draw_at)
        self.draw_interval = draw_interval
        self.num_images = num_images
        self.images = tuple(images)
        self.split = split
        self._watch = ExitStack()
        self._sums: Tensor | None = None
        self._last: list[Assignment] = []

    def before_train(self, runner: Runner) -> None:
        """Find the head and the images."""
        try:
            self._head = find_assigner_head(_detector(runner))
        except ValueError as error:
            raise ValueError(f'AssignmentHook: {error}') from error
        self._samples = []
        if self.draw_at or self.draw_interval:
            with untouched_randomness():
                self._samples = self._load(runner)
        self._sums = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Draw what the weights of now decide, and look at what the iteration will."""
        self._draw(runner)
        self._last.clear()
        self._keep = self._is_due(runner)
        self._watch.enter_context(watch_assignments(self._head, self._count))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Look away, and write the scalars if it is time."""
        self._watch.close()
        if self._is_due(runner):
            self._write(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Write and draw what is left."""
        self._write(runner, runner.iter)
        self._draw(runner)

    def _is_due(self, runner: Runner) -> bool:
        return self.every_n_train_iters(runner, self.interval)

    def _count(self, call: Assignment) -> None:
        """Add an image to the sums, without synchronizing with the device."""
        if 'priors' not in call.pred_instances:
            raise ValueError(
                f'AssignmentHook: {type(self._head).__name__} hands its assigner no '
                'priors, so there is nothing to count'
            )
        sums = sum_statistics(call)
        self._sums = sums if self._sums is None else self._sums.add_(sums)
        if self._keep:
            self._last.append(call)

    def _write(self, runner: Runner, step: int) -> None:
        """Read the sums of all processes, and begin anew."""
        with untouched_randomness():
            for call in self._last:
                only = [SUMS.index(name) for name in ('compared', 'contested')]
                self._sums[only] += sum_statistics(call, compute_candidates(call))[only]
        self._last.clear()
        sums, self._sums = self._sums, None
        if sums is None:  # some heads call no assigner where an image has no gts
            strides = getattr(getattr(self._head, 'prior_generator', None), 'strides', ())
            sums = torch.zeros(
                len(SUMS) + len(strides),
                dtype=torch.float64,
                device=next(self._head.parameters()).device,
            )
        all_reduce(sums)
        if not sums[0]:
            return
        scalars = {PREFIX + name: value for name, value in summarize(sums).items()}
        runner.visualizer.add_scalars(scalars, step=step)
        for name, value in scalars.items():
            runner.message_hub.update_scalar(name, value)

    def _draw(self, runner: Runner) -> None:
        """Draw the images if it is time: after ``runner.iter`` updates."""
        done = runner.iter
        if not self._samples or not (
            done in self.draw_at or (self.draw_interval and done % self.draw_interval == 0)
        ):
            return
        with untouched_randomness():
            for name, sample in self._samples:
                (call,) = compute_assignments(_detector(runner), [sample])
                if is_main_process():
                    drawn = render_assignment(
                        sample, call, compute_candidates(call), f'{name} after {done} updates'
                    )
                    runner.visualizer.add_image(f'assignment_{name}', drawn, step=done)

    def _load(self, runner: Runner) -> list[tuple[str, dict]]:
        """Return the images to draw, by name."""
        dataset = build_plain_dataset(runner.cfg, self.split)
        indices = find_indices(dataset, self.images) if self.images else range(len(dataset))
        found = []
        for index in indices:
            sample = dataset[index]
            if len(sample['data_samples'].gt_instances):
                found.append((get_file_name(sample), sample))
            if not self.images and len(found) == self.num_images:
                break
        return found


def _detector(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
