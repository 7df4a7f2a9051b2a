"""Train, use and analyze detectors of people in crowds."""

from __future__ import annotations

import runpy
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ..utils.names import did_you_mean
from ..version import __version__

#: Commands by group, in the order of the list that `mmdet-lla` prints.
GROUPS = {
    'use': ('predict', 'export', 'demo', 'doctor'),
    'train': ('train', 'test', 'publish', 'convert-checkpoint', 'get-weights'),
    'data': ('convert', 'check', 'make-crowd'),
    'compare': ('ablate', 'compare-studies', 'compare-metrics'),
    'analyze': ('analyze', 'browse-assignments', 'sweep-nms'),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)


def load_command(name: str) -> ModuleType:
    """Import the module of a command.

    Example:
        >>> load_command('make-crowd').__name__
        'mmdet_lla.cli.make_crowd'
    """
    return import_module(f'{__package__}.{name.replace("-", "_")}')


def read_summary(name: str) -> str:
    """Return the first line of the docstring of a command's module, without importing it.

    Example:
        >>> read_summary('make-crowd')
        'Generate synthetic crowd scenes in the format of CrowdHuman.'
    """
    path = Path(__file__).with_name(f'{name.replace("-", "_")}.py')
    return path.read_text(encoding='utf-8').splitlines()[0].strip('"')


def format_commands() -> str:
    """Return the list of commands by group, one line each."""
    lines = [
        f'mmdet-lla {__version__}: {(__doc__ or "").strip()}',
        '',
        'usage: mmdet-lla COMMAND [ARGUMENT ...]',
        '       mmdet-lla COMMAND --help',
        '       mmdet-lla SCRIPT.py [ARGUMENT ...]    run a script, such as one of mmdet, with the',
        "                                             package's operators and patches",
    ]
    for group, names in GROUPS.items():
        lines += ['', f'{group}:']
        for name in names:
            lines.append(f'  {name:20} {read_summary(name)}')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] == 'help':
        argv = [*argv[1:2], '--help']
    if not argv or argv[0] in ('-h', '--help'):
        print(format_commands())
        return 0
    name, *rest = argv
    if name in ('-V', '--version'):
        print(f'mmdet-lla {__version__}')
        return 0
    command = name.replace('_', '-')
    if command in COMMANDS:
        return load_command(command).main(rest)
    if name.endswith('.py') and Path(name).is_file():
        return run_script(name, rest)
    print(
        f'mmdet-lla: no command {name!r}{did_you_mean(command, COMMANDS)}\n'
        f'commands: {", ".join(COMMANDS)}',
        file=sys.stderr,
    )
    return 2


def run_script(path: str, argv: list[str]) -> int:
    """Run a Python script after this package was imported and its patches were applied."""
    from .. import compat

    compat.apply()
    sys.argv = [path, *argv]
    sys.path.insert(0, str(Path(path).resolve().parent))
    runpy.run_path(path, run_name='__main__')
    return 0
