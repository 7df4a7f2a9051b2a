"""Show the whole package at work: generate crowds, detect, train, test and draw.

  mmdet-lla demo --epochs 14

Existing scenes, weights and trainings are kept; an interrupted demo continues at its last epoch.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .options import CommandParser, hush_mmengine, parse_count, read_cfg_options, run_command

ROOT = Path(__file__).resolve().parents[1] / '.mim'  # configs and tools
CONFIG = 'configs/demo/lla-fcos_mobilenetv2_fpn_1xb2-14e_crowd-512.py'
SHIPPED = 'configs/lla_s/lla-s_mobilenetv2_fpn_1xb4-7k_crowd.py'
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmdet_lla'


def build_parser() -> CommandParser:
    parser = CommandParser('demo', __doc__)
    parser.add_shared('--out-dir')
    parser.add_alias('--work-dir', '--out-dir')
    parser.add_argument(
        '--data',
        type=Path,
        default=Path('data/crowd'),
        metavar='DIR',
        help='directory of the generated scenes',
    )
    parser.add_argument(
        '--train', type=parse_count, default=240, metavar='N', help='number of training images'
    )
    parser.add_argument(
        '--val', type=parse_count, default=80, metavar='N', help='number of validation images'
    )
    parser.add_argument(
        '--epochs', type=parse_count, default=14, metavar='N', help='number of training epochs'
    )
    parser.add_argument(
        '--density', default='default', help='density of the crowds, as in `mmdet-lla make-crowd`'
    )
    parser.add_shared('--num-images')
    parser.add_alias('--pictures', '--num-images')
    parser.add_shared('--seed', '--quiet')
    return parser


def multiplies_in_bfloat16() -> bool:
    """Whether this CPU does, so that training in mixed precision takes two thirds of the time."""
    import torch

    can = torch.cpu.get_capabilities() if hasattr(torch.cpu, 'get_capabilities') else {}
    return any(can.get(name, False) for name in ('avx512_bf16', 'amx_bf16'))


def say(step: int, text: str) -> None:
    print(f'\n[{step}/6] {text}', flush=True)


def call(*command, log: Path) -> None:
    """Run a tool of ours; its output goes to a log, whose end is shown if it fails."""
    for _ in lines_of(*command, log=log):
        pass


def lines_of(*command, log: Path):
    """Run a tool of ours and give its output line by line, writing it to a log too."""
    from ..ablation.engines.tools import ToolFailed, ToolRunner

    try:
        yield from ToolRunner(cwd=ROOT).run(command, log)
    except ToolFailed as error:
        sys.exit(str(error))


def train(args: argparse.Namespace, options: list[str]) -> Path:
    """Train with a progress bar; gives the last checkpoint."""
    from tqdm import tqdm

    from ..ablation.engines.tools import parse_step

    checkpoint = args.out_dir / f'epoch_{args.epochs}.pth'
    if checkpoint.is_file():
        print(f'      {checkpoint} exists; remove {args.out_dir} to train anew')
        return checkpoint
    bar = tqdm(desc='      training', unit='it', dynamic_ncols=True, mininterval=1)
    for line in lines_of(
        'tools/train.py',
        CONFIG,
        '--work-dir',
        args.out_dir,
        '--resume',
        '--cfg-options',
        *options,
        log=args.out_dir / 'train.log',
    ):
        step = parse_step(line)
        if step and step.phase == 'train':
            bar.total = args.epochs * step.total
            bar.update((step.epoch - 1) * step.total + step.done - bar.n)
            bar.set_postfix(loss=step.loss)
    bar.close()
    return checkpoint


def test(config: str, checkpoint: Path, work_dir: Path, options: list[str]) -> dict[str, float]:
    """Test a checkpoint; gives AP, MR, JI and recall."""
    directory = work_dir / 'test'
    call(
        'tools/test.py',
        config,
        checkpoint,
        '--work-dir',
        directory,
        '--out',
        work_dir / 'detections.pkl',
        *(['--cfg-options', *options] if options else []),
        log=work_dir / 'test.log',
    )
    newest = max(directory.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    values = json.loads(newest.read_text(encoding='utf-8').splitlines()[-1])
    return {name.split('/')[1]: value for name, value in values.items() if '/' in name}


def report(results: dict[str, float]) -> None:
    for name, meaning in (
        ('mAP', 'AP at IoU 0.5, higher is better'),
        ('mMR', 'log-average miss rate, lower is better'),
        ('JI', 'Jaccard index, higher is better'),
        ('recall', 'fraction of people found at any score'),
    ):
        print(f'      {name:7s}{results[name]:.3f}   {meaning}')


def draw(
    config: str, checkpoint: Path, work_dir: Path, options: list[str], num_images: int
) -> None:
    """Draw detections and assignments of the first validation images."""
    from mmengine.config import Config

    from ..analysis.images import draw_test_images

    hush_mmengine()
    cfg = Config.fromfile(ROOT / config)
    cfg.merge_from_dict(read_cfg_options(options))
    draw_test_images(cfg, str(checkpoint), work_dir / 'detections.pkl', work_dir, num_images)


def show_shipped(args: argparse.Namespace) -> None:
    """Test and draw the detector that ships, which needs no training."""
    from ..models import shipped_model

    directory = args.out_dir / 'lla-s'
    checkpoint = shipped_model('lla-s')
    report(test(SHIPPED, checkpoint, directory, []))
    draw(SHIPPED, checkpoint, directory, [], args.num_images)
    print(f'      drawn in {os.path.relpath(directory)}/detections/')


def run(args: argparse.Namespace) -> int:
    args.out_dir, args.data = args.out_dir.resolve(), args.data.resolve()
    start = time.time()
    os.environ.update(
        CROWD_ROOT=f'{args.data}/',
        CROWD_WIDE_ROOT=f'{args.data}/',  # where the config of lla-s looks for images to test on
        MOBILENET_V2=str(CACHE / 'mobilenet_v2_imagenet.pth'),
    )
    # Deprecation warnings of libraries do not concern users of the demo.
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')
    options = [
        f'max_epochs={args.epochs}',
        f'train_cfg.max_epochs={args.epochs}',
        f'train_cfg.val_interval={args.epochs + 1}',
        f'param_scheduler.1.end={args.epochs}',
        f'randomness.seed={args.seed}',
    ]
    mixed = multiplies_in_bfloat16()
    if mixed:
        options.append('optim_wrapper.type=AutocastOptimWrapper')

    say(1, f'Scenes: {args.train} + {args.val} images of crowds (about half a minute)')
    status = subprocess.run(
        [
            sys.executable,
            'tools/make_crowd.py',
            args.data,
            '--train',
            str(args.train),
            '--val',
            str(args.val),
            '--density',
            args.density,
            '--seed',
            str(args.seed),
        ],
        cwd=ROOT,
    ).returncode
    if status:
        return status
    say(2, 'lla-s, the detector that ships, on images it has not seen (about a minute)')
    show_shipped(args)
    say(3, 'Weights: MobileNetV2 trained on ImageNet (8 MB, a few seconds, kept in the user cache)')
    call(
        'tools/model_converters/mobilenet_v2.py',
        os.environ['MOBILENET_V2'],
        log=args.out_dir / 'weights.log',
    )
    say(
        4,
        f'Training a small LLA in {"bfloat16" if mixed else "float32"} (about '
        f'{"6 to 9" if mixed else "10"} minutes on two cores)',
    )
    checkpoint = train(args, options)
    say(5, f'Testing on {args.val} images it has not seen (about half a minute)')
    report(test(CONFIG, checkpoint, args.out_dir, options))
    say(6, f'Drawing {args.num_images} images')
    draw(CONFIG, checkpoint, args.out_dir, options, args.num_images)
    shown = os.path.relpath(args.out_dir)
    print(f"""
Done in {(time.time() - start) / 60:.1f} minutes. Look at
  {shown}/lla-s/         what the detector that ships does with the same images
  {shown}/detections/    ground truth beside detections: green found, orange missed, red false
  {shown}/assignments/   the priors of each person: color by person, size by level
Next, compare it with ATSS on the same scenes:
  CROWD_ROOT={os.path.relpath(args.data)}/ MOBILENET_V2={os.environ['MOBILENET_V2']} \\
    .venv/bin/python tools/train.py configs/demo/atss_mobilenetv2_fpn_1xb4-12e_crowd.py
or train the paper's recipe on CrowdHuman:
  .venv/bin/python tools/train.py configs/lla/lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py""")
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
