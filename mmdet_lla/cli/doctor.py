"""Show versions, devices, threads, operators and extras: what a bug report needs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

from ..utils.threads import count_cores
from ..version import __version__
from .options import CommandParser, run_command

#: Packages that training and testing need, by possible distribution names.
CORE = {
    'torch': ('torch',),
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'torchvision': ('torchvision',),
    'numpy': ('numpy',),
    'scipy': ('scipy',),
    'opencv': ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python'),
    'pillow': ('pillow',),
    'matplotlib': ('matplotlib',),
}
#: Packages that training and testing cannot do without.
REQUIRED = ('torch', 'mmengine', 'mmcv', 'mmdet', 'numpy', 'opencv')
#: Packages of each extra that commands use.
EXTRAS = {
    'predict': ('supervision', 'trackers'),
    'export': ('onnx', 'onnxruntime', 'onnxscript', 'openvino'),
    'ray': ('ray',),
    'tensorboard': ('tensorboard',),
}
VARIABLES = ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY', 'MKL_NUM_THREADS', 'CUDA_VISIBLE_DEVICES')


def build_parser() -> CommandParser:
    parser = CommandParser('doctor', __doc__)
    parser.add_argument('--json', action='store_true', help='print JSON instead of text')
    return parser


def find_version(*distributions: str) -> str | None:
    """Return name and version of the first distribution that is installed.

    Example:
        >>> find_version('no-such-distribution') is None
        True
    """
    for name in distributions:
        try:
            return f'{name} {metadata.version(name)}'
        except metadata.PackageNotFoundError:
            continue
    return None


def describe_torch() -> dict[str, Any]:
    """Return devices and threads as torch sees them, or the error of its import."""
    try:
        torch = import_module('torch')
    except Exception as error:  # whatever is wrong with it belongs into the report
        return dict(error=f'{type(error).__name__}: {error}')
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return dict(
        devices=['cpu', *gpus],
        cuda=torch.version.cuda or 'none',
        threads=torch.get_num_threads(),
        cpu=torch.backends.cpu.get_cpu_capability(),
    )


def find_operators() -> str:
    """Return which operators mmcv uses: its compiled ones or those of this package."""
    if find_spec('mmcv') is None:
        return 'none: mmcv is missing'
    try:
        spec = find_spec('mmcv._ext')
    except Exception as error:
        return f'unknown: {type(error).__name__}: {error}'
    if spec is None:
        return 'none'
    ours = 'mmdet_lla' in str(spec.origin)
    return 'replacements of mmdet_lla' if ours else f'compiled: {spec.origin}'


def try_import(name: str) -> str:
    """Return 'ok' if a module can be imported, else the error."""
    try:
        import_module(name)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return 'ok'


def collect() -> dict[str, Any]:
    """Collect everything about this installation."""
    extras = {
        name: {one: metadata_version(one) for one in packages} for name, packages in EXTRAS.items()
    }
    return dict(
        mmdet_lla=__version__,
        location=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        python=f'{platform.python_version()} ({sys.executable})',
        system=platform.platform(),
        cores=count_cores(),
        packages={name: find_version(*names) for name, names in CORE.items()},
        torch=describe_torch(),
        operators=find_operators(),
        imports={name: try_import(name) for name in ('mmdet.models', 'mmdet_lla.heads')},
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        extras=extras,
    )


def metadata_version(distribution: str) -> str | None:
    """Return the version of a distribution, None if it is not installed."""
    found = find_version(distribution)
    return found and found.split()[1]


def format_report(report: dict[str, Any]) -> str:
    """Return the report as text."""
    lines = []
    for key, value in report.items():
        if not isinstance(value, dict):
            lines.append(f'{key + ":":13} {value}')
            continue
        lines.append(f'{key}:')
        for name, one in value.items():
            if isinstance(one, dict):
                missing = [package for package, version in one.items() if version is None]
                have = [f'{package} {version}' for package, version in one.items() if version]
                text = ', '.join(have) or '-'
                if missing:
                    text += f'; missing: {", ".join(missing)} (pip install "mmdet-lla[{name}]")'
            else:
                text = ', '.join(one) if isinstance(one, list) else one or 'missing'
            lines.append(f'  {name + ":":15} {text}')
    return '\n'.join(lines)


def run(args: argparse.Namespace) -> int:
    report = collect()
    print(json.dumps(report, indent=1) if args.json else format_report(report))
    faults = [name for name in REQUIRED if report['packages'][name] is None]
    faults += [name for name, state in report['imports'].items() if state != 'ok']
    if faults:
        print(f'does not work: {", ".join(faults)}', file=sys.stderr)
    return 1 if faults else 0


def main(argv: list[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
