"""Options that several commands share, and the wrapper that runs every command.

A command is a module with ``build_parser()``, ``run(args) -> int`` and ``main(argv)``. Modules of
this package import only the standard library at their top, so that ``--help`` responds at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..utils.signals import orderly_exit
from ..utils.threads import configure_threads

EXIT_STATUS = (
    'Exit status: 0 if everything was done, 1 if something failed, 2 if nothing could be done.'
)
#: Set it to get a traceback where a command would print only a message.
TRACEBACK = 'MMDET_LLA_TRACEBACK'
#: Errors that a user can do something about.
EXPECTED_ERRORS = (OSError, ValueError, ImportError)
#: Errors of a write for which there is no room.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def parse_pair(text: str) -> str:
    """Return a ``KEY=VALUE`` text unchanged.

    Example:
        >>> parse_pair('model.test_cfg.score_thr=0.1')
        'model.test_cfg.score_thr=0.1'

    Raises:
        argparse.ArgumentTypeError: It has no key or no ``=``.
    """
    if not text.partition('=')[0] or '=' not in text:
        raise argparse.ArgumentTypeError(f'expected KEY=VALUE, got {text!r}')
    return text


def parse_count(text: str) -> int:
    """Return a number that is at least 1.

    Example:
        >>> parse_count('8')
        8

    Raises:
        argparse.ArgumentTypeError: It is less than 1, or no whole number.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number of at least 1, got {text!r}')
    return number


#: Shared options: the same meaning, default and help in every command that has them.
SHARED: dict[str, dict[str, Any]] = {
    '--ann-file': dict(metavar='FILE', required=True, help='annotation file in .odgt format'),
    '--batch-size': dict(
        type=parse_count, default=1, metavar='N', help='number of images that are detected at once'
    ),
    '--box': dict(
        choices=('body', 'visible', 'head'),
        default='body',
        help='which box of a person counts: full body, visible part or head',
    ),
    '--bootstrap': dict(
        type=int,
        default=50,
        metavar='N',
        help='number of bootstrap samples of the images, for confidence intervals, 0 for none',
    ),
    '--cfg-options': dict(
        nargs='+',
        type=parse_pair,
        default=[],
        metavar='KEY=VALUE',
        help="settings that override the config's, as in mmdet (default: none)",
    ),
    '--device': dict(
        default='auto',
        help="device of torch such as cpu or cuda:0; auto takes a GPU if there's one",
    ),
    '--img-dir': dict(
        type=Path,
        metavar='DIR',
        help='directory with the images (default: Images beside the annotation file)',
    ),
    '--num-images': dict(type=parse_count, default=8, metavar='N', help='number of images to draw'),
    '--out-dir': dict(type=Path, metavar='DIR', help='directory for all results'),
    '--overwrite': dict(action='store_true', help='replace results that exist already'),
    '--person-class': dict(
        type=int,
        metavar='ID',
        help='class of people in the detections, others are left out (default: category 1 of COCO '
        'results, label 0 of .pkl files)',
    ),
    '--quiet': dict(action='store_true', help='show no progress bars'),
    '--score-thr': dict(
        metavar='SCORE', help='lowest score of the detections that are reported (default: auto)'
    ),
    '--seed': dict(type=int, default=0, help='seed of all random choices'),
    '--threads': dict(
        type=parse_count,
        metavar='N',
        help='number of CPU threads (default: chosen for the machine)',
    ),
    '--weights': dict(metavar='FILE', help='checkpoint that belongs to a config (default: none)'),
    '--workers': dict(
        type=parse_count, metavar='N', help='number of workers (default: chosen for the machine)'
    ),
}


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Adds the default to every help text that does not state it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ''
        default = action.default
        shown = default is not None and default is not argparse.SUPPRESS
        if shown and action.option_strings and action.nargs != 0 and 'default:' not in text:
            values = default if isinstance(default, (list, tuple)) else [default]
            text += f' (default: {" ".join(map(str, values)).replace("%", "%%")})'
        return text


