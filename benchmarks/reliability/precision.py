"""Train in bfloat16 and float16 on generated crowds; a NaN ends it with a report.

python benchmarks/reliability/precision.py --iterations 500
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from kills import start, tiny_config

from mmdet_lla.optim.autocast_optim_wrapper import DTYPES
from mmdet_lla.synthetic import CrowdParams, build_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--iterations', type=int, default=500)
    parser.add_argument('--dtypes', nargs='+', default=list(DTYPES), choices=DTYPES)
    args = parser.parse_args()
    interval = min(50, args.iterations)
    directory = Path(tempfile.mkdtemp(prefix='precision_'))
    build_dataset(str(directory / 'crowd'), 16, 1, CrowdParams(width=144, height=144), workers=1)
    for dtype in args.dtypes:
        cfg = tiny_config(
            str(directory / 'crowd'),
            str(directory / dtype),
            'iterations',
            checkpoints=(False, args.iterations),
        )
        cfg.train_cfg.max_iters = args.iterations
        # At 64 x 64, whose smallest map is a single cell, bfloat16 once gave a NaN gradient there,
        # on another machine; see docs/results/reliability.md.
        cfg.train_dataloader.dataset.pipeline[2].scale = (144, 144)
        cfg.param_scheduler = [
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100)
        ]
        cfg.optim_wrapper.update(type='AutocastOptimWrapper', dtype=dtype)
        cfg.log_processor = dict(by_epoch=False)
        cfg.default_hooks.logger.interval = interval
        cfg.log_level = 'INFO'
        process = start(cfg)
        process.join()
        log = Path(f'{cfg.work_dir}.log').read_text()
        steps = [line for line in log.splitlines() if 'Iter(train)' in line]
        if process.exitcode or not steps:
            raise SystemExit(log[-3000:])
        state = torch.load(Path(cfg.work_dir, 'last_checkpoint').read_text(), weights_only=True)
        finite = all(value.isfinite().all() for value in state['state_dict'].values())
        first, last = (line[line.index('loss: ') :].split()[1] for line in (steps[0], steps[-1]))
        print(
            f'{dtype}: {state["meta"]["iter"]} iterations, weights finite: {finite}, loss over '
            f'{interval} iterations {first} at first, {last} at last',
            flush=True,
        )
        if dtype == 'float16':
            print(f'  loss scale: {state["optimizer"]["loss_scaler"]}', flush=True)
    shutil.rmtree(directory)


if __name__ == '__main__':
    main()
