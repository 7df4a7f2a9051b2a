"""How long commands and imports take, as ratios to the imports that they need.

    python benchmarks/startup.py [--rounds 3] [--rows help import ...]

Rounds are interleaved and medians compared. Rows with "busy" run beside a process that uses a core,
with the default settings and with one thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import keep_busy

CLI = ['-m', 'mmdet_lla']
TORCH = ['-c', 'import torch']
MODELS = ['-c', 'import mmdet_lla; import mmdet.models']
LLA_HEAD = ['-c', 'import mmdet_lla; mmdet_lla.LLAHead']

#: Command, reference, and the highest ratio of their times that is accepted.
ROWS = {
    'help': ([*CLI, 'predict', '--help'], TORCH, 0.5),
    'import': (LLA_HEAD, MODELS, 1.1),
    'predict exported': (
        [*CLI, 'predict', '{exported}', '{photo}', '--out-dir', '{out}'],
        TORCH,
        1.6,
    ),
    'predict lla-s': ([*CLI, 'predict', 'lla-s', '{photo}', '--out-dir', '{out}'], MODELS, 1.3),
}
#: Commands that run beside a busy process, and the highest ratio to one thread.
BUSY = {
    'predict busy': ([*CLI, 'predict', 'lla-s', '{photos}', '--out-dir', '{out}'], 1.4),
    'test busy': (
        [
            *(*CLI, 'test', '{config}', '{weights}', '--work-dir', '{out}', '--cfg-options'),
            'test_dataloader.dataset.data_root={crowd}/',
            'test_evaluator.ann_file={crowd}/annotation_val.odgt',
        ],
        1.4,
    ),
    'train busy': (
        [
            *(*CLI, 'train', '--from', 'lla-s', '--data', '{crowd}', '--work-dir', '{out}'),
            *('--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=2'),
        ],
        1.2,
    ),
}
ROOT = Path(__file__).resolve().parents[1]


def measure(command: list[str], **env: str) -> float:
    """Return the seconds that a new process takes for a command."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *command],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f'{command} failed:\n{done.stderr[-2000:]}')
    return time.perf_counter() - begin


def make_files(directory: Path, rows: list[str]) -> dict[str, str]:
    """Make what the commands read; return it by name."""
    import cv2
    import numpy as np

    photos = directory / 'photos'
    photos.mkdir()
    for number in range(30):
        image = np.random.default_rng(number).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        cv2.imwrite(str(photos / f'{number}.jpg'), image)
    files = dict(photo=str(photos / '0.jpg'), photos=str(photos), out=str(directory / 'out'))
    if {'test busy', 'train busy'} & set(rows):
        files['crowd'] = str(directory / 'crowd')
        files['config'] = str(ROOT / 'configs/lla_s/lla-s_mobilenetv2_fpn_1xb4-7k_crowd.py')
        (weights,) = (ROOT / 'mmdet_lla/models').glob('lla-s*.pth')
        files['weights'] = str(weights)
        measure([*CLI, 'make-crowd', files['crowd'], '--train', '120', '--val', '60'])
    if 'predict exported' in rows:
        files['exported'] = str(directory / 'lla-s.onnx')
        seconds = measure([*CLI, 'export', 'lla-s', files['exported']])
        print(f'export: {seconds:.1f} s')
    return files


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*ROWS, *BUSY]
    parser.add_argument('--rounds', type=int, default=3, help='(default: %(default)s)')
    parser.add_argument('--rows', nargs='+', choices=names, default=names, metavar='ROW')
    parser.add_argument('--out', type=Path, help='write the figures as JSON')
    args = parser.parse_args(argv)
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        files = make_files(Path(directory), args.rows)
        for row in args.rows:
            command, *rest = ROWS.get(row) or BUSY[row]
            command = [word.format(**files) for word in command]
            pairs = []
            for _ in range(args.rounds):
                if row in ROWS:
                    pairs.append((measure(command), measure(rest[0])))
                else:
                    with keep_busy(1):
                        pairs.append((measure(command), measure(command, OMP_NUM_THREADS='1')))
            ours, reference = (statistics.median(times) for times in zip(*pairs, strict=True))
            results[row] = dict(
                seconds=ours, reference=reference, ratio=ours / reference, limit=rest[-1]
            )
            print(
                f'{row:18} {ours:6.2f} s, reference {reference:6.2f} s, ratio '
                f'{ours / reference:.2f}, limit {rest[-1]}'
            )
    if args.out:
        args.out.write_text(json.dumps(results, indent=1))
    return results


if __name__ == '__main__':
    main()
