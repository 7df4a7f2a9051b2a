#!/usr/bin/env python
"""Train a detector: mmdet's own tools/train.py and its options, with mmdet_lla at hand.

Before anything is built, the files of the data sets are looked for.
"""

from _mmdet_tool import run

if __name__ == '__main__':
    run('train.py', ('train_dataloader', 'val_dataloader'))
