"""Runs a command-line tool that mmdet ships, after the checks that spare a late failure."""

import argparse
import errno
import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mmdet
from mmengine.config import Config

from .. import compat
from ..datasets.checks import check_config_data
from ..hooks import CheckpointError, NonFiniteError
from ..named_configs import config_path, read_config
from ..processes import orderly_end
from ..utils.children import end_with_parent
from ..utils.threads import configure_threads

PARENT = os.getppid()  # before work that takes seconds, during which it may die
#: What writing to a full disk, or beyond a quota or a limit, fails with.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def find_tool(name: str) -> Path:
    """A tool of mmdet: in an installed package under `.mim`, in a checkout beside the package."""
    package = Path(mmdet.__file__).parent
    places = [package / '.mim' / 'tools' / name, package.parent / 'tools' / name]
    for place in places:
        if place.is_file():
            return place
    sys.exit(
        f'mmdet {mmdet.__version__} came without its tools/{name}; looked for '
        f'{" and ".join(map(str, places))}. Reinstall it'
    )


def check(args: argparse.Namespace, dataloaders: tuple[str, ...]) -> Config:
    """Read the config; end with a message if it, data, weights or the checkpoint are missing."""
    try:
        cfg = read_config(args.config)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    cfg.merge_from_dict(args.cfg_options or {})
    try:
        check_config_data(cfg, dataloaders)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'{args.config}: {error}')
    checkpoint = getattr(args, 'checkpoint', None)
    if checkpoint is None:
        init_cfg = cfg.model.get('backbone', {}).get('init_cfg')
        weights = init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None
        if _is_missing(weights):
            sys.exit(
                f'model.backbone.init_cfg of {args.config} wants weights that are not there: '
                f'{weights}\nFor a MobileNetV2: python tools/model_converters/'
                f'mobilenet_v2.py {weights}'
            )
    elif _is_missing(checkpoint):
        sys.exit(f'No checkpoint {checkpoint} here')
    return cfg


def _is_missing(path: str | None) -> bool:
    """Whether a path is local, as far as its form tells, and leads nowhere."""
    return path is not None and '://' not in path and not Path(path).expanduser().is_file()


def run(name: str, dataloaders: tuple[str, ...], argv: list[str] | None = None) -> int:
    """Check, then let mmdet's tool of that name do its work.

    Whatever files of weights it reads, also those from the net that mmengine would unpickle, only
    weights are read; and what the user can do something about ends with a message alone.
    """
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        # torchrun starts a session for each process, which nobody would end with a killed torchrun.
        end_with_parent(PARENT)
    compat.apply()
    tool = runpy.run_path(str(find_tool(name)))
    with using_argv(name, argv):
        args = tool['parse_args']()
    cfg = check(args, dataloaders)
    workers = max((cfg.get(one) or {}).get('num_workers', 0) for one in dataloaders)
    print(configure_threads(workers=workers), file=sys.stderr)
    args.config = str(config_path(args.config))  # 'mmdet::...' is nothing that mmdet's tools know
    tool['main'].__globals__['parse_args'] = lambda: args
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    try:
        with orderly_end():
            tool['main']()
    except (CheckpointError, NonFiniteError) as error:
        sys.exit(str(error))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        # Where a file was open already, such as one of logs, the error does not tell its name.
        sys.exit(
            f'No room to write {error.filename or "logs or scalars"}: {error.strerror}. '
            'Checkpoints that were written are whole; make room and go on with --resume'
        )
    return 0


@contextmanager
def using_argv(name: str, argv: list[str] | None) -> Iterator[None]:
    """Let a tool that reads ``sys.argv`` see other arguments."""
    before = sys.argv
    sys.argv = before if argv is None else [name, *argv]
    try:
        yield
    finally:
        sys.argv = before


def train(argv: list[str] | None = None) -> int:
    """Train a detector: mmdet's own tools/train.py and its options, with mmdet_lla at hand."""
    return run('train.py', ('train_dataloader', 'val_dataloader'), argv)


def test(argv: list[str] | None = None) -> int:
    """Test a detector: mmdet's own tools/test.py and its options, with mmdet_lla at hand."""
    return run('test.py', ('test_dataloader',), argv)
