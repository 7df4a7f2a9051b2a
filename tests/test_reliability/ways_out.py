"""Ends processes that have joined each other, in every way a tool ends; prints their statuses.

    python tests/test_reliability/ways_out.py PROCESSES TIMES

One import, of torch alone, then forks: each child goes through the whole end of an interpreter. The
one that holds the others' meeting place may leave first, as under Slurm.
"""

import atexit
import gc
import json
import os
import signal
import socket
import sys
import time

import torch
import torch.distributed as dist
from torch import _dynamo  # noqa: F401  (DDP imports it, each child anew)
from torch.nn.parallel import DistributedDataParallel

from mmdet_lla import processes as ours


def reduce_forever(ready):
    """Work until a signal ends it, mostly inside of gloo."""
    os.write(ready, b'.')
    while True:
        dist.all_reduce(torch.ones(1000))


def one_fails(ready):
    """One process fails while the others wait for it."""
    if os.environ['RANK'] == '1':
        sys.exit('out of something')
    reduce_forever(ready)


def fail(ready):
    raise ValueError('as a bug does')


HELD = []


def train(ready):
    """Train under DDP, which holds the group beyond its end.

    What gloo's threads hold of the last collective they would give back to an interpreter that
    ends, were nobody to let them go on.
    """
    sys.setswitchinterval(1000)
    HELD.append(DistributedDataParallel(torch.nn.Linear(10, 10)))  # as a runner's cycles do
    HELD[0](torch.ones(1, 10)).sum().backward()
    for _ in range(20):
        dist.all_reduce(torch.ones(1000000))


#: Name: what is done under the tools' care, the signal that ends it, allowed statuses.
WAYS = {
    'done': (lambda ready: None, None, {0}),
    'error': (fail, None, {1}),
    'one fails': (one_fails, None, {1}),
    'Ctrl-C': (reduce_forever, signal.SIGINT, {128 + signal.SIGINT}),
    'SIGTERM': (reduce_forever, signal.SIGTERM, {128 + signal.SIGTERM}),
    'SIGTERM for one': (reduce_forever, signal.SIGTERM, {1, 128 + signal.SIGTERM}),
    'done under DDP': (train, None, {0}),
    'done, under another tool': (lambda ready: None, None, {0}),
    'error, under another tool': (fail, None, {1}),
    'done under DDP, under another tool': (train, None, {0}),
}


def children(way, processes):
    """Fork; in a child, None after its work, which then ends as a tool would."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    listen, ready = os.pipe()
    started = []
    for rank in range(processes):
        pid = os.fork()
        if not pid:
            os.environ.update(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(processes),
                MASTER_ADDR='127.0.0.1',
                MASTER_PORT=str(port),
            )
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            work = WAYS[way][0]
            ours.join_by_torch('gloo')
            dist.all_reduce(torch.ones(10))
            if 'another tool' in way:  # which has imported mmdet_lla
                atexit.register(ours.leave_processes)
                work(ready)
            else:
                with ours.orderly_end():
                    work(ready)
            return None
        started.append(pid)
    os.close(ready)
    number = WAYS[way][1]
    if number is not None:
        for _ in started:
            os.read(listen, 1)
        time.sleep(0.05)
        for pid in started[: 1 if 'one' in way else None]:
            os.kill(pid, number)
    os.close(listen)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started]


def main():
    processes, times = map(int, sys.argv[1:])
    statuses = {way: [] for way in WAYS}
    gc.freeze()  # or each child copies all of torch when it ends, to find garbage
    for way in WAYS:
        for _ in range(times):
            got = children(way, processes)
            if got is None:
                return
            statuses[way].append(got)
    print(json.dumps(statuses))


if __name__ == '__main__':
    main()
