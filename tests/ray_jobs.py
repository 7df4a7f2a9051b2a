"""Jobs for an engine, in a module that the processes of Ray can import."""

import os


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
