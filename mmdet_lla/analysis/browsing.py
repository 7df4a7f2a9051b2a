"""Assignments of a dataset's images under one or several assigners, drawn side by side."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from torch import nn
from tqdm import tqdm

from ..named_configs import read_config
from ..plain_checkpoints import load_weights, parse_config
from ..utils.files import atomic_write, check_outputs
from .assignment_stats import compute_agreement, compute_candidates, sum_statistics, summarize
from .drawing import arrange_in_rows
from .images import PANEL_WIDTH, render_assignment, write_image
from .recording import compute_assignments, find_assigner_head
from .samples import build_plain_dataset, find_indices, get_file_name

#: File that lists what a run wrote.
SUMMARIES = 'summaries.json'
#: Exceptions of heads and assigners that do not fit together.
MISMATCH_ERRORS = (
    AssertionError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)


class BrowseResult(NamedTuple):
    """Result of :func:`browse`.

    Attributes:
        paths (list[Path]): Drawn images.
        summaries (dict[str, dict]): By assigner, over all images: see
            :func:`~mmdet_lla.analysis.assignment_stats.summarize`, and ``agreement`` with the
            first assigner (mean over images).
        failures (dict[str, str]): Assigners that could not be used, and why.
        skipped (list[str]): IDs of images without gts.
    """

    paths: list[Path]
    summaries: dict[str, dict[str, float]]
    failures: dict[str, str]
    skipped: list[str]


def browse(
    cfg: Config,
    checkpoint: str | None = None,
    assigners: Sequence[str] = (),
    split: str = 'val',
    number: int = 8,
    images: Sequence[str] = (),
    out_dir: Path = Path('assignments'),
    device: str = 'cpu',
    columns: int = 0,
    width: int = PANEL_WIDTH,
) -> BrowseResult:
    """Draw the positive priors of every gt, one panel per assigner and one file per image.

    Also writes ``summaries.json``. Images of an earlier run in ``out_dir`` are removed.

    Args:
        cfg (Config): Config of a detector whose head has an assigner, which comes first.
        checkpoint (str, optional): Its weights; without them, those it is initialized with.
        assigners (Sequence[str]): Further assigners, see :func:`read_assigner`.
        split (str): 'train' or 'val'. Defaults to 'val'.
        number (int): Number of images, the first that have gts. Defaults to 8.
        images (Sequence[str]): IDs or file names without extension, instead.
        out_dir (Path): Directory to write to.
        device (str): Device of the detector. Defaults to 'cpu'.
        columns (int): Panels per row; 0 comes closest to 16:9. Defaults to 0.
        width (int): Width of a panel in pixels. Defaults to 960.

    Returns:
        BrowseResult: Drawn images and summaries. An assigner that fails is left out from there on.

    Raises:
        ValueError: An argument is out of range, an image is not in the dataset, the detector has no
            assigner, the checkpoint is of another model, or ``out_dir`` holds the dataset's images.
    """
    for name, value, least in (('number', number, 1), ('columns', columns, 0), ('width', width, 1)):
        if value < least:
            raise ValueError(f'{name} must be at least {least}, got {value}')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = build_plain_dataset(cfg, split)
    indices = find_indices(dataset, images) if images else range(len(dataset))
    _prepare_directory(out_dir, dataset, filter(None, [cfg.filename, checkpoint]))
    # Some heads (TOODHead) ask the current training for the epoch.
    MessageHub.get_instance('browse_assignments').update_info('epoch', 0)
    models, failures = _build_models(cfg, checkpoint, assigners, device)
    sums = {name: [] for name in models}
    agreements = {name: [] for name in models}
    paths, skipped = [], []
    total = len(indices) if images else min(number, len(indices))
    with tqdm(total=total, desc='images', unit='image', dynamic_ncols=True) as bar:
        for index in indices:
            if len(paths) == total or not models:
                break
            sample = dataset[index]
            if not len(sample['data_samples'].gt_instances):
                skipped.append(str(sample['data_samples'].img_id))
                continue
            panels, first = [], None
            for name, call, candidates in _assign(models, sample, failures):
                gt_inds = call.result.gt_inds
                remark = ''
                if first is None:
                    first = gt_inds
                elif len(first) == len(gt_inds):
                    agreements[name].append(compute_agreement(first, gt_inds))
                    remark = f'{agreements[name][-1]:.0%} of priors as in the first panel'
                sums[name].append(sum_statistics(call, candidates))
                panels.append(render_assignment(sample, call, candidates, name, remark, width))
            if panels:
                paths.append(out_dir / f'{get_file_name(sample)}.jpg')
                write_image(paths[-1], arrange_in_rows(panels, columns))
                bar.update()
    summaries = {}
    for name in models:
        if sums[name]:
            summaries[name] = summarize(torch.stack(sums[name]).sum(0))
        if agreements[name]:
            summaries[name]['agreement'] = sum(agreements[name]) / len(agreements[name])
    with atomic_write(out_dir / SUMMARIES) as file:
        json.dump(dict(images=[path.name for path in paths], summaries=summaries), file, indent=2)
    return BrowseResult(paths, summaries, failures, skipped)


def _prepare_directory(out_dir: Path, dataset, inputs) -> None:
    """Create the directory and remove the images that an earlier run listed.

    Raises:
        ValueError: Writing to the directory could overwrite an image of the dataset.
    """
    check_outputs([out_dir / SUMMARIES], inputs)
    paths = (Path(dataset.get_data_info(i)['img_path']) for i in range(len(dataset)))
    if out_dir.resolve() in {parent.resolve() for parent in {path.parent for path in paths}}:
        raise ValueError(f'{out_dir} holds the images of the dataset: choose another output')
    out_dir.mkdir(parents=True, exist_ok=True)
    try:
        old = json.loads((out_dir / SUMMARIES).read_text(encoding='utf-8'))['images']
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return
    for name in old:
        if isinstance(name, str) and Path(name).name == name and name.endswith('.jpg'):
            (out_dir / name).unlink(missing_ok=True)


def _assign(models: dict[str, nn.Module], sample: dict, failures: dict[str, str]) -> Iterator:
    """Yield each assigner's call and candidates; move failing ones to ``failures``."""
    for name, model in list(models.items()):
        try:
            (call,) = compute_assignments(model, [sample])
            candidates = compute_candidates(call)
        except MISMATCH_ERRORS as error:
            failures[name] = _describe_error(error)
            del models[name]
        else:
            yield name, call, candidates


