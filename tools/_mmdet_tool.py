"""Runs a command-line tool that mmdet ships, after the checks that spare a late failure."""

import argparse
import runpy
import sys
from pathlib import Path

try:
    import mmdet_lla  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmdet_lla':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from a checkout

import mmdet
from mmengine.config import Config, DictAction

from mmdet_lla.datasets.checks import check_dataset_files


def find_tool(name: str) -> Path:
    """A tool of mmdet: in an installed package under `.mim`, in a checkout beside the package."""
    package = Path(mmdet.__file__).parent
    places = [package / '.mim' / 'tools' / name, package.parent / 'tools' / name]
    for place in places:
        if place.is_file():
            return place
    sys.exit(f'mmdet {mmdet.__version__} came without its tools/{name}; looked for '
             f'{" and ".join(map(str, places))}. Reinstall it: pip install mmdet==3.3.0')


def check(dataloaders: tuple[str, ...]) -> None:
    """End with a message if the config, a data set or the checkpoint is not there."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('config', nargs='?')
    parser.add_argument('checkpoint', nargs='?')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args, _ = parser.parse_known_args()
    if args.config is None or args.config.startswith('-'):
        return  # mmdet's parser says what is missing, or prints its help
    if '::' not in args.config and not Path(args.config).is_file():
        sys.exit(f'No config {args.config} here; configs/ holds those of mmdet_lla')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    for name in dataloaders:
        dataset = (cfg.get(name) or {}).get('dataset')
        try:
            check_dataset_files(dataset or {})
        except FileNotFoundError as error:
            sys.exit(f'{name}.dataset of {args.config}:\n{error}')


def run(name: str, dataloaders: tuple[str, ...]) -> None:
    """Check, then hand the command line to mmdet's tool of that name."""
    tool = find_tool(name)
    check(dataloaders)
    sys.argv[0] = str(tool)
    runpy.run_path(str(tool), run_name='__main__')
