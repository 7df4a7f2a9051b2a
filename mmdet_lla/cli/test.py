"""Test a detector: its metrics on the test set of a config, with mmdet's options.

  mmdet-lla test CONFIG CHECKPOINT --out detections.pkl

CONFIG is a file or 'mmdet::...', one of mmdet's. CHECKPOINT may be the name of a model that ships.
"""

import sys

from .mmdet_tools import add_mmdet_options, run_mmdet_tool
from .options import CommandParser


def build_parser() -> CommandParser:
    parser = CommandParser('test', __doc__)
    parser.add_argument('config', metavar='CONFIG', help='config that names model and test set')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='checkpoint to test')
    add_mmdet_options(parser)
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='.pkl file for the detections, which `mmdet-lla analyze` reads (default: none)',
    )
    parser.add_argument('--show', action='store_true', help='show the detections in a window')
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='directory for drawn images, below the work directory (default: none)',
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        metavar='SECONDS',
        help='seconds that --show shows an image for',
    )
    parser.add_argument(
        '--tta', action='store_true', help="use the config's test-time augmentation"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    parser.parse_known_args(argv)
    return run_mmdet_tool(parser.prog, 'test.py', argv, ('test_dataloader',))
