#!/usr/bin/env python
"""Test a detector: mmdet's own tools/test.py and its options, with mmdet_lla at hand.

Before anything is built, the files of the data set and the checkpoint are looked for.
"""

from _mmdet_tool import run

if __name__ == '__main__':
    run('test.py', ('test_dataloader',))
