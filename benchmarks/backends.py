"""Time per image and peak memory of a detector in torch and as exported files.

``python benchmarks/backends.py`` exports the detector and runs each backend at each size in a
process of its own, with one image per batch and without preprocessing. Memory is the largest
resident size of the process, libraries included, next to that before the first image.

- eager: mmdet's model as it is built;
- Predictor: the same with batch norms fused and channels last;
- torch.compile: that, with backbone, neck and head compiled by Inductor;
- exported files: ``mmdet_lla.runtime`` in a process without torch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import harness
import numpy as np

IN_TORCH = ('eager', 'Predictor', 'torch.compile')
EXPORTED = {
    'ONNX Runtime': ('model.onnx', 'onnxruntime'),
    'OpenVINO': ('model.xml', 'openvino'),
    'ONNX Runtime, int8': ('model.int8.onnx', 'onnxruntime'),
    'OpenVINO, int8': ('model.int8.xml', 'openvino'),
}


def export(model: str, directory: Path) -> None:
    """Write the detector's files; int8 is calibrated on eight generated images."""
    from mmdet_lla.export import export_detector
    from mmdet_lla.inference import load_detector
    from mmdet_lla.synthetic import build_dataset

    build_dataset(str(directory / 'crowd'), 0, 8, seed=7, workers=1, progress=False)
    detector = load_detector(model, device='cpu')
    detector.cfg.test_dataloader.dataset.data_root = f'{directory}/crowd/'
    export_detector(detector, directory / 'model.onnx', openvino=True, int8=True, calibration=8)


def draw_crowd(width: int, height: int) -> np.ndarray:
    """Generate an image of a crowd, BGR, uint8, (H, W, 3)."""
    from mmdet_lla.synthetic import CrowdParams, make_scene

    return make_scene(np.random.default_rng(7), CrowdParams(width=width, height=height)).image


def load_in_torch(name: str, args: argparse.Namespace, size: tuple[int, int]):
    """Load the detector in torch, resizing to ``size``."""
    import torch

    from mmdet_lla.inference import load_detector
    from mmdet_lla.models import shipped_model
    from mmdet_lla.plain_checkpoints import read_checkpoint

    torch.set_num_threads(args.threads)
    options = {'test_dataloader.dataset.pipeline.1.scale': size}
    detector = load_detector(args.model, device='cpu', cfg_options=options)
    if name == 'eager':
        from mmdet.registry import MODELS

        checkpoint = read_checkpoint(shipped_model(args.model) or Path(args.model))
        detector.model = MODELS.build(detector.cfg.model).eval()
        detector.model.load_state_dict(checkpoint['state_dict'])
    if name == 'torch.compile':
        for part in (detector.model.backbone, detector.model.neck, detector.model.bbox_head):
            part.compile()
    return detector


def load_exported(name: str, args: argparse.Namespace, size: tuple[int, int]):
    """Load an exported file, resizing to ``size``."""
    from mmdet_lla.runtime import Detector

    file, backend = EXPORTED[name]
    detector = Detector(args.files / file, backend, args.threads)
    rule = replace(detector.metadata.size_rule, scale=size)
    detector.metadata = replace(detector.metadata, size_rule=rule)
    return detector


def measure(name: str, size: str, args: argparse.Namespace) -> dict:
    """Measure one backend at one size, in a process that has done nothing else."""
    load = load_in_torch if name in IN_TORCH else load_exported
    detector = load(name, args, tuple(map(int, size.split('x'))))
    batch = [detector.prepare(np.load(args.files / f'{size}.npy'))]
    loaded = harness.peak_process_mib()
    found = detector.detect(batch)
    times = harness.measure({name: partial(detector.detect, batch)}, args.repeats)[name]
    memory = dict(loaded_mib=loaded, peak_mib=harness.peak_process_mib())
    return dict(name=name, size=size, **times, **memory, detections=len(found[0]))


def measure_in_child(name: str, size: str, args: argparse.Namespace) -> dict:
    """Measure one backend in a new process."""
    command = [sys.executable, __file__, '--one', name, size, '--model', args.model]
    command += ['--threads', str(args.threads), '--repeats', str(args.repeats)]
    command += ['--files', str(args.files)]
    env = {**os.environ, 'OMP_NUM_THREADS': str(args.threads), 'PYTHONWARNINGS': 'ignore'}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{name} at {size}:\n{done.stderr}')
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> None:
    parser = harness.make_parser(__doc__, repeats=9)
    parser.add_argument('--model', default='lla-s', help='shipped model or published checkpoint')
    parser.add_argument('--sizes', nargs='+', default=['512x384', '1344x800'], metavar='WxH')
    parser.add_argument('--backends', nargs='+', default=[*IN_TORCH, *EXPORTED])
    parser.add_argument('--files', type=Path, help='directory to keep the exported files in')
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)  # backend and size, in a child
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(measure(*args.one, args)))
        return
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        args.files = args.files or Path(scratch)
        args.files.mkdir(parents=True, exist_ok=True)
        if not (args.files / 'model.int8.xml').is_file():
            export(args.model, args.files)
        for size in args.sizes:
            np.save(args.files / f'{size}.npy', draw_crowd(*map(int, size.split('x'))))
            found += [measure_in_child(name, size, args) for name in args.backends]
    keys = 'ms', 'processor_ms', 'peak_mib', 'loaded_mib', 'detections'
    first = {row['size']: row['processor_ms'] for row in reversed(found)}
    rows = [
        [row['size'], row['name'], row['processor_ms'] / first[row['size']], *map(row.get, keys)]
        for row in found
    ]
    machine = f'{harness.describe_machine()}, {args.threads} threads, median of {args.repeats}'
    harness.write_json(args.out_json, machine, rows=found)
    print(machine + '\n')
    print(harness.format_table(['size', 'backend', f'of {args.backends[0]}', *keys], rows))


if __name__ == '__main__':
    main()
