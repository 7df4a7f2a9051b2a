"""A study with fast stand-ins for the tools, which can die or wait at a given epoch."""

import json
import os
import time
from pathlib import Path

from mmdet_lla.ablation.progress import StudyProgress
from mmdet_lla.ablation.study import Study, plan_runs
from mmdet_lla.ablation.variants import load_variants

CONFIG = """
model = dict(quality={quality})
train_cfg = dict(max_epochs=4, val_interval=4)
train_dataloader = None
test_dataloader = dict(dataset=dict(type='CrowdDataset'))
test_evaluator = dict(type='CrowdMetric', ann_file='{directory}/annotation_val.odgt')
"""
# "Trains" an epoch by writing a checkpoint, goes on where it stopped, and dies where it is told to,
# or waits there for a file "go" in the current directory; told to end, it notes that.
TRAIN = """
import json, os, re, runpy, signal, sys, time, zipfile
from pathlib import Path
cfg, work = runpy.run_path(sys.argv[1]), Path(sys.argv[3])
signal.signal(signal.SIGTERM, lambda number, frame: ((work / 'ended').touch(), sys.exit(1)))
assert sys.argv[4] == '--resume'
note, first = work / 'last_checkpoint', 1
if note.is_file():
    assert zipfile.is_zipfile(note.read_text()), 'resumed from what is no checkpoint'
    first = 1 + int(re.search(r'epoch_(\\d+)', note.read_text())[1])
with open(work / 'epochs', 'a') as file:
    for epoch in range(first, cfg['train_cfg']['max_epochs'] + 1):
        print(f'Epoch(train)  [{epoch}][ 5/5]  time: 0.5  loss: {1 / epoch:.4f}', flush=True)
        file.write(f'{epoch} ')
        file.flush()
        path = work / f'epoch_{epoch}.pth'
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('weights', json.dumps(cfg['model']))
        note.write_text(str(path))
        if cfg['model'].get('dies_after') == epoch:
            sys.exit('no more paper')
        end = time.monotonic() + 300
        while cfg['model'].get('waits_after') == epoch and not Path('go').exists():
            assert time.monotonic() < end, 'no file go appeared'
            time.sleep(0.02)
"""
TEST = """
import pickle, runpy, sys, zipfile
from pathlib import Path
cfg, checkpoint = runpy.run_path(sys.argv[1]), Path(sys.argv[2])
assert zipfile.is_zipfile(checkpoint) and checkpoint.name == 'epoch_4.pth'
out = sys.argv[sys.argv.index('--out') + 1]
print('Epoch(test) [1/2]    eta: 0:00:00', flush=True)
found = [[10., 10., 20., 40.], [30., 10., 40., 40.]][:cfg['model']['quality']]
pickle.dump([dict(img_id='a', ori_shape=(100, 100), pred_instances=dict(
    bboxes=found, scores=[0.9] * len(found)))], open(out, 'wb'))
"""


def make_study(directory: Path) -> None:
    """Write two configs, an image with two people, and the stand-ins of the tools."""
    (directory / 'tools').mkdir()
    (directory / 'tools' / 'train.py').write_text(TRAIN)
    (directory / 'tools' / 'test.py').write_text(TEST)
    people = [
        dict(
            tag='person',
            fbox=[x, 10, 10, 30],
            vbox=[x, 10, 10, 30],
            hbox=[x, 10, 5, 5],
            head_attr={},
            extra={},
        )
        for x in (10, 30)
    ]
    (directory / 'annotation_val.odgt').write_text(json.dumps(dict(ID='a', gtboxes=people)) + '\n')
    write_configs(directory)


def write_configs(directory, one=1, two=2):
    for name, quality in dict(one=one, two=two).items():
        (directory / f'{name}.py').write_text(CONFIG.format(quality=quality, directory=directory))


def study_of(directory, options=None, seeds=(0, 1), **kwargs):
    (directory / 'work').mkdir(exist_ok=True)
    runs = plan_runs(load_variants(['one.py', 'two.py'], options), seeds, directory / 'work')
    return Study(runs, tools=directory / 'tools', **kwargs)


class Silent(StudyProgress):
    """Keep all messages, and end a study that does not end by itself.

    Args:
        seconds (float): What the study may take, on a busy machine too.
    """

    def __init__(self, seconds=240):
        self.lines = []
        self.seconds, self.end = seconds, time.monotonic() + seconds
        super().__init__(stream=open(os.devnull, 'w'))

    def write(self, text):
        self.lines.append(text)

    def refresh(self):
        assert time.monotonic() < self.end, f'after {self.seconds} s: {self.line()}; {self.lines}'
