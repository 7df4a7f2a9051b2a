"""Milliseconds a picture and peak memory of a detector in torch and as exported files.

``python benchmarks/backends.py`` exports the detector, and runs every backend at every size in a
process of its own, one picture a batch, resizing left out (it is the same for all). It prints the
median of the repeats, processor time of one picture, its ratio to eager torch, and the largest
resident size of the process, libraries and all, beside what a process has that has imported the
libraries and loaded the model, and has yet seen no picture.

- eager: mmdet's model as it is built, ``model.test_step``;
- Predictor: the same with batch norms merged and channels last;
- torch.compile: that, with backbone, neck and head compiled (Inductor);
- exported files: ``mmdet_lla/runtime`` by itself, in a process without torch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout, not installed

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
IN_TORCH = ('eager', 'Predictor', 'torch.compile')
EXPORTED = {
    'ONNX Runtime': ('model.onnx', 'onnxruntime'),
    'OpenVINO': ('model.xml', 'openvino'),
    'ONNX Runtime, int8': ('model.int8.onnx', 'onnxruntime'),
    'OpenVINO, int8': ('model.int8.xml', 'openvino'),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='lla-s', help='that ships, or a published checkpoint')
    parser.add_argument('--sizes', nargs='+', default=['512x384', '1344x800'], metavar='WxH')
    parser.add_argument('--backends', nargs='+', default=[*IN_TORCH, *EXPORTED])
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--files', type=Path, help='folder to keep the exported files in')
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)  # backend and size, in a child
    return parser.parse_args()


def export(model: str, folder: Path) -> None:
    """Write the detector's files; int8 is calibrated on a few generated pictures."""
    from mmdet_lla.export import export_detector
    from mmdet_lla.inference import load_detector
    from mmdet_lla.synthetic import build_dataset

    build_dataset(str(folder / 'crowd'), 0, 8, seed=7, workers=1, progress=False)
    detector = load_detector(model, device='cpu')
    detector.cfg.test_dataloader.dataset.data_root = f'{folder}/crowd/'
    export_detector(detector, folder / 'model.onnx', openvino=True, int8=True, calibration=8)


def picture_of(width: int, height: int) -> np.ndarray:
    """A generated crowd, BGR, uint8, (H, W, 3)."""
    from mmdet_lla.synthetic import CrowdParams, make_scene

    return make_scene(np.random.default_rng(7), CrowdParams(width=width, height=height)).image


def detector_in_torch(name: str, args: argparse.Namespace, size: tuple[int, int]):
    import torch
    from mmdet.registry import MODELS

    from mmdet_lla.inference import load_detector
    from mmdet_lla.inference.model import TorchDetector
    from mmdet_lla.inference.published import read_checkpoint
    from mmdet_lla.models import shipped_model

    torch.set_num_threads(args.threads)
    cfg = load_detector(args.model, device='cpu').cfg
    for step in cfg.test_dataloader.dataset.pipeline:
        if step['type'] == 'Resize':
            step['scale'] = size
    checkpoint = read_checkpoint(shipped_model(args.model) or Path(args.model))
    detector = TorchDetector(cfg, checkpoint, 'cpu')
    if name == 'eager':
        model = MODELS.build(cfg.model).eval()
        model.load_state_dict(checkpoint['state_dict'])
        detector.model = model
    if name == 'torch.compile':
        for part in (detector.model.backbone, detector.model.neck, detector.model.bbox_head):
            part.compile()
    return detector


def exported_detector(name: str, args: argparse.Namespace, size: tuple[int, int]):
    sys.path.append(str(ROOT / 'mmdet_lla'))
    from runtime import Detector  # by itself: mmdet_lla would import torch, as it is there

    file, backend = EXPORTED[name]
    detector = Detector(args.files / file, backend, args.threads)
    rule = replace(detector.metadata.size_rule, scale=size)
    detector.metadata = replace(detector.metadata, size_rule=rule)
    return detector


def measure(name: str, size: tuple[int, int], args: argparse.Namespace) -> dict:
    """In a process that has done nothing else."""
    image = np.load(args.files / f'{size[0]}x{size[1]}.npy')
    make: Callable = detector_in_torch if name in IN_TORCH else exported_detector
    detector = make(name, args, size)
    batch = [detector.prepare(image)]
    loaded = peak_mib()
    found = detector.detect(batch)
    detector.detect(batch)
    wall, processor = [], []
    for _ in range(args.repeats):
        start, used = time.perf_counter(), time.process_time()
        detector.detect(batch)
        wall.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - used))
    return dict(
        wall=statistics.median(wall),
        processor=statistics.median(processor),
        loaded=loaded,
        peak=peak_mib(),
        detections=len(found[0]),
    )


def peak_mib() -> float:
    """Largest resident size so far; ``ru_maxrss`` would begin with that of the parent."""
    line = next(x for x in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in x)
    return int(line.split()[1]) / 1024


def child(name: str, size: str, args: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, '--one', name, size, '--model', args.model]
    command += ['--threads', str(args.threads), '--repeats', str(args.repeats)]
    env = {**os.environ, 'OMP_NUM_THREADS': str(args.threads), 'PYTHONWARNINGS': 'ignore'}
    done = subprocess.run(
        [*command, '--files', str(args.files)], env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f'{name} at {size}:\n{done.stderr}')
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    args = parse_args()
    if args.one:
        name, size = args.one
        width, height = map(int, size.split('x'))
        print(json.dumps(measure(name, (width, height), args)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        args.files = args.files or Path(scratch)
        args.files.mkdir(parents=True, exist_ok=True)
        if not (args.files / 'model.int8.xml').is_file():
            export(args.model, args.files)
        for size in args.sizes:
            width, height = map(int, size.split('x'))
            np.save(args.files / f'{size}.npy', picture_of(width, height))
            print(f'\n{size}, {args.threads} thread(s), median of {args.repeats}\n')
            print('| | ms | processor ms | of eager | peak MiB | before a picture | detections |')
            print('| --- | ---: | ---: | ---: | ---: | ---: | ---: |', flush=True)
            eager = None
            for name in args.backends:
                row = child(name, size, args)
                eager = eager or row['processor']
                print(
                    f'| {name} | {row["wall"]:.0f} | {row["processor"]:.0f} | '
                    f'{row["processor"] / eager:.2f} | {row["peak"]:.0f} | {row["loaded"]:.0f} | '
                    f'{row["detections"]} |',
                    flush=True,
                )


if __name__ == '__main__':
    main()