def read_assigner(text: str) -> ConfigDict:
    """Read an assigner's config from a command-line argument.

    Args:
        text (str): A name ('LLAAssigner'), a dict as in configs ("dict(type='LLAAssigner',
            topk=5)"), or a config file, of which the model's assigner is read.

    Raises:
        ValueError: It is none of these.

    Example:
        >>> read_assigner('LLAAssigner')
        {'type': 'LLAAssigner'}
    """
    if text.endswith('.py') or '::' in text:
        return get_assigner_cfg(read_config(text).model).assigner
    if text.isidentifier():
        return ConfigDict(type=text)
    try:
        assigner = parse_config(f'assigner = {text.strip()}')['assigner']
    except ValueError as error:
        raise ValueError(f'{text!r} is not an assigner: {error}') from error
    if not isinstance(assigner, dict) or 'type' not in assigner:
        raise ValueError(
            f'{text!r} is not an assigner; expected a name, dict(type=...) or a config'
        )
    return ConfigDict(assigner)


def get_assigner_cfg(model: ConfigDict) -> ConfigDict:
    """Return the part of ``train_cfg`` with ``assigner``; in two-stage detectors, that of the RPN.

    Raises:
        ValueError: There is none.
    """
    train_cfg = model.get('train_cfg') or ConfigDict()
    part = train_cfg.get('rpn', train_cfg)
    if 'assigner' not in part:
        raise ValueError(f'model.train_cfg of {model.type} has no assigner')
    return part


def replace_assigner(model: ConfigDict, assigner: ConfigDict) -> ConfigDict:
    """Replace the assigner in a detector's config.

    An initial phase with another assigner (TOOD's ``initial_epoch``) is removed.
    """
    model = copy.deepcopy(model)
    part = get_assigner_cfg(model)
    part.assigner = assigner
    if 'initial_epoch' in part:
        part.initial_epoch = 0
    return model


def describe(assigner: ConfigDict) -> str:
    """Describe an assigner's config in short.

    Example:
        >>> describe(ConfigDict(type='LLAAssigner', topk=5))
        'LLAAssigner(topk=5)'
    """
    name = getattr(assigner['type'], '__name__', assigner['type'])
    arguments = [f'{key}={_shorten(value)}' for key, value in assigner.items() if key != 'type']
    return f'{name}({", ".join(arguments)})' if arguments else name


def _shorten(value) -> str:
    if isinstance(value, dict) and 'type' in value:
        return describe(value)
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(_shorten, value))}]'
    return repr(value)


def _build_models(
    cfg: Config, checkpoint: str | None, assigners: Sequence[str], device: str
) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Build the detector with each assigner and the same weights; and name those that fail."""
    own = get_assigner_cfg(cfg.model).assigner
    torch.manual_seed(0)
    first = MODELS.build(replace_assigner(cfg.model, own))
    find_assigner_head(first)
    if checkpoint is None:
        first.init_weights()
    else:
        load_weights(first, checkpoint)
    models, failures = {describe(own): first.to(device)}, {}
    for text in assigners:
        name = text
        try:
            assigner = read_assigner(text)
            name = describe(assigner)
            if name in models:
                continue
            model = MODELS.build(replace_assigner(cfg.model, assigner))
            model.load_state_dict(first.state_dict())
        except (*MISMATCH_ERRORS, OSError) as error:
            failures[name] = _describe_error(error)
        else:
            models[name] = model.to(device)
    return models, failures


def _describe_error(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'
