"""A whole study through its command line, and the report it writes."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from programs import run_program
from tiny_crowd import CONFIG_TEXT

from mmdet_lla.ablation import ablate
from mmdet_lla.ablation.gallery import select_images
from mmdet_lla.evaluation.annotations import CrowdAnnotation
from mmdet_lla.synthetic import CrowdParams, build_dataset

ROOT = Path(__file__).resolve().parents[2]
CONFIG = (
    CONFIG_TEXT
    + 'model.update(test_cfg=dict(score_thr=0.0))\ndefault_hooks = dict(logger=dict(interval=1))\n'
)
VARIANT = "_base_ = './crowd_lla.py'\nmodel = dict(train_cfg=dict(assigner=dict(topk=3)))\n"


class Page(HTMLParser):
    """Collect the addresses that a browser would fetch and the words that it would show."""

    VOID = {'meta', 'img', 'br', 'link', 'input', 'hr'}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses, self.words, self.open, self.ids = [], [], [], set()
        self.feed(text)
        assert self.open == [], 'tags were left open'

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ('src', 'href') if name in attrs]
        self.ids |= {attrs['id']} if 'id' in attrs else set()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not set(self.open) & {'style', 'title'}:
            self.words += data.split()


@pytest.mark.slow
def test_a_study_from_configs_to_report(tmp_path, monkeypatch, python):
    build_dataset(str(tmp_path / 'crowd'), 4, 3, CrowdParams(width=160, height=120), workers=1)
    (tmp_path / 'crowd_lla.py').write_text(CONFIG.format(root=ROOT))
    (tmp_path / 'crowd_k3.py').write_text(VARIANT)
    options = {
        'train_cfg.max_epochs': 2,
        'param_scheduler.1.end': 2,
        'train_dataloader.batch_size': 1,
    }
    command = [
        *(python, ROOT / 'tools/ablate.py', 'crowd_lla.py', 'K 3=crowd_k3.py'),
        *'--seeds 0 --jobs 2 --work-dir work --no-checkpoints --cfg-options'.split(),
        *(f'{key}={value}' for key, value in options.items()),
    ]
    done = run_program(*command, cwd=tmp_path, CROWD_ROOT=f'{tmp_path}/crowd/')
    assert '2/2 runs' in done.stderr
    work = tmp_path / 'work'
    rows = list(csv.DictReader((work / 'results.csv').open()))
    assert [(row['config'], row['seed'], row['differs']) for row in rows] == [
        ('lla', '0', ''),
        ('K 3', '0', 'model.train_cfg.assigner.topk=3'),
    ]
    results = json.loads((work / 'results.json').read_text())
    for row in results['runs']:
        # the numbers of the run's own test
        (tested,) = (work / row['work_dir'] / 'test').glob('*/*.json')
        values = json.loads(tested.read_text().splitlines()[-1])
        for name, key in dict(AP='mAP', MR='mMR', JI='JI', recall='recall').items():
            assert row[name] == pytest.approx(values[f'crowd_human/{key}'])
        assert row['train_seconds'] > 0
        log = (work / row['work_dir'] / 'train.log').read_text()
        assert log.count('Epoch(train) [1][4/4]') == log.count('Epoch(train) [2][4/4]') == 1
        assert not list((work / row['work_dir']).glob('*.pth'))
    estimates = results['estimates']
    assert estimates['lla']['differences'] is None
    assert estimates['K 3']['differences']['AP']['value'] == pytest.approx(
        results['runs'][1]['AP'] - results['runs'][0]['AP']
    )

    report = (work / 'report.html').read_text()
    page = Page(report)
    assert all(address.startswith(('data:', '#')) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address[0] == '#'} <= page.ids
    kinds = [
        re.match(r'data:([\w/+]+)', address)[1]
        for address in page.addresses
        if address.startswith('data:')
    ]
    # differences, two curves, AP and recall by three traits, training; assignments of both
    assert kinds.count('image/svg+xml') == 10
    assert kinds.count('image/jpeg') >= 2 and kinds.count('image/jpeg') % 2 == 0
    text = ' '.join(page.words)
    for words in (
        'Against lla',
        'Only one seed finished for lla, K 3',
        'model.train_cfg.assigner',
        '--seeds 0 --jobs 2',
        'torch 2',
    ):
        assert words in text, words

    # Nothing is trained to write it again, and the images stay though the checkpoints are gone.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CROWD_ROOT', f'{tmp_path}/crowd/')
    assert (
        ablate(['crowd_lla.py', 'K 3=crowd_k3.py'], [0], work, options=options, train=False) == []
    )
    assert (work / 'report.html').read_text().count('image/jpeg') == kinds.count('image/jpeg')


def test_selected_images_have_few_and_many_overlapping_people():
    def image(img_id, count, overlap):
        left = [10 * (1 - overlap) * i for i in range(count)]
        return CrowdAnnotation.create(img_id, [[x, 0, x + 10, 30] for x in left])

    crowded = [image(f'crowded {n}', n, 0.6) for n in range(2, 22)]
    others = [image(f'other {n}', n, 0.0) for n in range(0, 40)]
    chosen = select_images(others + crowded, 3)
    assert len(chosen) == 3 and all(img_id.startswith('crowded') for img_id in chosen)
    counts = [int(img_id.split()[1]) for img_id in chosen]
    assert counts == sorted(counts) and counts[0] < 6 and counts[-1] > 14
    assert len(select_images(others[:3], 3)) == 2  # there is nobody in the first
    assert select_images([others[0]], 3) == []
