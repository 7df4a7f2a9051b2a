"""Jobs for an engine, in a module that the processes of Ray can import."""

import os
import signal
import threading
from pathlib import Path

from mmdet_lla.analysis.ablation.engines.processes import ToolFailed


def answer(place):
    place.tell(0.5, 'half')
    return place.cpus, place.processes.env['OMP_NUM_THREADS']


def gpus(place):
    return place.gpus, place.processes.env['CUDA_VISIBLE_DEVICES'].split(',')


def complain(place):
    class Odd(Exception):
        """Of a class that cannot be pickled."""

    raise Odd('no')


def die(place, note):
    with open(note, 'a') as file:
        file.write('tried\n')
    os._exit(3)


def die_after_the_tool(place, note):
    """Its tool is killed first and then its worker, as where a node is lost; once."""
    with open(note, 'a') as file:
        file.write('tried\n')
    if Path(note).read_text().split() == ['tried']:
        threading.Timer(0.5, os._exit, [3]).start()
        raise ToolFailed('train.py', -signal.SIGKILL, note, '')
    return 'done'
