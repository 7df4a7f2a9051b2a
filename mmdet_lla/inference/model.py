"""Detectors from configs, checkpoints and exported files, all used in one way.

A detector has ``classes``, ``threshold``, ``metrics``, ``prepare`` (a picture to what goes in) and
``detect`` (a batch of those to :class:`Detections`), as :class:`mmdet_lla.runtime.Detector` has.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmdet.models.backbones import MobileNetV2
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import load_state_dict

from ..models import MODELS as SHIPPED
from ..models import shipped_model
from ..named_configs import read_config
from ..runtime import Detections, Detector
from ..runtime.detector import Prepared
from ..runtime.pictures import check_picture
from .published import config_of, read_checkpoint

EXPORTED = ('.onnx', '.xml')
CHECKPOINTS = ('.pth', '.pt')


def load_detector(
    model: str | PathLike | Config,
    weights: str | PathLike | None = None,
    device: str = 'auto',
    cfg_options: dict | None = None,
    backend: str = 'auto',
    threads: int | None = None,
) -> TorchDetector | Detector:
    """Load a detector, whatever form it has.

    Args:
        model (str | PathLike | Config): A config, with ``weights``, as a file or as 'mmdet::...',
            for one of mmdet's; a published checkpoint; an exported file; or the name of a model
            that ships.
        weights (str | PathLike, optional): Checkpoint of a config.
        device (str): Where torch runs it; 'auto' is a GPU if there is one. Defaults to 'auto'.
        cfg_options (dict, optional): Settings of the config to override.
        backend, threads: See :class:`mmdet_lla.runtime.Detector`; for exported files.

    Raises:
        FileNotFoundError: Something named is not there.
        ValueError: It is none of these, or cannot be used; the message says why.
    """
    if isinstance(model, Config):
        return _from_config(model, weights, device, cfg_options)
    name = str(model)
    shipped = shipped_model(name)
    path = shipped or Path(name).expanduser()
    if shipped is None and (path.suffix == '.py' or '::' in name):
        return _from_config(read_config(name), weights, device, cfg_options)
    if weights is not None:
        raise ValueError(f'{name} brings its own weights; --weights goes with a config')
    if path.suffix in EXPORTED:
        if cfg_options:
            raise ValueError(f'{name} is exported; its settings are fixed, got {cfg_options}')
        return Detector(path, backend, threads)
    if path.suffix in CHECKPOINTS:
        checkpoint = read_checkpoint(path)
        cfg = config_of(checkpoint, path)
        return _from_checkpoint(cfg, checkpoint, path.stem, device, cfg_options)
    raise ValueError(
        f'{name} is no model: expected a config (.py) with --weights, a published checkpoint '
        f'(.pth), an exported file (.onnx, .xml), or one that ships '
        f'({", ".join(SHIPPED) or "none does yet"})'
    )


def _from_config(
    cfg: Config, weights: str | PathLike | None, device: str, cfg_options: dict | None
) -> TorchDetector:
    where = Path(cfg.filename or 'the config')
    if weights is None:
        raise ValueError(f'{where} is a config without weights; name its checkpoint with --weights')
    checkpoint = read_checkpoint(Path(weights).expanduser())
    return _from_checkpoint(cfg, checkpoint, where.stem, device, cfg_options)


def _from_checkpoint(
    cfg: Config, checkpoint: dict, name: str, device: str, cfg_options: dict | None
) -> TorchDetector:
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(cfg_options or {})
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return TorchDetector(cfg, checkpoint, device, name)


class TorchDetector:
    """Any detector of mmdet's, with its own test pipeline.

    Args:
        cfg (Config): With ``model`` and ``test_dataloader``.
        checkpoint (dict): With its weights.
        device (str): Where it runs.
        name (str): What to call it.

    Attributes:
        model (nn.Module): The detector, its batch norms merged into its convolutions.
        classes (tuple[str]): Names of the classes.
        threshold (float, optional): The score that was best on validation, where the checkpoint
            keeps it.
        metrics (dict[str, float]): What it reached there, where the checkpoint keeps it.

    Raises:
        ValueError: The config has no test pipeline, or the weights are of another model.
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
        self._pipeline = Compose(picture_pipeline(cfg))

    def prepare(self, image: np.ndarray) -> Prepared:
        """What the test pipeline makes of a picture; may be called from several threads.

        Args:
            image (np.ndarray): BGR, uint8, (H, W, 3).

        Raises:
            BrokenPicture: It is no such picture.
        """
        height, width = check_picture(image).shape[:2]
        data = self._pipeline(
            dict(img=image, img_shape=(height, width), ori_shape=(height, width), img_path='')
        )
        factors = data['data_samples'].get('scale_factor', (1.0, 1.0))
        return Prepared(data, tuple(data['inputs'].shape), height, width, tuple(factors))

    @torch.inference_mode()
    def detect(self, batch: Sequence[Prepared]) -> list[Detections]:
        """Detect in prepared pictures of one shape; all that the detector keeps.

        Raises:
            ValueError: The detector gives no boxes.
        """
        samples = [one.data for one in batch]
        # what a detector does to its samples stays out of what was prepared
        results = self.model.test_step(
            dict(
                inputs=[sample['inputs'] for sample in samples],
                data_samples=[copy.copy(sample['data_samples']) for sample in samples],
            )
        )
        return [self._detections(*pair) for pair in zip(batch, results, strict=True)]

    def _detections(self, one: Prepared, result) -> Detections:
        found = result.pred_instances
        if 'bboxes' not in found or 'scores' not in found:
            raise ValueError(f'{self.name} gives no boxes with scores, only {found.keys()}')
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


def picture_pipeline(cfg: Config) -> list[dict]:
    """The test pipeline of a config for pictures that are read already, without annotations.

    Raises:
        ValueError: The config has none.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    steps = copy.deepcopy(dataset.get('pipeline') or [])
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
    """The model with its weights; none are looked for elsewhere."""
    values = copy.deepcopy(cfg.model)
    _drop_init(values)
    values.pop('train_cfg', None)
    model = revert_sync_batchnorm(MODELS.build(values))
    state = checkpoint.get('state_dict', checkpoint)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state and 'num_batches_tracked' not in key]
    shapes = [
        key for key, value in wanted.items() if key in state and state[key].shape != value.shape
    ]
    if missing or shapes:
        raise ValueError(
            f'the weights are of another model than {name}: {len(missing)} of {len(wanted)} '
            f'tensors are missing ({", ".join(missing[:3])}), {len(shapes)} have another shape '
            f'({", ".join(shapes[:3])})'
        )
    load_state_dict(model, {key: state[key] for key in wanted if key in state}, strict=True)
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
    """Names from the checkpoint, else from the config's data set."""
    kept = {key.lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    names = kept.get('classes') or meta.get('CLASSES')
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if not names:
        names = (dataset.get('metainfo') or {}).get('classes')
    if not names and 'type' in dataset:
        names = getattr(DATASETS.get(dataset['type']), 'METAINFO', {}).get('classes')
    return (names,) if isinstance(names, str) else tuple(names or ('object',))
