"""Runs the ``mmdet-lla`` command in a process of its own, for tests that fork it."""

import sys

from mmdet_lla.cli.main import main

if __name__ == '__main__':  # not in the processes of a pool
    sys.exit(main(sys.argv[1:]))
