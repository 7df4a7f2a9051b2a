"""Publish a checkpoint: one small file with weights, config and class names."""

import hashlib
import io
import json
import re
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor

from .plain_checkpoints import parse_config, read_weights, to_plain
from .utils.files import atomic_write, check_outputs
from .version import __version__

#: Config keys that describe where and how the training ran.
_RUN_KEYS = ('work_dir', 'load_from', 'resume', 'launcher')
#: Keys of ``meta`` that are kept.
_META_KEYS = ('epoch', 'iter', 'seed', 'dataset_meta')


def publish(
    checkpoint: str | Path,
    out_dir: str | Path,
    cfg: Config | None = None,
    name: str | None = None,
    half: bool = False,
    score_threshold: float | None = None,
    metrics: dict[str, float] | None = None,
) -> Path:
    """Write the weights with everything needed to use them, and the config next to them.

    The file contains only tensors and plain values; docs/guides/publish.md describes it. Where the
    training averaged its weights (``EMAHook``), the averages are published, as mmengine tests them.

    Args:
        checkpoint (str | Path): Checkpoint of a training.
        out_dir (str | Path): Directory to write to.
        cfg (Config, optional): Config of the detector. Defaults to that in the checkpoint.
        name (str, optional): Start of the file's name. Defaults to the name of the config, or of
            the experiment.
        half (bool): Store weights with two and more dimensions in float16, for half the size.
            Defaults to False.
        score_threshold (float, optional): Best score threshold on the validation set, in [0, 1].
        metrics (dict[str, float], optional): Validation metrics.

    Returns:
        Path: ``NAME_SIZE-HASH.pth``; HASH is the start of its SHA-256, which ``torch.hub`` checks.

    Raises:
        FileNotFoundError: ``checkpoint`` does not exist.
        ValueError: It is no checkpoint, has no usable config, or has the weights of another
            detector; or a file to write is ``checkpoint``.

    Example:
        >>> publish('epoch_12.pth', 'models', score_threshold=0.4)  # doctest: +SKIP
        PosixPath('models/lla-s_6MB-eca29335.pth')
    """
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ValueError(f'score_threshold must be from 0 to 1, got {score_threshold!r}')
    source = read_weights(checkpoint)
    meta = source.get('meta', {})
    if cfg is None:
        try:
            cfg = Config(parse_config(meta['cfg']))
        except KeyError:
            raise ValueError(f'{checkpoint} has no config; name it with --config') from None
        except ValueError as error:
            raise ValueError(
                f'The config in {checkpoint} is not plain ({error}); name one with --config'
            ) from error
    name = name or (Path(cfg.filename).stem if cfg.filename else _get_name(meta, Path(checkpoint)))
    weights = source['state_dict']
    _check_weights(weights, cfg, str(checkpoint))
    text = Config({key: value for key, value in cfg.items() if key not in _RUN_KEYS}).pretty_text
    published = dict(
        meta=to_plain(
            dict(
                {key: meta[key] for key in _META_KEYS if key in meta},
                cfg=text,
                score_threshold=score_threshold,
                metrics=metrics or {},
                mmdet_lla_version=__version__,
            ),
            'meta',
        ),
        state_dict={key: _to_storage(value, half) for key, value in weights.items()},
    )
    file = io.BytesIO()
    torch.save(published, file)
    data = file.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:8]
    path = Path(out_dir) / f'{name}_{_format_size(len(data))}-{digest}.pth'
    check_outputs([path.with_suffix('.py')], [checkpoint, *filter(None, [cfg.filename])])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, 'wb') as target:
        target.write(data)
    with atomic_write(path.with_suffix('.py')) as target:
        target.write(text)
    return path


def read_metrics(path: str | Path) -> dict[str, float]:
    """Read the metrics that ``mmdet-lla test`` writes to its work directory.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        ValueError: It contains no metrics.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as directory:
        ...     path = Path(directory, 'metrics.json')
        ...     _ = path.write_text('{"crowd_human/mMR": 0.5, "time": 1.0}')
        ...     read_metrics(path)
        {'crowd_human/mMR': 0.5}
    """
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    try:
        values = json.loads(lines[-1])
        return {
            key: float(value) for key, value in values.items() if key not in ('time', 'data_time')
        }
    except (IndexError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f'{path} has no metrics in its last line ({error})') from error


def _get_name(meta: dict, path: Path) -> str:
    """Name of the experiment without its time, which mmengine adds to the config's name."""
    experiment = meta.get('experiment_name')
    return re.sub(r'_\d{8}_\d{6}$', '', experiment) if experiment else path.stem


def _check_weights(weights: dict[str, Tensor], cfg: Config, source: str) -> None:
    """Raise if weights and a config's detector differ in names or shapes."""
    expected = revert_sync_batchnorm(MODELS.build(cfg.model)).state_dict()
    missing = sorted(expected.keys() - weights.keys())
    unexpected = sorted(weights.keys() - expected.keys())
    shapes = sorted(
        key for key in expected.keys() & weights.keys() if expected[key].shape != weights[key].shape
    )
    if missing or unexpected or shapes:
        raise ValueError(
            f'{source} has the weights of another detector than its config: {len(missing)} '
            f'missing {missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}, {len(shapes)} '
            f'of another shape {shapes[:3]}'
        )


def _to_storage(value: Tensor, half: bool) -> Tensor:
    """Copy to the CPU; in float16 if ``half`` is set and no value becomes infinite.

    Biases and the statistics of norms keep their precision: they are few, and their range is wide.
    """
    value = value.detach().cpu().clone()
    if half and value.dtype == torch.float32 and value.dim() > 1:
        smaller = value.half()
        if smaller.isfinite().all():
            return smaller
    return value


def _format_size(count: int) -> str:
    """Format a size for a file name, without a point."""
    return f'{max(1, round(count / 1e3))}KB' if count < 1e6 else f'{round(count / 1e6)}MB'
