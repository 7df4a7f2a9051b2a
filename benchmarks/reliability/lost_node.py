"""Lose the node on which a training runs, and compare its weights with those of one left in peace.

    python benchmarks/reliability/lost_node.py --times 3
    python benchmarks/reliability/lost_node.py --times 1 --processes 2

A study of one tiny config is run by tools/train.py and tools/test.py, first in the local engine.
Then the same on a cluster of Ray's whose nodes are processes of this machine: once a checkpoint is
there, its node is killed a random moment later, and another one comes. No process may be left of
the lost node, the training must go on where it stopped, and weights and state of the optimizer must
be the same, bit for bit. With `--processes 2` the training is two processes under torchrun, as on
two GPUs.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from kills import differences

from mmdet_lla.ablation.engines import LocalEngine
from mmdet_lla.ablation.progress import StudyProgress
from mmdet_lla.ablation.study import Study, plan_runs
from mmdet_lla.ablation.variants import load_variants
from mmdet_lla.synthetic import CrowdParams, build_dataset

ROOT = Path(__file__).parents[2]
EPOCHS = 6
CONFIG = """
_base_ = '{root}/configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], start_level=1, out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
    test_cfg=dict(score_thr=0.0))
resize = dict(type='Resize', scale=(160, 160), keep_ratio=True)
load, boxes = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)
pack = dict(type='PackDetInputs', meta_keys=(
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
random_steps = [dict(type='PhotoMetricDistortion'), dict(type='RandomFlip', prob=0.5)]
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False,
    dataset=dict(pipeline=[load, boxes, resize, *random_steps, pack]))
val_dataloader = dict(num_workers=0, persistent_workers=False,
    dataset=dict(pipeline=[load, resize, boxes, pack]))
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=1))
"""


def study_of(directory: Path, engine) -> Study:
    options = {'train_cfg.max_epochs': EPOCHS, 'param_scheduler.1.end': EPOCHS}
    variants = load_variants([str(directory / 'tiny.py')], options)
    return Study(plan_runs(variants, [0], engine.work_dir), engine)


def weights_of(study: Study) -> dict:
    state = torch.load(study.runs[0].checkpoint(), weights_only=True)
    return dict(weights=state['state_dict'], optimizer=state['optimizer'])


def local(directory: Path, processes: int) -> dict:
    """Weights of a training that nothing disturbs."""
    gpus = [str(i) for i in range(processes)] if processes > 1 else []
    engine = LocalEngine(1, 1, len(gpus), gpus)
    engine.work_dir = directory / 'whole'
    engine.work_dir.mkdir()
    study = study_of(directory, engine)
    failures = study.execute(StudyProgress())
    if failures:
        sys.exit(failures[0].reason)
    return weights_of(study)


def lose_a_node(directory: Path, cluster, processes: int, moment: float) -> tuple[dict, int, int]:
    """Weights of a training whose node is lost, at which epoch, and its attempts."""
    from ray_nodes import another_node
    from waiting import running_in, wait_until

    from mmdet_lla.ablation.engines.ray_engine import RayEngine

    gpus = processes if processes > 1 else 0
    work = directory / f'lost {moment:.3f}'
    work.mkdir()
    study = study_of(directory, RayEngine(work, cpus_per_run=1, gpus_per_run=gpus))
    failures: list = []
    thread = threading.Thread(
        target=lambda: failures.extend(study.execute(StudyProgress())), daemon=True
    )

    def epochs() -> int:
        saved = [int(path.stem.split('_')[1]) for path in work.glob('*/seed0/epoch_*.pth')]
        return max(saved, default=0)

    with another_node(cluster, num_cpus=1, num_gpus=gpus) as node:
        thread.start()
        wait_until(lambda: epochs() or failures, 'the training has a checkpoint', 600)
        time.sleep(moment)
        cluster.remove_node(node, allow_graceful=False)
        lost_at = epochs()
        wait_until(lambda: running_in(work) == [], 'all of its processes have ended', 60)
    with another_node(cluster, num_cpus=1, num_gpus=gpus):
        thread.join(900)
    if thread.is_alive() or failures:
        sys.exit(failures[0].reason if failures else 'the study did not end within 900 s')
    return weights_of(study), lost_at, study.runs[0].result()['attempts']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--times', type=int, default=3)
    parser.add_argument('--processes', type=int, default=1, help='of the training')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / 'tests'))
    from ray_nodes import cluster_of_one

    directory = Path(tempfile.mkdtemp(prefix='lost_node_'))
    build_dataset(str(directory / 'crowd'), 8, 2, CrowdParams(width=160, height=160), workers=1)
    os.environ['CROWD_ROOT'] = f'{directory}/crowd/'
    (directory / 'tiny.py').write_text(CONFIG.format(root=ROOT))
    os.chdir(directory)
    wanted = local(directory, args.processes)
    moments, lost, different = random.Random(args.seed), 0, 0
    with cluster_of_one(num_cpus=0, num_gpus=0) as cluster:
        for _ in range(args.times):
            found, lost_at, attempts = lose_a_node(
                directory, cluster, args.processes, moments.uniform(0, 1)
            )
            places = differences(wanted, found)
            lost += attempts > 1
            different += bool(places)
            print(
                f'lost after epoch {lost_at} of {EPOCHS}, {attempts} attempts: '
                f'{len(places)} differences',
                flush=True,
            )
    print(f'{lost} of {args.times} trainings lost their node, {different} ended differently')
    shutil.rmtree(directory)
    sys.exit(bool(different))


if __name__ == '__main__':
    main()
