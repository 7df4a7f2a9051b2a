"""Shows which priors the boxes of a data set took, under one or several assigners."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn
from tqdm import tqdm

from ..compat import mmengine_log_allowed
from ..named_configs import read_config
from .assignment_stats import agreement, summarize, tally, wishes
from .drawing import in_rows
from .pictures import PANEL_WIDTH, assignment_picture, write_picture
from .recording import assignments_of, head_with_assigner
from .samples import find_pictures, picture_name, plain_dataset

#: What is raised where a head and an assigner do not go together.
MISFITS = (
    AssertionError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Browsed(NamedTuple):
    """What :func:`browse` leaves.

    Attributes:
        paths (list[Path]): The pictures.
        summaries (dict[str, dict]): Of each assigner, over all pictures: see
            :func:`~mmdet_lla.analysis.assignment_stats.summarize`, and ``agreement`` with the
            first assigner (mean over pictures).
        failures (dict[str, str]): Assigners that could not be used, and why.
        skipped (list[str]): IDs of pictures without a box.
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
    pictures: Sequence[str] = (),
    out_dir: Path = Path('assignments'),
    device: str = 'cpu',
    columns: int = 0,
    width: int = PANEL_WIDTH,
) -> Browsed:
    """Draw the priors that every box took, a panel an assigner, a file a picture.

    Args:
        cfg (Config): Config of a detector whose head has an assigner. That one comes first.
        checkpoint (str, optional): Its weights; without them, those it is initialised with.
        assigners (Sequence[str]): Further ones, see :func:`read_assigner`.
        split (str): 'train' or 'val'. Defaults to 'val'.
        number (int): How many pictures, the first that have boxes. Defaults to 8.
        pictures (Sequence[str]): Their IDs or file names without extension, instead.
        out_dir (Path): Folder for the pictures.
        device (str): Where the detector runs. Defaults to 'cpu'.
        columns (int): Panels beside each other; 0 comes closest to a screen. Defaults to 0.
        width (int): Of a panel, in pixels. Defaults to 960.

    Returns:
        Browsed: The pictures and what they amount to. An assigner that fails is left out from
        there on; the others go on.

    Raises:
        ValueError: If an argument is out of its range, a picture is not in the data set, the
            detector has no assigner, or the checkpoint is of another model.
    """
    for name, value, least in (('number', number, 1), ('columns', columns, 0), ('width', width, 1)):
        if value < least:
            raise ValueError(f'{name} must be at least {least}, got {value}')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = plain_dataset(cfg, split)
    indices = find_pictures(dataset, pictures) if pictures else range(len(dataset))
    # Some heads (TOODHead) ask the running training for the epoch.
    MessageHub.get_instance('browse_assignments').update_info('epoch', 0)
    models, failures = _build_models(cfg, checkpoint, assigners, device)
    sums = {name: [] for name in models}
    agreements = {name: [] for name in models}
    paths, skipped = [], []
    total = len(indices) if pictures else min(number, len(indices))
    with tqdm(total=total, desc='pictures', unit='picture', dynamic_ncols=True) as bar:
        for index in indices:
            if len(paths) == total or not models:
                break
            sample = dataset[index]
            if not len(sample['data_samples'].gt_instances):
                skipped.append(str(sample['data_samples'].img_id))
                continue
            panels, first = [], None
            for name, call, wanted in _calls(models, sample, failures):
                gt_inds = call.result.gt_inds
                remark = ''
                if first is None:
                    first = gt_inds
                elif len(first) == len(gt_inds):
                    agreements[name].append(agreement(first, gt_inds))
                    remark = f'{agreements[name][-1]:.0%} of priors as in the first panel'
                sums[name].append(tally(call, wanted))
                panels.append(assignment_picture(sample, call, wanted, name, remark, width))
            if panels:
                paths.append(out_dir / f'{picture_name(sample)}.jpg')
                write_picture(paths[-1], in_rows(panels, columns))
                bar.update()
    summaries = {}
    for name in models:
        if sums[name]:
            summaries[name] = summarize(torch.stack(sums[name]).sum(0))
        if agreements[name]:
            summaries[name]['agreement'] = sum(agreements[name]) / len(agreements[name])
    return Browsed(paths, summaries, failures, skipped)


