"""Makes of a training's checkpoint the file that one gives to others."""

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

from .hooks.checkpoint_files import AtomicBackend
from .plain_checkpoints import parse_config, plain, read_weights
from .version import __version__

#: Of a config, what says where and how its training ran.
_RUN = ('work_dir', 'load_from', 'resume', 'launcher')
#: Of ``meta``, what is kept where it is there.
_KEPT = ('epoch', 'iter', 'seed', 'dataset_meta')


def publish(
    checkpoint: str | Path,
    out_dir: str | Path,
    cfg: Config | None = None,
    name: str | None = None,
    half: bool = False,
    score_threshold: float | None = None,
    metrics: dict[str, float] | None = None,
) -> Path:
    """Write weights with all that is needed to use them, and nothing else; its config beside it.

    The file holds tensors and plain values alone, laid out as docs/checkpoints.md says. Where the
    training averaged its weights (``EMAHook``) the averages are published, as mmengine tests them.

    Args:
        checkpoint (str | Path): As a training wrote it.
        out_dir (str | Path): Folder to write to.
        cfg (Config, optional): The detector's. Defaults to the checkpoint's own.
        name (str, optional): What its name begins with. Defaults to the name of ``cfg``'s file, or
            else of the training's.
        half (bool): Keep weights of two and more dimensions in float16, for half the size.
            Defaults to False.
        score_threshold (float, optional): The score that was best on validation, 0 to 1.
        metrics (dict[str, float], optional): What it reached there.

    Returns:
        Path: ``NAME_SIZE-HASH.pth``, HASH the beginning of its SHA-256, as ``torch.hub`` checks it.

    Raises:
        FileNotFoundError: ``checkpoint`` is not there.
        ValueError: It is none, its config is not to be had, or the weights are of another
            detector.
    """
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ValueError(f'score_threshold must be from 0 to 1, got {score_threshold!r}')
    source = read_weights(checkpoint)
    meta = source.get('meta', {})
    if cfg is None:
        try:
            cfg = Config(parse_config(meta['cfg']))
        except KeyError:
            raise ValueError(f'{checkpoint} carries no config; name it with --config') from None
        except ValueError as error:
            raise ValueError(
                f'The config in {checkpoint} is not plain ({error}); name one with --config'
            ) from error
    name = name or (Path(cfg.filename).stem if cfg.filename else _name_of(meta, Path(checkpoint)))
    weights = source['state_dict']
    _check_weights(weights, cfg, str(checkpoint))
    text = Config({key: value for key, value in cfg.items() if key not in _RUN}).pretty_text
    published = dict(
        meta=plain(
            dict(
                {key: meta[key] for key in _KEPT if key in meta},
                cfg=text,
                score_threshold=score_threshold,
                metrics=metrics or {},
                mmdet_lla_version=__version__,
            ),
            'meta',
        ),
        state_dict={key: _stored(value, half) for key, value in weights.items()},
    )
    file = io.BytesIO()
    torch.save(published, file)
    data = file.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:8]
    path = Path(out_dir) / f'{name}_{_size(len(data))}-{digest}.pth'
    AtomicBackend().put(data, path)
    AtomicBackend().put_text(text, path.with_suffix('.py'))
    return path


def read_metrics(path: str | Path) -> dict[str, float]:
    """Metrics as ``tools/test.py`` writes them into its work directory.

    Raises:
        FileNotFoundError: ``path`` is not there.
        ValueError: It holds no metrics.
    """
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    try:
        values = json.loads(lines[-1])
        return {
            key: float(value) for key, value in values.items() if key not in ('time', 'data_time')
        }
    except (IndexError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f'{path} holds no metrics in its last line ({error})') from error


def _name_of(meta: dict, path: Path) -> str:
    """The experiment's name without its time, which mmengine makes of the config's."""
    experiment = meta.get('experiment_name')
    return re.sub(r'_\d{8}_\d{6}$', '', experiment) if experiment else path.stem


def _check_weights(weights: dict[str, Tensor], cfg: Config, where: str) -> None:
    """Raise if weights are not of a config's detector, whose own come from nowhere else."""
    wanted = revert_sync_batchnorm(MODELS.build(cfg.model)).state_dict()
    missing = sorted(wanted.keys() - weights.keys())
    foreign = sorted(weights.keys() - wanted.keys())
    shapes = sorted(
        key for key in wanted.keys() & weights.keys() if wanted[key].shape != weights[key].shape
    )
    if missing or foreign or shapes:
        raise ValueError(
            f'{where} holds the weights of another detector than its config: {len(missing)} '
            f'missing {missing[:3]}, {len(foreign)} too many {foreign[:3]}, {len(shapes)} of '
            f'another shape {shapes[:3]}'
        )


def _stored(value: Tensor, half: bool) -> Tensor:
    """On the CPU, in memory of its own; in float16 if asked and if nothing of it becomes infinite.

    Biases and the statistics of norms stay as they are: they are few, and their range is wide.
    """
    value = value.detach().cpu().clone()
    if half and value.dtype == torch.float32 and value.dim() > 1:
        smaller = value.half()
        if smaller.isfinite().all():
            return smaller
    return value


def _size(count: int) -> str:
    """A size for a name, without a point, which the hash comes before."""
    return f'{max(1, round(count / 1e3))}KB' if count < 1e6 else f'{round(count / 1e6)}MB'
