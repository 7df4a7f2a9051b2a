"""What a run costs beside its own work on a cluster of Ray's: 200 runs of a stand-in, 4 nodes.

    python benchmarks/ray_overhead.py --runs 200 --nodes 4

The nodes are processes of this machine. A run is two tools, each a process that only writes a
line, as a real one is train.py and test.py; the same runs in the local engine, as many at once,
tell what these processes cost by themselves. Overhead is the time of the whole, from the first
run's begin to the last one's end, times the runs at once, a run, less the time in its tools.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mmdet_lla.ablation.engines import Engine, Job, JobContext, JobError, JobResult, LocalEngine

TESTS = Path(__file__).parents[1] / 'tests'
TOOL = """
import sys
print('Epoch(train)  [1][1/1]  loss: 1.0', flush=True)
with open(sys.argv[1], 'a') as file:
    file.write('done\\n')
"""


def stand_in(folder: Path, name: str, context: JobContext) -> tuple[float, float]:
    """Two tools, one after the other; when they began and how long they took."""
    begin = time.time()
    for half in ('train', 'test'):
        for _ in context.run_tool(
            [folder / 'tool.py', folder / name], folder / f'{name}.{half}.log'
        ):
            context.report(0.5, half)
    return begin, time.time() - begin


def measure(engine: Engine, folder: Path, runs: int, at_once: int) -> dict:
    """Run all, count what was done, and divide the time."""
    folder.mkdir()
    (folder / 'tool.py').write_text(TOOL)
    names = [f'run{i}' for i in range(runs)]
    done, failed, start = {}, [], time.time()
    for event in engine.run([Job(name, partial(stand_in, folder, name)) for name in names]):
        if isinstance(event, JobResult):
            done[event.name] = (*event.result, time.time())
            if len(done) % 50 == 0:
                print(f'{len(done)} runs are done', flush=True)
        elif isinstance(event, JobError):
            failed.append(f'{event.name}: {event.error}')
    begin = min(begin for begin, _, _ in done.values())
    work = [duration for _, duration, _ in done.values()]
    whole = max(end for _, _, end in done.values()) - begin
    times = Counter(
        len((folder / name).read_text().split()) if (folder / name).exists() else 0
        for name in names
    )
    return dict(
        runs=runs,
        at_once=at_once,
        done=len(done),
        failed=failed,
        tools_ended={f'{count} of 2': number for count, number in sorted(times.items())},
        seconds_until_the_first=round(begin - start, 2),
        seconds_from_then=round(whole, 2),
        seconds_in_the_tools_of_a_run=round(statistics.median(work), 3),
        overhead_a_run=round((whole * at_once - sum(work)) / runs, 3),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=200)
    parser.add_argument('--nodes', type=int, default=4, help='of one run at a time each')
    args = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    from ray_nodes import another_node, cluster_of_one

    from mmdet_lla.ablation.engines.ray_engine import RayEngine

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = measure(LocalEngine(args.nodes, gpus=[]), folder / 'local', args.runs, args.nodes)
        print('local', json.dumps(local, indent=2), flush=True)
        cluster = stack.enter_context(cluster_of_one(num_cpus=0, num_gpus=0))
        for _ in range(args.nodes):
            stack.enter_context(another_node(cluster, num_cpus=1))
            print('a node more', flush=True)
        engine = RayEngine(folder, cpus_per_run=1)
        found = measure(engine, folder / 'ray', args.runs, args.nodes)
        print('ray', json.dumps(found, indent=2), flush=True)
    whole = found['done'] == args.runs and found['tools_ended'] == {'2 of 2': args.runs}
    sys.exit(0 if whole else 'runs were lost, or done twice')


if __name__ == '__main__':
    main()
