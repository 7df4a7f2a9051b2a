"""Export a detector to one file that runs without torch and mmdet.

  mmdet-lla export lla-s lla-s.onnx
  mmdet-lla export CONFIG lla.onnx --weights CHECKPOINT --verify
  mmdet-lla export published.pth lla.onnx --openvino --int8 --config CONFIG --verify

With --verify, status 1 says that a float32 file differs from the checkpoint.
"""

import argparse
import copy
import sys
from pathlib import Path

from .options import CommandParser, hush_mmengine, parse_count, read_cfg_options, run_command


def build_parser() -> CommandParser:
    parser = CommandParser('export', __doc__)
    parser.add_argument(
        'model',
        metavar='MODEL',
        help='config (with --weights), published checkpoint, or name of a model that ships, such '
        'as lla-s',
    )
    parser.add_argument(
        'out', type=Path, metavar='OUT', help='ONNX file to write; further files are named after it'
    )
    parser.add_shared('--weights')
    parser.add_argument(
        '--openvino', action='store_true', help='also write the model in the format of OpenVINO'
    )
    parser.add_argument('--int8', action='store_true', help='also write the model in int8')
    parser.add_argument(
        '--calibration-images',
        type=parse_count,
        default=64,
        metavar='N',
        help='number of images of the test set that calibrate int8',
    )
    parser.add_alias('--calibration', '--calibration-images')
    parser.add_argument('--rgb', action='store_true', help='expect images in RGB instead of BGR')
    parser.add_argument(
        '--verify',
        action='store_true',
        help='compare the files with the checkpoint on the test set',
    )
    parser.add_argument(
        '--limit',
        type=parse_count,
        metavar='N',
        help='number of images that --verify compares (default: all)',
    )
    parser.add_argument(
        '--config',
        metavar='CONFIG',
        help="config that names the test set (default: the model's own)",
    )
    parser.add_shared('--cfg-options', '--threads', '--quiet')
    return parser


def show(compared: dict, exact: set[str]) -> None:
    """Print a table; detections are compared for the files in float32, ``exact``."""
    from rich.console import Console
    from rich.table import Table

    first = next(iter(compared.values()))
    table = Table(title=f'{first.num_images} images, {first.detections} detections')
    for column in ('', 'checkpoint', *compared):
        table.add_column(column, justify='right' if column else 'left', overflow='fold')
    for key in first.metrics:
        table.add_row(
            key,
            f'{first.metrics[key]:.5f}',
            *(f'{one.exported[key]:.5f}' for one in compared.values()),
        )
    for name in ('unmatched', 'borderline', 'box_difference', 'score_difference'):
        values = (
            f'{getattr(one, name):.4g}' if file in exact else '-' for file, one in compared.items()
        )
        table.add_row(name.replace('_', ' '), '', *values)
    Console().print(table)
    for file, one in compared.items():
        for img_id, flip in one.flips:
            print(f'{file}, {img_id}: rounding decides on a detection of {describe(flip)}')


def describe(flip) -> str:
    """Describe a detection that only one of two detectors has."""
    reasons = {
        'score': 'its score is next to score_thr',
        'overlap': f'IoU {flip.overlap:.7f} with a better one, next to the threshold of NMS',
        'order': 'another one has the same score',
        'follows': 'follows from other differences',
    }
    return f'{flip.score:.4f} ({reasons[flip.reason]})'


def run(args: argparse.Namespace) -> int:
    hush_mmengine()
    from ..export import export_detector, list_export_paths
    from ..export.verify import compare
    from ..inference import load_detector
    from ..models import shipped_model
    from ..named_configs import read_config
    from ..runtime import Detector
    from ..utils.files import check_outputs

    options = read_cfg_options(args.cfg_options)
    detector = load_detector(args.model, args.weights, 'cpu', options)
    if isinstance(detector, Detector):
        raise ValueError(f'{args.model} is exported already')
    tests = copy.deepcopy(detector.cfg)
    if args.config:  # only its test set; the pipeline stays the model's own
        cfg = read_config(args.config)
        for name in ('test_dataloader', 'test_evaluator'):
            tests[name] = cfg[name]
        tests.merge_from_dict(options)
    check_outputs(
        list_export_paths(args.out, args.openvino, args.int8),
        [shipped_model(args.model) or args.model, *filter(None, [args.weights, args.config])],
    )
    written = export_detector(
        detector, args.out, args.openvino, args.int8, args.calibration_images, args.rgb, tests
    )
    for one in written:
        print(f'{one.path} ({one.path.stat().st_size:,} bytes, {one.precision})')
    if not args.verify:
        return 0
    files = {one.path.name: Detector(one.path) for one in written}
    results = compare(tests, detector, list(files.values()), args.limit)
    compared = dict(zip(files, results, strict=True))
    exact = {one.path.name for one in written if one.precision == 'float32'}
    show(compared, exact)
    wrong = sorted(name for name in exact if not compared[name].same)
    if wrong:
        print(f'differs from the checkpoint: {", ".join(wrong)}', file=sys.stderr)
        return 1
    print('every float32 file gives the detections of the checkpoint')
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
