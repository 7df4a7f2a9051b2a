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

from .drawing import best_threshold, draw_assignment, draw_detections
from .recording import assignments_of

#: Small pictures are enlarged towards this width, in pixels: priors lie close together.
PICTURE_WIDTH = 1280


def draw_pictures(cfg: Config, checkpoint: str, detections: Path, out_dir: Path,
                  number: int) -> None:
    """Draw the first pictures of the test set into ``detections/`` and ``assignments/``.

    Args:
        cfg (Config): Config of the detector.
        checkpoint (str): Its weights.
        detections (Path): What ``tools/test.py --out`` wrote.
        out_dir (Path): Folder the two folders go to.
        number (int): How many pictures, as far as there are so many.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    results = {sample['img_id']: sample for sample in load(detections)}
    seen, seen_by_loss = (DATASETS.build(dataset) for dataset in _datasets(cfg))
    model = init_detector(cfg, checkpoint, palette=[(220, 20, 60)], device='cpu')
    strides = [max(_pair(stride)) for stride in model.bbox_head.prior_generator.strides]
    for folder in ('detections', 'assignments'):
        (out_dir / folder).mkdir(parents=True, exist_ok=True)
    threshold = best_threshold([
        (_people(seen.get_data_info(i)), *_predicted(results[seen.get_data_info(i)['img_id']]))
        for i in range(len(seen))])
    for i in range(min(number, len(seen))):
        sample = seen[i]['data_samples']
        image = mmcv.imread(sample.img_path, channel_order='rgb')
        name = f'{Path(sample.img_path).stem}.jpg'
        drawn = draw_detections(
            image, *(_numpy(boxes.bboxes) for boxes in (sample.gt_instances,
                                                        sample.ignored_instances)),
            *_predicted(results[sample.img_id]), threshold)
        _write(out_dir / 'detections' / name, drawn)

        sample = seen_by_loss[i]
        call, = assignments_of(model, [sample])
        height, width = sample['data_samples'].img_shape
        points = call.pred_instances.priors
        points = points[:, :2] if points.size(1) == 2 else (points[:, :2] + points[:, 2:]) / 2
        zoom = max(1, PICTURE_WIDTH // width)
        drawn = draw_assignment(
            mmcv.imresize(image, (width * zoom, height * zoom)),
            zoom * _numpy(call.gt_instances.bboxes), zoom * _numpy(points),
            _levels(len(points), (height, width), strides, model),
            call.result.gt_inds.cpu().numpy(), dot=zoom)
        _write(out_dir / 'assignments' / name, drawn)


def _datasets(cfg: Config) -> tuple[dict, dict]:
    """The test set with boxes in pixels of the picture, and of the network's input."""
    dataset = cfg.test_dataloader.dataset
    load_step, annotations, resize = (
        next(step for step in dataset.pipeline if step['type'] == kind)
        for kind in ('LoadImageFromFile', 'LoadAnnotations', 'Resize'))
    pack = dict(type='PackDetInputs')
    return ({**dataset, 'pipeline': [load_step, annotations, pack]},
            {**dataset, 'pipeline': [load_step, annotations, resize, pack]})


def _levels(num_priors: int, shape: tuple[int, int], strides: list[int], model) -> np.ndarray:
    """Level of each prior, from the sizes of the feature maps of a padded picture."""
    divisor = model.data_preprocessor.pad_size_divisor
    padded = [-(-side // divisor) * divisor for side in shape]
    per_place = model.bbox_head.num_base_priors
    sizes = [per_place * -(-padded[0] // s) * -(-padded[1] // s) for s in strides]
    if sum(sizes) != num_priors:
        raise ValueError(f'{num_priors} priors, but levels of {sizes} were expected from strides '
                         f'{strides} and a picture of {padded}')
    return np.repeat(np.arange(len(sizes)), sizes)


def _pair(stride) -> tuple:
    return stride if isinstance(stride, (tuple, list)) else (stride, stride)


def _people(data_info: dict) -> np.ndarray:
    boxes = [one['bbox'] for one in data_info['instances'] if not one['ignore_flag']]
    return np.array(boxes, dtype=float).reshape(-1, 4)


def _predicted(result: dict) -> tuple[np.ndarray, np.ndarray]:
    predicted = result['pred_instances']
    return _numpy(predicted['bboxes']), _numpy(predicted['scores'])


def _numpy(values) -> np.ndarray:
    values = getattr(values, 'tensor', values)
    return (values if isinstance(values, Tensor) else torch.as_tensor(values)).cpu().numpy()


def _write(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise OSError(f'{path} could not be written')