class CommandParser(argparse.ArgumentParser):
    """Parser of one command; its description is the docstring of the command's module.

    Args:
        command (str): Name of the command.
        doc (str): Docstring of its module.
    """

    def __init__(self, command: str, doc: str | None, **kwargs) -> None:
        self.command = command
        kwargs['prog'] = f'mmdet-lla {command}'
        super().__init__(
            description=(doc or '').strip(),
            epilog=EXIT_STATUS,
            formatter_class=HelpFormatter,
            **kwargs,
        )

    def add_shared(self, *names: str) -> None:
        """Add shared options by their names."""
        for name in names:
            settings = dict(SHARED[name])
            if name == '--out-dir':
                settings['default'] = Path('work_dirs') / self.command
            self.add_argument(name, **settings)

    def add_alias(self, old: str, new: str) -> None:
        """Accept the old spelling of an option without showing it in the help."""
        self._option_string_actions[old] = self._option_string_actions[new]


def run_command(
    parser: CommandParser,
    run: Callable[[argparse.Namespace], int],
    argv: list[str] | None = None,
) -> int:
    """Parse the arguments, run a command and return its exit status.

    Errors that a user can do something about become one line on standard error and status 2.
    ``run`` finds the command line as ``args.command_line``.

    Example:
        >>> parser = CommandParser('greet', 'Print a greeting.')
        >>> parser.add_shared('--seed')
        >>> run_command(parser, lambda args: print(args.command_line) or 0, ['--seed', '3'])
        mmdet-lla greet --seed 3
        0
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(argv)
    args.command_line = shlex.join([*parser.prog.split(), *argv])
    with _settings(args):
        try:
            with orderly_exit():
                return run(args)
        except EXPECTED_ERRORS as error:
            return report_error(parser.prog, error)


def report_error(prog: str, error: BaseException) -> int:
    """Print a message for an expected error and return exit status 2."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    print(f'{prog}: {describe_error(error)}', file=sys.stderr)
    return 2


@contextmanager
def _settings(args: argparse.Namespace) -> Iterator[None]:
    """Apply ``--quiet`` and ``--threads``, and hide warnings of libraries."""
    changes = dict(PYTHONWARNINGS=os.environ.get('PYTHONWARNINGS', 'ignore'))
    if getattr(args, 'quiet', False):
        changes['TQDM_DISABLE'] = '1'
    if hasattr(args, 'threads'):
        configure_threads(args.threads)
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def describe_error(error: BaseException) -> str:
    """Return a one-line message for an expected error.

    Example:
        >>> describe_error(FileNotFoundError(2, 'No such file or directory', 'a.jpg'))
        'a.jpg: No such file or directory'
    """
    if isinstance(error, OSError) and error.strerror:
        if error.errno in NO_ROOM:
            return f'no room to write {error.filename or "the results"}: {error.strerror}'
        if error.filename is not None:
            return f'{os.fsdecode(error.filename)}: {error.strerror}'
    return str(error) or type(error).__name__


def read_cfg_options(pairs: list[str]) -> dict[str, Any]:
    """Convert ``KEY=VALUE`` pairs as mmengine's ``DictAction`` does.

    Example:
        >>> read_cfg_options(['model.neck.out_channels=64', 'classes=[a,b]'])
        {'model.neck.out_channels': 64, 'classes': ['a', 'b']}
    """
    if not pairs:
        return {}
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *pairs]).cfg_options


def find_img_dir(img_dir: Path | None, ann_file: str) -> Path | None:
    """Return ``--img-dir``, or the directory Images beside the annotation file if it exists."""
    beside = Path(ann_file).parent / 'Images'
    return img_dir or (beside if beside.is_dir() else None)


def hush_mmengine() -> None:
    """Let mmengine log nothing below warnings."""
    from mmengine.logging import MMLogger

    MMLogger.get_instance('mmengine', log_level='WARNING')
