"""Golden results of the reference under mmdet's names; see tests/data/README.md."""

from pathlib import Path

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

DATA = Path(__file__).parent / 'data'
ASSIGN = sorted(path.stem for path in DATA.glob('assign_*.npz'))
OTA = sorted(path.stem for path in DATA.glob('ota_*.npz'))
POTO = sorted(path.stem for path in DATA.glob('poto_*.npz'))


def load(name: str) -> dict[str, Tensor]:
    with np.load(DATA / f'{name}.npz') as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file}


def predicted_boxes(z: dict[str, Tensor]) -> Tensor:
    """Decoded predictions ``x1 y1 x2 y2`` of a vector with points and distances."""
    return torch.cat([z['points'] - z['ltrb'][:, :2], z['points'] + z['ltrb'][:, 2:]], 1)


def to_levels(values: Tensor, z: dict[str, Tensor]) -> list[Tensor]:
    """Split (num_priors, c) into levels of (1, c, height, width)."""
    sizes = z['level_sizes'].tolist()
    parts = values.split([height * width for height, width in sizes])
    return [part.T.reshape(1, -1, *size) for part, size in zip(parts, sizes, strict=True)]


def split_boxes(bboxes: Tensor, labels: Tensor) -> tuple[InstanceData, InstanceData]:
    """Boxes and ignore boxes (label -1 in the vectors)."""
    ignored = labels < 0
    return (
        InstanceData(bboxes=bboxes[~ignored], labels=labels[~ignored].long()),
        InstanceData(bboxes=bboxes[ignored], labels=labels[ignored].long()),
    )


def expected_gt_inds(assigned: Tensor, labels: Tensor) -> Tensor:
    """The reference's box index per prior as mmdet's gt_inds."""
    gt_inds = torch.full((len(labels) + 1,), -1)
    gt_inds[:-1][labels >= 0] = torch.arange(int((labels >= 0).sum())) + 1
    gt_inds[-1] = 0
    return gt_inds[assigned.long()]


def assert_same_detections(found: InstanceData, case: dict[str, Tensor]) -> None:
    """Compare as sets, since scores of the reference differ by as little as 1e-7."""
    assert len(found.bboxes) == len(case['boxes'])
    apart = (found.bboxes[:, None] - case['boxes'][None]).abs().amax(-1)
    distance, match = apart.min(1)
    assert distance.max() <= 1e-3, f'boxes are {distance.max():.2g} px apart'
    assert len(match.unique()) == len(match)
    assert (found.scores - case['scores'][match]).abs().max() <= 1e-5
    assert torch.equal(found.labels, case['classes'][match])
