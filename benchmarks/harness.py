"""Measurement tools that all benchmarks share: interleaved rounds, peak memory, tables and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # read when torch is imported
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run from a checkout that is not installed

MIB = 1 << 20


def make_parser(doc: str, repeats: int) -> argparse.ArgumentParser:
    """Create a parser with the options of all benchmarks; the module's docstring is its help."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--repeats', type=int, default=repeats, help='interleaved rounds')
    parser.add_argument('--threads', type=int, default=1, help='compute threads')
    parser.add_argument('--out-json', type=Path, metavar='FILE', help='write the results there')
    return parser


def describe_machine(device: str = 'cpu') -> str:
    """Describe the machine in one line, for tables and JSON files."""
    parts = [f'Python {platform.python_version()}', f'{os.cpu_count()} cores']
    torch = sys.modules.get('torch')
    if torch is not None:
        parts += [f'torch {torch.__version__}', f'{torch.get_num_threads()} threads']
        if torch.device(device).type == 'cuda':
            parts.append(torch.cuda.get_device_name(device))
    return ', '.join(parts)


@contextmanager
def keep_busy(count: int) -> Iterator[None]:
    """Run this number of other busy processes within the context."""
    running = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def run_rounds(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list]:
    """Call each in turn, ``repeats`` rounds after a warm-up, so that other load affects all alike.

    >>> run_rounds({'one': lambda: 1, 'two': lambda: 2}, 3)
    {'one': [1, 1, 1], 'two': [2, 2, 2]}
    """
    results: dict[str, list] = {name: [] for name in calls}
    for index in range(repeats + 1):
        for name, call in calls.items():
            result = call()
            if index:
                results[name].append(result)
    return results


def measure(
    calls: Mapping[str, Callable[[], Any]], repeats: int, device: str = 'cpu'
) -> dict[str, dict[str, float]]:
    """Measure wall and processor time of each call in ms, in interleaved rounds.

    Returns:
        dict[str, dict[str, float]]: ``ms`` and ``processor_ms`` (medians), ``best_ms``,
        ``worst_ms``.

    >>> sorted(measure({'nothing': lambda: None}, 1)['nothing'])
    ['best_ms', 'ms', 'processor_ms', 'worst_ms']
    """
    synchronize = make_synchronize(device)

    def timed(call: Callable[[], Any]) -> tuple[float, float]:
        synchronize()
        wall, processor = time.perf_counter(), processor_seconds()
        call()
        synchronize()
        return (time.perf_counter() - wall) * 1e3, (processor_seconds() - processor) * 1e3

    rounds = run_rounds(
        {name: lambda call=call: timed(call) for name, call in calls.items()}, repeats
    )
    found = {}
    for name, times in rounds.items():
        wall, processor = zip(*times, strict=True)
        found[name] = dict(
            ms=statistics.median(wall),
            processor_ms=statistics.median(processor),
            best_ms=min(wall),
            worst_ms=max(wall),
        )
    return found


def make_synchronize(device: str) -> Callable[[], None]:
    """Return what waits until the device is idle; on a CPU it does nothing."""
    if not device.startswith('cuda'):
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


def peak_tensor_mib(call: Callable[[], Any], device: str = 'cpu') -> float:
    """Measure the peak memory of tensors during a call, beyond that before."""
    import torch
    from torch.autograd import DeviceType

    if device.startswith('cuda'):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        call()
    # Every allocation and release of torch's allocator with its size.
    events = [
        event
        for event in profile.kineto_results.events()
        if event.name() == '[memory]' and event.device_type() == DeviceType.CPU
    ]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / MIB


def peak_process_mib() -> float:
    """Return the largest resident size of this process; ``ru_maxrss`` includes the parent's."""
    status = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in status if 'VmHWM' in line).split()[1]) / 1024


def format_table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Format a Markdown table; floats have two digits after the point.

    >>> print(format_table(['name', 'ms'], [['LLA', 1.234]]))
    | name | ms |
    | --- | --- |
    | LLA | 1.23 |
    """
    cells = [[f'{x:.2f}' if isinstance(x, float) else str(x) for x in row] for row in rows]
    lines = [list(header), ['---'] * len(header), *cells]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def write_json(path: Path | None, machine: str, **results) -> None:
    """Write the results of a benchmark, if a file is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(machine=machine, **results), indent=1) + '\n')
