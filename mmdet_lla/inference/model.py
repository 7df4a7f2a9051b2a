"""Detector that runs in torch: an mmdet model with its config and weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.backbones import MobileNetV2
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.registry import init_default_scope

from ..models import UnsuitableModelError
from ..plain_checkpoints import load_state
from ..runtime import Detections
from ..runtime.detector import PreparedImage
from ..runtime.images import to_bgr


class TorchDetector:
    """Runs an mmdet detector on whole images.

    Args:
        cfg (Config): With ``model`` and ``test_dataloader``.
        checkpoint (dict): With the weights.
        device (str): Device of torch.
        name (str): Name for messages.

    Attributes:
        model (nn.Module): The detector, with batch norms fused into convolutions.
        classes (tuple[str]): Class names.
        threshold (float, optional): Score threshold chosen on the validation set, if the checkpoint
            has one.
        metrics (dict[str, float]): Validation metrics, if the checkpoint has them.

    Raises:
        ValueError: The config has no test pipeline, or the weights do not fit the model.

    Example::

        detector = TorchDetector(cfg, checkpoint, 'cpu')
        (found,) = detector.detect([detector.prepare(read_image('photo.jpg'))])
    """

    def __init__(self, cfg: Config, checkpoint: dict, device: str, name: str = '') -> None:
        init_default_scope(cfg.get('default_scope') or 'mmdet')
        self.cfg, self.name, self.device = cfg, name, device
        meta = checkpoint.get('meta', {})
        self.classes = _classes(cfg, meta)
        self.threshold = meta.get('score_threshold')
        self.metrics = dict(meta.get('metrics') or {})
        model = fuse_conv_bn(_drop_unused_layers(_build(cfg, checkpoint, name)).eval())
        self.model = model.to(device=device, memory_format=torch.channels_last)
        self._pipeline = Compose(image_pipeline(cfg))

    def prepare(self, image) -> PreparedImage:
        """Apply the test pipeline to an image; may be called from several threads.

        Args:
            image (np.ndarray | PIL.Image.Image): See :func:`~mmdet_lla.runtime.images.to_bgr`.

        Raises:
            BrokenImageError: The image has an unsupported type or shape.
        """
        image = to_bgr(image)
        height, width = image.shape[:2]
        data = self._pipeline(
            dict(img=image, img_shape=(height, width), ori_shape=(height, width), img_path='')
        )
        factors = data['data_samples'].get('scale_factor', (1.0, 1.0))
        return PreparedImage(data, tuple(data['inputs'].shape), height, width, tuple(factors))

    @torch.inference_mode()
    def detect(self, batch: Sequence[PreparedImage]) -> list[Detections]:
        """Detect in prepared images of the same shape; returns all that the detector keeps.

        Raises:
            UnsuitableModelError: The detector returns no boxes.
        """
        samples = [one.data for one in batch]
        # copies, because a detector may modify its samples
        data = dict(
            inputs=[sample['inputs'] for sample in samples],
            data_samples=[copy.copy(sample['data_samples']) for sample in samples],
        )
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'torch.meshgrid')  # mmdet's point generator
            results = self.model.test_step(data)
        return [self._detections(*pair) for pair in zip(batch, results, strict=True)]

    def _detections(self, one: PreparedImage, result) -> Detections:
        found = result.pred_instances
        if 'bboxes' not in found or 'scores' not in found:
            raise UnsuitableModelError(
                f'{self.name} returns no boxes with scores, only {found.keys()}'
            )
        boxes = getattr(found.bboxes, 'tensor', found.bboxes)
        order = found.scores.sort(descending=True, stable=True).indices
        return Detections(
            boxes[order].float().cpu().numpy(),
            found.scores[order].float().cpu().numpy(),
            found.labels[order].cpu().numpy().astype(np.int64),
            self.classes,
            one.height,
            one.width,
        )


def find_test_dataset(cfg: Config) -> dict:
    """Return the settings of a config's test dataset, inside any wrappers such as ConcatDataset.

    Of several datasets it is the first; an empty dict if the config has none.

    Example:
        >>> inner = dict(type='CocoDataset', pipeline=[dict(type='Resize')])
        >>> outer = dict(type='ConcatDataset', datasets=[inner])
        >>> find_test_dataset(Config(dict(test_dataloader=dict(dataset=outer)))).type
        'CocoDataset'
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'pipeline' not in dataset and ('dataset' in dataset or 'datasets' in dataset):
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    return dataset


def image_pipeline(cfg: Config) -> list[dict]:
    """Return a config's test pipeline for images in memory, without loading and annotations.

    Raises:
        ValueError: The config has no test pipeline.

    Example:
        >>> steps = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]
        >>> cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=steps))))
        >>> [step['type'] for step in image_pipeline(cfg)]
        ['PackDetInputs']
    """
    steps = copy.deepcopy(find_test_dataset(cfg).get('pipeline') or [])
    if not steps:
        raise ValueError('the config has no test_dataloader.dataset.pipeline')
    steps = [
        step
        for step in steps
        if not str(step['type']).rpartition('.')[2].startswith(('Load', 'InferencerLoader'))
    ]
    if 'meta_keys' in steps[-1]:
        steps[-1]['meta_keys'] = tuple(key for key in steps[-1]['meta_keys'] if key != 'img_id')
    else:
        steps[-1]['meta_keys'] = ('img_path', 'ori_shape', 'img_shape', 'scale_factor')
    return steps


def _build(cfg: Config, checkpoint: dict, name: str) -> torch.nn.Module:
    """Build the model with the given weights, without pretrained ones."""
    values = copy.deepcopy(cfg.model)
    _drop_init(values)
    values.pop('train_cfg', None)
    model = revert_sync_batchnorm(MODELS.build(values))
    load_state(model, checkpoint.get('state_dict', checkpoint), f'the checkpoint of {name}')
    return model


def _drop_unused_layers(model: torch.nn.Module) -> torch.nn.Module:
    """Remove the layers of a MobileNetV2 after its last output, which it computes in vain."""
    backbone = getattr(model, 'backbone', None)
    if isinstance(backbone, MobileNetV2):
        count = max(backbone.out_indices) + 1
        for name in backbone.layers[count:]:
            delattr(backbone, name)
        backbone.layers = backbone.layers[:count]
    return model


def _drop_init(values) -> None:
    if isinstance(values, dict):
        values.pop('init_cfg', None)
        for value in values.values():
            _drop_init(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            _drop_init(value)


def _classes(cfg: Config, meta: dict) -> tuple[str, ...]:
    """Return class names from the checkpoint, else from the config's dataset."""
    stored = {key.lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    names = stored.get('classes') or meta.get('CLASSES')
    dataset = find_test_dataset(cfg)
    if not names:
        names = (dataset.get('metainfo') or {}).get('classes')
    if not names and 'type' in dataset:
        names = getattr(DATASETS.get(dataset['type']), 'METAINFO', {}).get('classes')
    return (names,) if isinstance(names, str) else tuple(names or ('object',))