def _calls(models: dict[str, nn.Module], sample: dict, failures: dict[str, str]) -> Iterator:
    """Each assigner's call and wishes; those that fail go from ``models`` to ``failures``."""
    for name, model in list(models.items()):
        try:
            (call,) = assignments_of(model, [sample])
            wanted = wishes(call)
        except MISFITS as error:
            failures[name] = _reason(error)
            del models[name]
        else:
            yield name, call, wanted


def read_assigner(text: str) -> ConfigDict:
    """An assigner's config from a command line.

    Args:
        text (str): A name ('LLAAssigner'), a dict as in configs ("dict(type='LLAAssigner',
            topk=5)"), or a config file, whose model's assigner is meant.

    Raises:
        ValueError: If it is none of these.
    """
    if text.endswith('.py') or '::' in text:
        return assigner_slot(read_config(text).model).assigner
    if text.isidentifier():
        return ConfigDict(type=text)
    try:
        assigner = Config.fromstring(f'assigner = {text}', '.py').get('assigner')
    except (SyntaxError, NameError, TypeError) as error:
        raise ValueError(f'{text!r} is no assigner: {error}') from error
    if not isinstance(assigner, ConfigDict) or 'type' not in assigner:
        raise ValueError(f'{text!r} is no assigner; expected a name, dict(type=...) or a config')
    return assigner


def assigner_slot(model: ConfigDict) -> ConfigDict:
    """The part of a detector's ``train_cfg`` that holds ``assigner`` (of two stages, the RPN's).

    Raises:
        ValueError: If there is none.
    """
    train_cfg = model.get('train_cfg') or ConfigDict()
    slot = train_cfg.get('rpn', train_cfg)
    if 'assigner' not in slot:
        raise ValueError(f'model.train_cfg of {model.type} has no assigner')
    return slot


def with_assigner(model: ConfigDict, assigner: ConfigDict) -> ConfigDict:
    """A detector's config with another assigner.

    A first phase under another assigner (TOOD's ``initial_epoch``) is left out, for it is the
    assigner named that one wants to see.
    """
    model = copy.deepcopy(model)
    slot = assigner_slot(model)
    slot.assigner = assigner
    if 'initial_epoch' in slot:
        slot.initial_epoch = 0
    return model


def describe(assigner: ConfigDict) -> str:
    """An assigner's config in a few words: ``LLAAssigner(topk=5)``."""
    name = getattr(assigner['type'], '__name__', assigner['type'])
    knobs = ', '.join(f'{key}={_brief(value)}' for key, value in assigner.items() if key != 'type')
    return f'{name}({knobs})' if knobs else name


def _brief(value) -> str:
    if isinstance(value, dict) and 'type' in value:
        return describe(value)
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(_brief, value))}]'
    return repr(value)


def _build_models(
    cfg: Config, checkpoint: str | None, assigners: Sequence[str], device: str
) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The detector under each assigner, with the same weights; and those that cannot be built."""
    own = assigner_slot(cfg.model).assigner
    torch.manual_seed(0)
    first = MODELS.build(with_assigner(cfg.model, own))
    head_with_assigner(first)
    if checkpoint is None:
        first.init_weights()
    else:
        _load(first, checkpoint)
    models, failures = {describe(own): first.to(device)}, {}
    for text in assigners:
        name = text
        try:
            assigner = read_assigner(text)
            name = describe(assigner)
            if name in models:
                continue
            model = MODELS.build(with_assigner(cfg.model, assigner))
            model.load_state_dict(first.state_dict())
        except (*MISFITS, FileNotFoundError) as error:
            failures[name] = _reason(error)
        else:
            models[name] = model.to(device)
    return models, failures


def _load(model: nn.Module, checkpoint: str) -> None:
    """Load weights, all of them."""
    with mmengine_log_allowed():
        state = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    state = state.get('state_dict', state)
    missing = set(model.state_dict()) - set(state)
    if missing:
        raise ValueError(
            f'{checkpoint} lacks {len(missing)} of the {len(model.state_dict())} '
            f'weights of the config, {min(missing)} for one'
        )
    model.load_state_dict(state, strict=False)


def _reason(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'
