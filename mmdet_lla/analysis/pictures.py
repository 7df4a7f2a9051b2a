"""Writes pictures of a trained detector: what it found, and what its assigner would decide."""

from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmdet.apis import init_detector
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from torch import Tensor

from ..compat import mmengine_log_allowed
from .assignment_stats import centers_of, wishes
from .drawing import best_threshold, draw_assignment, draw_detections
from .recording import Assignment, assignments_of
from .samples import plain_dataset

#: Priors lie close together: what is drawn is enlarged to about this width, in pixels,
PANEL_WIDTH = 960
#: by at most this factor,
MAX_ZOOM = 4
#: and cut to where people are and this many pixels around them.
MARGIN = 24


def resample_images(
    cfg: Config, checkpoint: str, detections: Path, out_dir: Path, number: int
) -> None:
    """Draw the first pictures of the test set into ``detections/`` and ``assignments/``.

    Args:
        cfg (Config): Config of the detector, whose test set is its validation set.
        checkpoint (str): Its weights.
        detections (Path): What ``tools/test.py --out`` wrote.
        out_dir (Path): Folder the two folders go to.
        number (int): How many pictures, as far as there are so many.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    results = {sample['img_id']: sample for sample in load(detections)}
    seen, seen_by_loss = DATASETS.build(_unresized(cfg)), plain_dataset(cfg, 'val')
    with mmengine_log_allowed():
        model = init_detector(cfg, checkpoint, palette=[(220, 20, 60)], device='cpu')
    threshold = best_threshold(
        [
            (_people(seen.get_data_info(i)), *_predicted(results[seen.get_data_info(i)['img_id']]))
            for i in range(len(seen))
        ]
    )
    for i in range(min(number, len(seen))):
        sample = seen[i]['data_samples']
        image = mmcv.imread(sample.img_path, channel_order='rgb')
        name = f'{Path(sample.img_path).stem}.jpg'
        drawn = draw_detections(
            image,
            *(_numpy(boxes.bboxes) for boxes in (sample.gt_instances, sample.ignored_instances)),
            *_predicted(results[sample.img_id]),
            threshold,
        )
        write_picture(out_dir / 'detections' / name, drawn)
        (call,) = assignments_of(model, [seen_by_loss[i]])
        drawn = assignment_picture(seen_by_loss[i], call, wishes(call), width=1280)
        write_picture(out_dir / 'assignments' / name, drawn)


def assignment_picture(
    sample: dict,
    call: Assignment,
    wanted: Tensor | None = None,
    title: str = '',
    remark: str = '',
    width: int = PANEL_WIDTH,
) -> np.ndarray:
    """The priors that every box of a picture took, where the boxes are.

    Args:
        sample (dict): What a pipeline without normalisation gives: ``inputs``, uint8, BGR,
            (3, H, W), and ``data_samples``.
        call (Assignment): The assigner's call for this picture.
        wanted (Tensor, optional): Its wishes, see
            :func:`~mmdet_lla.analysis.assignment_stats.wishes`; they mark contested priors.
        title, remark (str): See :func:`~mmdet_lla.analysis.drawing.draw_assignment`.
        width (int): Of the picture, in pixels, as far as ``MAX_ZOOM`` allows; larger ones are not
            made smaller. Defaults to 960.

    Returns:
        np.ndarray: RGB, uint8, ``width`` pixels wide or more.
    """
    image = np.ascontiguousarray(sample['inputs'].numpy()[::-1].transpose(1, 2, 0))
    bboxes = _numpy(call.gt_instances.bboxes)
    left, top, right, bottom = _region(bboxes, *image.shape[:2])
    zoom = min(max(1.0, width / (right - left)), MAX_ZOOM)
    size = round(zoom * (right - left)), round(zoom * (bottom - top))
    image = cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_CUBIC)
    space = max(width - size[0], 0)
    image = cv2.copyMakeBorder(image, 0, 0, space // 2, space - space // 2, cv2.BORDER_CONSTANT)
    corner, shift = np.array([left, top]), np.array([space // 2, 0])

    def placed(coords) -> np.ndarray:
        coords = _numpy(coords).astype(float)
        both = coords.shape[1] // 2
        return zoom * (coords - np.tile(corner, both)) + np.tile(shift, both)

    ignored = getattr(sample['data_samples'], 'ignored_instances', None)
    levels = call.levels
    if levels is None:
        levels = torch.full_like(call.result.gt_inds, -1)
    return draw_assignment(
        image,
        placed(bboxes),
        placed(centers_of(_tensor(call.pred_instances.priors))),
        _numpy(levels),
        _numpy(call.result.gt_inds),
        dot=zoom,
        wanted=None if wanted is None else _numpy(wanted),
        ignore_bboxes=None if ignored is None else placed(ignored.bboxes),
        title=title,
        remark=remark,
        level_names=[f'stride {stride}' for stride in call.strides],
    )


def _region(bboxes: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of where boxes are in a picture."""
    if not len(bboxes):
        return 0, 0, width, height
    (left, top), (right, bottom) = bboxes[:, :2].min(0) - MARGIN, bboxes[:, 2:].max(0) + MARGIN
    left, right = (int(np.clip(x, 0, width)) for x in (left, right))
    top, bottom = (int(np.clip(y, 0, height)) for y in (top, bottom))
    return (left, top, right, bottom) if left < right and top < bottom else (0, 0, width, height)


def _unresized(cfg: Config) -> dict:
    """The test set with pictures and boxes at their own size."""
    dataset = cfg.test_dataloader.dataset
    steps = [
        next(step for step in dataset.pipeline if step['type'] == kind)
        for kind in ('LoadImageFromFile', 'LoadAnnotations')
    ]
    return {**dataset, 'pipeline': [*steps, dict(type='PackDetInputs')]}


def _people(data_info: dict) -> np.ndarray:
    boxes = [one['bbox'] for one in data_info['instances'] if not one['ignore_flag']]
    return np.array(boxes, dtype=float).reshape(-1, 4)


def _predicted(result: dict) -> tuple[np.ndarray, np.ndarray]:
    predicted = result['pred_instances']
    return _numpy(predicted['bboxes']), _numpy(predicted['scores'])


def _tensor(values) -> Tensor:
    return torch.as_tensor(getattr(values, 'tensor', values))


def _numpy(values) -> np.ndarray:
    return _tensor(values).cpu().numpy()


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write an RGB picture; folders are made.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise OSError(f'{path} could not be written')
