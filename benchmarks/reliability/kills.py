"""Kill a small training with SIGKILL at random moments, resume it, and compare its weights.

    python benchmarks/reliability/kills.py --kills 50

Four trainings on generated crowds, over epochs and over iterations, with data workers and without,
are first run undisturbed. Then each is run again and again: killed, resumed, killed again, and left
to finish; its final weights must equal those of the undisturbed run bit for bit. Augmentation
draws random numbers; checkpoints are written at ends of epochs or every few iterations, within
epochs too.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import torch
import torch._dynamo  # noqa: F401  (the first optimizer would import it, in each process anew)
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmdet_lla.synthetic import CrowdParams, build_dataset

CONFIG = Path(__file__).parents[2] / 'configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
EPOCHS, BATCHES = 5, 4

#: Name: loop, data workers, (whether checkpoints count epochs, interval).
TRAININGS = {
    'epochs': ('epochs', 0, (True, 1)),
    'epochs, 2 workers': ('epochs', 2, (True, 1)),
    'epochs, checkpoints within': ('epochs', 1, (False, 3)),
    'iterations, 1 worker': ('iterations', 1, (False, 3)),
}


def tiny_config(
    crowd: str,
    work_dir: str,
    loop: str = 'epochs',
    workers: int = 0,
    checkpoints: tuple = (True, 1),
) -> Config:
    """The demo's config made small enough for a training of seconds."""
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
    random_steps = [dict(type='PhotoMetricDistortion'), dict(type='RandomFlip', prob=0.5)]
    pack = dict(type='PackDetInputs')
    os.environ['CROWD_ROOT'] = crowd + '/'
    cfg = Config.fromfile(CONFIG)
    by_epoch, interval = checkpoints
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=dict(_delete_=True, type='ResNet', depth=18, base_channels=8),
                neck=dict(in_channels=[8, 16, 32, 64], start_level=1, out_channels=32),
                bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
            ),
            train_dataloader=dict(
                batch_size=2,
                num_workers=workers,
                persistent_workers=workers > 0,
                dataset=dict(pipeline=[*load, resize, *random_steps, pack]),
            ),
            val_dataloader=None,
            val_cfg=None,
            val_evaluator=None,
            test_dataloader=None,
            test_cfg=None,
            test_evaluator=None,
            optim_wrapper=dict(optimizer=dict(lr=0.01)),
            default_hooks=dict(
                logger=dict(interval=1), checkpoint=dict(by_epoch=by_epoch, interval=interval)
            ),
            randomness=dict(seed=7),
            work_dir=work_dir,
            log_level='WARNING',
            resume=True,
        )
    )
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=EPOCHS)
    if loop == 'iterations':
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=EPOCHS * BATCHES)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=BATCHES),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=BATCHES, end=EPOCHS * BATCHES),
    ]
    return cfg


def train(cfg: Config) -> None:
    """Train or resume; runs in a process of its own, whose children share its group."""
    os.setsid()
    log = os.open(f'{cfg.work_dir}.log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    Config.pretty_text = property(str)  # to set it nicely takes longer than to train
    cfg.experiment_name = f'{Path(cfg.work_dir).name}_{os.getpid()}'
    DefaultScope.get_instance(cfg.experiment_name, scope_name='mmdet')
    Runner.from_cfg(cfg).train()


def start(cfg: Config):
    """Train in another process; a fork spares the imports."""
    process = get_context('fork').Process(target=train, args=(cfg,))
    process.start()
    return process


def final_weights(cfg: Config) -> dict:
    """Weights and optimizer state of a finished training."""
    path = Path(cfg.work_dir, 'last_checkpoint').read_text()
    state = torch.load(path, weights_only=True)
    assert state['meta']['iter'] == EPOCHS * BATCHES, path
    return dict(weights=state['state_dict'], optimizer=state['optimizer'])


def differences(one, other, where: str = '') -> list[str]:
    """Places where two nestings of tensors and numbers differ in any bit."""
    if isinstance(one, dict) and one.keys() == other.keys():
        return [
            place for key in one for place in differences(one[key], other[key], f'{where}/{key}')
        ]
    if isinstance(one, (list, tuple)) and len(one) == len(other):
        return [
            place
            for i, pair in enumerate(zip(one, other, strict=True))
            for place in differences(*pair, f'{where}/{i}')
        ]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [where]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=50)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--per-run', type=int, default=5, help='kills before a run may finish')
    parser.add_argument('--only', choices=TRAININGS, help='one of the trainings alone')
    args = parser.parse_args()
    trainings = {args.only: TRAININGS[args.only]} if args.only else TRAININGS
    moments = random.Random(args.seed)
    directory = Path(tempfile.mkdtemp(prefix='kills_'))
    scene = CrowdParams(width=96, height=96)
    build_dataset(str(directory / 'crowd'), 2 * BATCHES, 1, scene, workers=1)

    wanted, duration = {}, {}
    for name, training in trainings.items():
        cfg = tiny_config(str(directory / 'crowd'), str(directory / f'whole {name}'), *training)
        begin = time.time()
        process = start(cfg)
        process.join()
        if process.exitcode:
            print(Path(f'{cfg.work_dir}.log').read_text()[-3000:])
            return 1
        duration[name] = time.time() - begin
        wanted[name] = final_weights(cfg)
        print(f'{name}: {duration[name]:.1f} s undisturbed', flush=True)
    across = []
    if not args.only:
        across = differences(wanted['epochs'], wanted['epochs, 2 workers'])
        print(f'with and without workers: {len(across)} differences', flush=True)

    killed, torn, runs, different = 0, 0, 0, []
    while killed < args.kills:
        name = list(trainings)[runs % len(trainings)]
        cfg = tiny_config(
            str(directory / 'crowd'), str(directory / f'run {runs}'), *trainings[name]
        )
        planned = min(args.per_run, args.kills - killed)
        while True:
            process = start(cfg)
            # Shorter than the whole, so that each gets further than the one before.
            process.join(moments.uniform(0.05, 0.7) * duration[name] if planned else None)
            if not process.is_alive():
                break
            # The process alone, as the out-of-memory killer does, or all its children at once.
            moments.choice([os.kill, os.killpg])(process.pid, signal.SIGKILL)
            process.join()
            killed, planned = killed + 1, planned - 1
            torn += len(list(Path(cfg.work_dir).glob('*.part')))
        if process.exitcode:
            print(Path(f'{cfg.work_dir}.log').read_text()[-3000:])
            return 1
        runs += 1
        found = differences(wanted[name], final_weights(cfg))
        different += found
        print(f'{killed} kills, {runs} runs: {name}: {len(found)} differences', flush=True)
    print(
        f'{killed} kills in {runs} runs, {torn} in the middle of a checkpoint: '
        f'{len(different)} differences'
    )
    shutil.rmtree(directory)
    return int(bool(different or across))


if __name__ == '__main__':
    sys.exit(main())
