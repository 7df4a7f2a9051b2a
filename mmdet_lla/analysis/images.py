"""Images of a trained detector: its detections, and the assignments its assigner would make."""

from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import Tensor

from ..evaluation.detection_files import to_numpy
from ..plain_checkpoints import load_weights
from .assignment_stats import compute_candidates, get_centers
from .drawing import draw_assignment, draw_detections
from .errors.thresholds import find_best_thresholds
from .errors.types import find_errors
from .recording import Assignment, compute_assignments
from .samples import build_plain_dataset
from .test_sets import TestSet

#: Width in pixels that a drawn assignment is enlarged to, since priors are close together,
PANEL_WIDTH = 960
#: by at most this factor,
MAX_ZOOM = 4
#: and the margin in pixels around the gts that it is cropped to.
MARGIN = 24


def draw_test_images(
    cfg: Config, checkpoint: str, detections: Path, out_dir: Path, number: int
) -> None:
    """Draw the first images of the test set into ``detections/`` and ``assignments/``.

    Args:
        cfg (Config): Config of the detector, whose test set is its validation set.
        checkpoint (str): Checkpoint of the detector.
        detections (Path): File written by ``test --out``.
        out_dir (Path): Parent of the two directories.
        number (int): Number of images, at most.
    """
    test_set = TestSet(cfg)
    inputs = test_set.match_images(test_set.read_detections(detections))
    errors = find_errors(*inputs, score_thr=0.0)
    no_samples = np.zeros((0, len(errors.pairs.img_ids)), int)
    best = find_best_thresholds(errors.pairs, errors.matches, no_samples)
    score_thr = best['JI']['threshold']
    by_id = {one.img_id: (one, found) for one, found in zip(*inputs, strict=True)}
    dataset = build_plain_dataset(cfg, 'val')
    model = MODELS.build(cfg.model)
    load_weights(model, checkpoint)
    for i in range(min(number, len(dataset))):
        sample = dataset[i]
        img_path, img_id = (sample['data_samples'].get(key) for key in ('img_path', 'img_id'))
        name = f'{Path(img_path).stem}.jpg'
        image = mmcv.imread(img_path, channel_order='rgb')
        write_image(
            out_dir / 'detections' / name, draw_detections(image, *by_id[img_id], score_thr)
        )
        (call,) = compute_assignments(model, [sample])
        drawn = render_assignment(sample, call, compute_candidates(call), width=1280)
        write_image(out_dir / 'assignments' / name, drawn)


def render_assignment(
    sample: dict,
    call: Assignment,
    candidates: Tensor | None = None,
    title: str = '',
    remark: str = '',
    width: int = PANEL_WIDTH,
) -> np.ndarray:
    """Draw the positive priors of every gt of an image, cropped to the gts and enlarged.

    Args:
        sample (dict): Output of a pipeline without normalization: ``inputs``, uint8, BGR,
            (3, H, W), and ``data_samples``.
        call (Assignment): The call of the assigner for this image.
        candidates (Tensor, optional): Its candidates, see
            :func:`~mmdet_lla.analysis.assignment_stats.compute_candidates`, to mark contested
            priors.
        title, remark (str): See :func:`~mmdet_lla.analysis.drawing.draw_assignment`.
        width (int): Width in pixels, as far as ``MAX_ZOOM`` allows; wider crops are not reduced.
            Defaults to 960.

    Returns:
        np.ndarray: RGB, uint8, at least ``width`` pixels wide.
    """
    image = np.ascontiguousarray(sample['inputs'].numpy()[::-1].transpose(1, 2, 0))
    gt_bboxes = to_numpy(call.gt_instances.bboxes)
    left, top, right, bottom = _find_region(gt_bboxes, *image.shape[:2])
    zoom = min(max(1.0, width / (right - left)), MAX_ZOOM)
    size = round(zoom * (right - left)), round(zoom * (bottom - top))
    image = cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_CUBIC)
    space = max(width - size[0], 0)
    image = cv2.copyMakeBorder(image, 0, 0, space // 2, space - space // 2, cv2.BORDER_CONSTANT)
    corner, shift = np.array([left, top]), np.array([space // 2, 0])

    def to_panel(coords) -> np.ndarray:
        coords = to_numpy(coords).astype(float)
        num_points = coords.shape[1] // 2
        return zoom * (coords - np.tile(corner, num_points)) + np.tile(shift, num_points)

    ignored = getattr(sample['data_samples'], 'ignored_instances', None)
    gt_inds = to_numpy(call.result.gt_inds)
    priors = torch.as_tensor(to_numpy(call.pred_instances.priors))
    return draw_assignment(
        image,
        to_panel(gt_bboxes),
        to_panel(get_centers(priors)),
        np.full_like(gt_inds, -1) if call.levels is None else to_numpy(call.levels),
        gt_inds,
        dot=zoom,
        candidates=None if candidates is None else to_numpy(candidates),
        ignore_bboxes=None if ignored is None else to_panel(ignored.bboxes),
        title=title,
        remark=remark,
        level_names=[f'stride {stride}' for stride in call.strides],
    )


def _find_region(gt_bboxes: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the region with gts, or the whole image."""
    if not len(gt_bboxes):
        return 0, 0, width, height
    low, high = gt_bboxes[:, :2].min(0) - MARGIN, gt_bboxes[:, 2:].max(0) + MARGIN
    left, top, right, bottom = np.clip([*low, *high], 0, [width, height] * 2).astype(int).tolist()
    return (left, top, right, bottom) if left < right and top < bottom else (0, 0, width, height)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an RGB image; creates parent directories.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, content = cv2.imencode(path.suffix, image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not encoded:
        raise OSError(f'{path} cannot be encoded')
    path.write_bytes(content.tobytes())
