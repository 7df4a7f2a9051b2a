"""Runs tools/train.py and tools/test.py of mmdet, after checks that avoid a late failure."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..utils.files import is_local
from .options import EXPECTED_ERRORS, NO_ROOM, CommandParser, describe_error, report_error

PARENT = os.getppid()  # before imports that take seconds, during which it may die
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def add_mmdet_options(parser: CommandParser) -> None:
    """Add the options that both tools of mmdet have, for the help text."""
    parser.add_argument(
        '--work-dir',
        metavar='DIR',
        help='directory for logs, metrics and checkpoints (default: work_dirs/ and the name of the '
        'config)',
    )
    parser.add_shared('--cfg-options')
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='what started the processes of a distributed run',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def find_tool(name: str) -> Path:
    """Return a tool of mmdet, below ``.mim`` if installed, beside the package in a checkout.

    Raises:
        FileNotFoundError: This mmdet has none.
    """
    import mmdet

    package = Path(mmdet.__file__).parent
    paths = [package / '.mim' / 'tools' / name, package.parent / 'tools' / name]
    for path in paths:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f'mmdet {mmdet.__version__} came without its tools/{name}; looked for '
        f'{" and ".join(map(str, paths))}. Reinstall it'
    )


def check_config(
    config: str, options: dict | None, dataloaders: Sequence[str], checkpoint: str | None = None
) -> Any:
    """Read a config and check the files and classes that it names, before anything is built.

    Returns:
        Config: The config with its options.

    Raises:
        FileNotFoundError: The config, a data file, weights or the checkpoint do not exist.
        ValueError: Class names or counts do not match.
    """
    from ..datasets.checks import check_config_data
    from ..named_configs import read_config

    cfg = read_config(config)
    cfg.merge_from_dict(options or {})
    try:
        check_config_data(cfg, dataloaders)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f'{config}: {error}') from error
    if checkpoint is None:
        init_cfg = cfg.model.get('backbone', {}).get('init_cfg')
        weights = init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None
        if _is_missing(weights):
            raise FileNotFoundError(
                f'model.backbone.init_cfg of {config} needs weights that do not exist: {weights}\n'
                f'For a MobileNetV2: mmdet-lla get-weights {weights}'
            )
    elif _is_missing(checkpoint):
        raise FileNotFoundError(f'checkpoint not found: {checkpoint}')
    return cfg


def _is_missing(path: str | None) -> bool:
    """Return whether a path is local, as far as its form tells, and does not exist."""
    return path is not None and is_local(path) and not Path(path).expanduser().is_file()


def find_worker_options(cfg: Any) -> dict[str, Any]:
    """Return options that a dataloader without workers needs, which torch refuses otherwise.

    >>> find_worker_options(dict(val_dataloader=dict(num_workers=0, persistent_workers=True)))
    {'val_dataloader.persistent_workers': False}
    """
    options: dict[str, Any] = {}
    for name in LOADERS:
        loader = cfg.get(name) or {}
        if loader.get('num_workers') == 0:
            if loader.get('persistent_workers'):
                options[f'{name}.persistent_workers'] = False
            if loader.get('prefetch_factor') is not None:
                options[f'{name}.prefetch_factor'] = None
    return options


def run_mmdet_tool(prog: str, name: str, argv: Sequence[str], dataloaders: Sequence[str]) -> int:
    """Check, then let mmdet's tool of that name do its work, and return the exit status.

    Files of weights, also downloaded ones that mmengine would unpickle, are read as weights only.

    Args:
        prog (str): Name of the command, for messages.
        name (str): 'train.py' or 'test.py'.
        argv (Sequence[str]): Arguments of mmdet's tool.
        dataloaders (Sequence[str]): Dataloaders whose data is checked.
    """
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        # torchrun starts a session for each process, which nobody would end with a killed torchrun.
        from ..utils.children import end_with_parent

        end_with_parent(PARENT)
    try:
        from .. import compat
        from ..hooks import CheckpointError, NonFiniteError
        from ..models import shipped_model
        from ..named_configs import config_path
        from ..processes import orderly_end
        from ..utils.threads import configure_threads

        compat.apply()
        tool = runpy.run_path(str(find_tool(name)))
        with _arguments(name, argv):
            args = tool['parse_args']()
        if hasattr(args, 'checkpoint'):
            args.checkpoint = str(shipped_model(args.checkpoint) or args.checkpoint)
        cfg = check_config(
            args.config, args.cfg_options, dataloaders, getattr(args, 'checkpoint', None)
        )
        workers = max((cfg.get(one) or {}).get('num_workers', 0) for one in dataloaders)
        print(configure_threads(workers=workers), file=sys.stderr)
        args.cfg_options = {**(args.cfg_options or {}), **find_worker_options(cfg)}
        args.config = str(config_path(args.config))  # mmdet's tools know no 'mmdet::...'
    except EXPECTED_ERRORS as error:
        return report_error(prog, error)
    tool['main'].__globals__['parse_args'] = lambda: args
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    try:
        with orderly_end():
            tool['main']()
    except (CheckpointError, NonFiniteError) as error:
        print(f'{prog}: {error}', file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        # Where a file was open already, such as a log, the error does not name it.
        print(
            f'{prog}: {describe_error(error)}. Checkpoints that were written are complete; make '
            'room and continue with --resume',
            file=sys.stderr,
        )
        return 1
    if os.environ.get('RANK', '0') == '0':
        work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
        print(f'written: {work_dir}')
    return 0


@contextmanager
def _arguments(name: str, argv: Sequence[str]) -> Iterator[None]:
    """Show other arguments to a tool that reads ``sys.argv``."""
    before = sys.argv
    sys.argv = [name, *argv]
    try:
        yield
    finally:
        sys.argv = before
