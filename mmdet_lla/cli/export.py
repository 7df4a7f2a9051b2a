"""Write a detector as one file that runs without torch and mmdet.

    python tools/export.py CONFIG lla.onnx --weights CHECKPOINT --verify
    python tools/export.py published.pth lla.onnx --openvino --int8 --config CONFIG --verify

Exit status: 0 if all is written (and, with --verify, every file in float32 finds what the
checkpoint finds), 1 if one does not, 2 if nothing could be done.
"""

import argparse
import copy
import os
import sys
import warnings
from pathlib import Path

from mmengine.config import DictAction
from mmengine.logging import MMLogger
from rich.console import Console
from rich.table import Table

from ..inference import load_detector
from ..models import shipped_model
from ..named_configs import read_config
from ..runtime import Detector
from ..utils.files import check_outputs


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'model', help='config (with --weights), published checkpoint, or name of one that ships'
    )
    parser.add_argument('out', type=Path, help='the ONNX file; others are called after it')
    parser.add_argument('--weights', help='checkpoint of a config')
    parser.add_argument('--openvino', action='store_true', help="write OpenVINO's form, too")
    parser.add_argument('--int8', action='store_true', help='write it in int8, too')
    parser.add_argument(
        '--calibration',
        type=int,
        default=64,
        help='pictures of the test set for int8 (default: %(default)s)',
    )
    parser.add_argument('--rgb', action='store_true', help='take pictures in RGB instead of BGR')
    parser.add_argument(
        '--verify',
        action='store_true',
        help='test the files on the test set, beside the checkpoint',
    )
    parser.add_argument('--limit', type=int, help='pictures to verify on (default: all)')
    parser.add_argument('--config', help='with the test set (default: that of the model)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings of the config to override, key=value',
    )
    return parser.parse_args(argv)


def show(compared: dict, exact: set[str]) -> None:
    """Print a table; detections are compared for the files in float32, ``exact``."""
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


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')
    warnings.simplefilter('ignore')
    MMLogger.get_instance('mmengine', log_level='WARNING')
    try:
        from ..export import export_detector, list_export_paths
        from ..export.verify import compare

        detector = load_detector(args.model, args.weights, 'cpu', args.cfg_options)
        if isinstance(detector, Detector):
            raise ValueError(f'{args.model} is exported already')
        tests = copy.deepcopy(detector.cfg)
        if args.config:  # its pictures; what is done to them is the model's own
            cfg = read_config(args.config)
            for name in ('test_dataloader', 'test_evaluator'):
                tests[name] = cfg[name]
            tests.merge_from_dict(args.cfg_options or {})  # of the test set, too
        check_outputs(
            list_export_paths(args.out, args.openvino, args.int8),
            [shipped_model(args.model) or args.model, *filter(None, [args.weights, args.config])],
        )
        written = export_detector(
            detector, args.out, args.openvino, args.int8, args.calibration, args.rgb, tests
        )
        for one in written:
            print(f'{one.path} ({one.path.stat().st_size:,} bytes, {one.precision})')
        if not args.verify:
            return 0
        files = {one.path.name: Detector(one.path) for one in written}
        compared = dict(
            zip(
                files,
                compare(tests, detector, list(files.values()), args.limit),
                strict=True,
            )
        )
    except (OSError, ImportError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    exact = {one.path.name for one in written if one.precision == 'float32'}
    show(compared, exact)
    wrong = sorted(name for name in exact if not compared[name].same)
    if wrong:
        print(f'not what the checkpoint finds: {", ".join(wrong)}', file=sys.stderr)
        return 1
    print('every file in float32 finds what the checkpoint finds')
    return 0
