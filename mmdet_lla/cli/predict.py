"""Find people in pictures, videos, cameras and streams.

    python tools/predict.py CONFIG photo.jpg folder/ 'more/*.png' --weights CHECKPOINT
    python tools/predict.py published.pth video.mp4 --track --line 0,400,960,400
    python tools/predict.py exported.onnx 0                      # the first camera

Writes drawn pictures or videos, and detections.jsonl, one line a picture or frame.
Exit status: 0 if all was read, 1 if a picture or frame could not be, 2 if nothing could be done.
"""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

from mmengine.config import DictAction
from mmengine.logging import MMLogger

from ..inference import Predictor, Tiles
from ..inference.run import Summary, predict_files
from ..inference.writers import WRITERS


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(',')]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'model',
        help='config (with --weights), published checkpoint, exported file (.onnx, .xml), or name '
        'of a model that ships',
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='input',
        help='picture, folder, glob, video, number of a camera, address of a stream',
    )
    parser.add_argument('--weights', help='checkpoint of a config')
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('work_dirs/predict'),
        help='folder for the results (default: %(default)s)',
    )
    parser.add_argument(
        '--format',
        nargs='+',
        default=[],
        choices=list(WRITERS),
        help='further files beside detections.jsonl',
    )
    parser.add_argument(
        '--threshold',
        help="least score; 'auto' is the one that was best on validation (default: that if the "
        'model keeps it, else 0.3)',
    )
    parser.add_argument('--no-draw', action='store_true', help='write no pictures and videos')
    parser.add_argument(
        '--tile',
        type=int,
        metavar='SIZE',
        help='cut larger pictures into tiles of so many pixels, for people who are small',
    )
    parser.add_argument(
        '--overlap', type=float, default=0.25, help='share of a tile (default: %(default)s)'
    )
    parser.add_argument('--track', action='store_true', help='follow people through a video')
    parser.add_argument(
        '--line',
        type=numbers,
        action='append',
        default=[],
        metavar='X1,Y1,X2,Y2',
        help='count who crosses it; with --track, may be given several times',
    )
    parser.add_argument(
        '--zone',
        type=numbers,
        action='append',
        default=[],
        metavar='X1,Y1,X2,Y2,X3,Y3,...',
        help='count who is in it; may be given several times',
    )
    parser.add_argument('--max-frames', type=int, help='end a video or camera after so many')
    parser.add_argument('--batch-size', type=int, default=1, help='(default: %(default)s)')
    parser.add_argument(
        '--workers', type=int, default=2, help='threads that read pictures (default: %(default)s)'
    )
    parser.add_argument(
        '--device', default='auto', help='of torch (default: a GPU if there is one)'
    )
    parser.add_argument(
        '--backend',
        default='auto',
        choices=('auto', 'onnxruntime', 'openvino'),
        help='of exported files',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings of the config to override, key=value',
    )
    return parser.parse_args(argv)


def show(summary: Summary) -> None:
    print(f'{summary.people} detections in {summary.frames} pictures and frames')
    for source, counts in summary.counts.items():
        print(f'{source}: {json.dumps(counts)}')
    for path in summary.written:
        print(f'  {path}')
    if summary.broken:
        print(f'{len(summary.broken)} could not be read:', file=sys.stderr)
        for fault in summary.broken:
            print(f'  {fault}', file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')
    warnings.simplefilter('ignore')
    MMLogger.get_instance('mmengine', log_level='WARNING')
    try:
        predictor = Predictor(
            args.model,
            args.weights,
            threshold=args.threshold,
            device=args.device,
            batch_size=args.batch_size,
            workers=args.workers,
            tiles=None if args.tile is None else Tiles(args.tile, args.overlap),
            cfg_options=args.cfg_options,
            backend=args.backend,
        )
        print(
            f'{args.model}: {", ".join(predictor.classes)}, score at least {predictor.threshold:g}'
        )
        summary = predict_files(
            predictor,
            args.inputs,
            args.out_dir,
            args.format,
            not args.no_draw,
            args.track,
            args.line,
            args.zone,
            args.max_frames,
        )
    except (FileNotFoundError, ImportError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    show(summary)
    return 1 if summary.broken else 0
