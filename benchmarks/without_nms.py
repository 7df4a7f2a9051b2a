"""What a one-to-one branch without NMS finds in crowds, beside LLA with NMS, from the same weights.

``python benchmarks/without_nms.py CROWD CROWD...`` trains LLAHead with a one-to-one branch on each
crowd, a folder that tools/make_crowd.py wrote, for each seed, and prints AP, MR and JI of the
branch without NMS and of LLA's own branches with NMS at each threshold. The branch's gradients stay
out of the towers (``detach``), so that these are plain LLA. Run again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

import torch

import mmdet_lla  # noqa: F401  (before mmdet: operators for mmcv-lite)

# isort: split
from mmdet.registry import METRICS
from mmdet.utils import register_all_modules
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a checkout, not installed

CONFIG = ROOT / 'configs/ablations/one_to_one/lla-fcos_mobilenetv2_fpn_dual_1xb4-12e_crowd.py'
NAMES = ('mAP', 'mMR', 'JI')
ALONE = 'one to one, no NMS'


def make_config(crowd: Path, seed: int, work_dir: Path, args: argparse.Namespace) -> Config:
    """Small pictures, a narrow and shallow head, two a step, as benchmarks/study.sh has it."""
    os.environ['CROWD_ROOT'] = f'{crowd}/'
    cfg = Config.fromfile(args.config)
    width, height = args.size
    scale = {'scale': (width, height)}
    options = {
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'val_dataloader.num_workers': 0,
        'val_dataloader.persistent_workers': False,
        'train_cfg.max_epochs': args.epochs,
        'train_cfg.val_interval': args.epochs + 1,
        'param_scheduler.1.end': args.epochs,
        'model.neck.out_channels': 64,
        'model.bbox_head.in_channels': 64,
        'model.bbox_head.feat_channels': 64,
        'model.bbox_head.stacked_convs': 1,
        'work_dir': str(work_dir),
        'randomness': dict(seed=seed),
        'default_hooks.checkpoint.interval': args.epochs,
        'log_level': 'ERROR',
    }
    cfg.merge_from_dict(options)
    cfg.train_dataloader.dataset.pipeline[2].update(scale)
    cfg.val_dataloader.dataset.pipeline[1].update(scale)
    cfg.merge_from_dict(args.cfg_options or {})
    return cfg


@torch.no_grad()
def measure(runner: Runner, cfg: Config, thresholds: list[float]) -> dict[str, dict[str, float]]:
    """AP, MR and JI of every setting; the network sees each picture once."""
    model = runner.model.eval()
    head = model.bbox_head
    loader = Runner.build_dataloader(cfg.val_dataloader)
    settings = {ALONE: None, **{f'NMS {threshold:g}': threshold for threshold in thresholds}}
    metrics = {name: METRICS.build(cfg.val_evaluator) for name in settings}
    plain = head.test_cfg.copy()
    for batch in tqdm(loader, desc='test', leave=False, disable=None):
        data = model.data_preprocessor(batch, training=False)
        samples = data['data_samples']
        feats = model.extract_feat(data['inputs'])
        metas = [sample.metainfo for sample in samples]
        *own, one_to_one = head(feats, both=True)
        for name, threshold in settings.items():
            head.test_cfg = plain.copy()
            head.test_cfg.one_to_one = threshold is None
            head.test_cfg.nms = dict(type='nms', iou_threshold=threshold or 1.0)
            scores = one_to_one if threshold is None else own[0]
            results = head.predict_by_feat(scores, *own[1:], metas, rescale=True)
            for sample, result in zip(samples, results, strict=True):
                sample.pred_instances = result
            metrics[name].process(data, [sample.to_dict() for sample in samples])
    head.test_cfg = plain
    found = {}
    for name, metric in metrics.items():
        values = metric.evaluate(len(loader.dataset))
        found[name] = {key: values[f'crowd_human/{key}'] for key in NAMES}
    return found


def run(crowd: Path, seed: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Train and measure once, or read what was measured."""
    work_dir = args.work_dir / crowd.name / f'seed{seed}'
    done = work_dir / 'result.json'
    if not done.exists():
        cfg = make_config(crowd, seed, work_dir, args)
        cfg.experiment_name = f'{crowd.name}-{seed}'
        runner = Runner.from_cfg(cfg)
        runner.train()
        done.write_text(json.dumps(measure(runner, cfg, args.thresholds), indent=1))
    return json.loads(done.read_text())


def print_table(crowd: str, runs: list[dict]) -> None:
    """Means over the seeds, and how far the seeds lie apart."""
    print(f'\n{crowd}, {len(runs)} seed(s): mean (least to most), in percent\n')
    print(f'| setting | {" | ".join(NAMES)} |\n| --- {"| --- " * len(NAMES)}|')
    for name in runs[0]:
        cells = []
        for key in NAMES:
            values = [100 * run[name][key] for run in runs]
            cells.append(f'{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})')
        print(f'| {name} | {" | ".join(cells)} |')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('crowds', type=Path, nargs='+', help='folders of data sets')
    parser.add_argument('--config', type=Path, default=CONFIG, help='of a dual head')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--size', type=int, nargs=2, default=(320, 240), metavar=('W', 'H'))
    parser.add_argument(
        '--thresholds', type=float, nargs='+', default=[0.4, 0.5, 0.6, 0.7, 0.8], help='of NMS'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/without_nms'))
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value of configs')
    args = parser.parse_args()
    register_all_modules()
    for seed in args.seeds:  # all crowds of a seed first, so that an early look compares them
        for crowd in args.crowds:
            run(crowd, seed, args)
    for crowd in args.crowds:
        print_table(crowd.name, [run(crowd, seed, args) for seed in args.seeds])


if __name__ == '__main__':
    main()
