"""Detect people in images, videos, cameras and streams.

  mmdet-lla predict lla-s photo.jpg images/ 'more/*.png'
  mmdet-lla predict CONFIG photo.jpg --weights CHECKPOINT
  mmdet-lla predict published.pth video.mp4 --track --line 0,400,960,400
  mmdet-lla predict exported.onnx 0                      # the first camera

Writes detections.jsonl with one line per image or frame, drawn images (vis/) and drawn videos.
Results of an earlier run in --out-dir are replaced, other files are never overwritten; the default
directory is new for each run (work_dirs/predict, work_dirs/predict_2, ...).
"""

import argparse
import json
import sys

from .options import CommandParser, hush_mmengine, parse_count, read_cfg_options, run_command

FORMATS = ('coco', 'csv', 'odgt', 'yolo')


def parse_numbers(text: str) -> list[float]:
    """Return the numbers of a list such as ``0,400,960,400``.

    Example:
        >>> parse_numbers('-5,0,10,20')
        [-5.0, 0.0, 10.0, 20.0]
    """
    return [float(part) for part in text.split(',')]


def build_parser() -> CommandParser:
    parser = CommandParser('predict', __doc__)
    parser.add_argument(
        'model',
        metavar='MODEL',
        help='config (with --weights), published checkpoint, exported file (.onnx, .xml), or name '
        'of a model that ships, such as lla-s',
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='image, directory, glob, video, number of a camera or address of a stream',
    )
    parser.add_shared('--weights', '--out-dir', '--score-thr')
    parser.add_alias('--threshold', '--score-thr')
    parser.add_argument(
        '--format',
        nargs='+',
        default=[],
        choices=FORMATS,
        help='further files to write beside detections.jsonl (default: none)',
    )
    parser.add_argument('--no-draw', action='store_true', help='write no images and videos')
    parser.add_argument(
        '--tile',
        type=parse_count,
        metavar='PIXELS',
        help='cut larger images into square tiles of this size, to find small people (default: '
        'no tiles)',
    )
    parser.add_argument(
        '--overlap', type=float, default=0.25, help='overlap of the tiles as a fraction of a tile'
    )
    parser.add_argument('--track', action='store_true', help='track people through each video')
    parser.add_argument(
        '--line',
        type=parse_numbers,
        action='append',
        default=[],
        metavar='X1,Y1,X2,Y2',
        help='count people who cross this line, with --track; may be repeated (default: none)',
    )
    parser.add_argument(
        '--zone',
        type=parse_numbers,
        action='append',
        default=[],
        metavar='X1,Y1,X2,Y2,X3,Y3,...',
        help='count people inside this polygon; may be repeated (default: none)',
    )
    parser.add_argument(
        '--max-frames',
        type=parse_count,
        metavar='N',
        help='stop each video or camera after this number of frames (default: no limit)',
    )
    parser.add_shared('--batch-size', '--workers', '--device', '--threads')
    parser.add_argument(
        '--backend',
        default='auto',
        choices=('auto', 'onnxruntime', 'openvino'),
        help='library that runs an exported file',
    )
    parser.add_shared('--cfg-options', '--quiet')
    return parser


def show(summary) -> None:
    """Print what was detected, written and skipped."""
    print(f'images and frames: {summary.frames}, detections: {summary.detections}')
    for source, counts in summary.counts.items():
        print(f'{source}: {json.dumps(counts)}')
    for path in summary.written:
        print(f'  {path}')
    for path in summary.incomplete:
        print(f'incomplete: {path}', file=sys.stderr)
    if summary.failed:
        print(f'{len(summary.failed)} failed:', file=sys.stderr)
        for message in summary.failed:
            print(f'  {message}', file=sys.stderr)


def run(args: argparse.Namespace) -> int:
    from ..inference import Predictor, Tiles
    from ..inference.run import DEFAULT_OUT_DIR, plan_run, predict_files

    plan = plan_run(
        args.inputs,
        None if args.out_dir == DEFAULT_OUT_DIR else args.out_dir,
        args.format,
        not args.no_draw,
        args.track,
        args.line,
        args.zone,
        args.max_frames,
    )
    if not args.model.endswith(('.onnx', '.xml')):  # these need no mmengine
        hush_mmengine()
    predictor = Predictor(
        args.model,
        args.weights,
        threshold=args.score_thr,
        device=args.device,
        batch_size=args.batch_size,
        workers=args.workers or 2,
        tiles=None if args.tile is None else Tiles(args.tile, args.overlap),
        cfg_options=read_cfg_options(args.cfg_options),
        backend=args.backend,
        threads=args.threads,
    )
    print(f'{args.model}: {", ".join(predictor.classes)}, score at least {predictor.threshold:g}')
    summary = predict_files(predictor, plan)
    show(summary)
    return 1 if summary.failed else 0


def join_coordinates(argv: list[str]) -> list[str]:
    """Join --line and --zone with negative coordinates, which argparse takes for an option.

    Example:
        >>> join_coordinates(['--line', '-5,0,9,9', 'a.mp4'])
        ['--line=-5,0,9,9', 'a.mp4']
    """
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in ('--line', '--zone') and word[:1] == '-' and ',' in word:
            joined[-1] += f'={word}'
        else:
            joined.append(word)
    return joined


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    return run_command(build_parser(), run, join_coordinates(argv))
