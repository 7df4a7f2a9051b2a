"""From annotations to metrics through the command lines, ours and mmdet's own."""

import json
import re
from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.fileio import load
from programs import run_program
from tiny_crowd import CONFIG_TEXT

from mmdet_lla.cli import test, train
from mmdet_lla.synthetic import CrowdParams, build_dataset

ROOT = Path(__file__).resolve().parents[2]
MMDET_TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    directory = tmp_path_factory.mktemp('end_to_end')
    build_dataset(str(directory / 'crowd'), 8, 4, CrowdParams(width=160, height=120), workers=1)
    (directory / 'config.py').write_text(
        CONFIG_TEXT.format(root=ROOT) + 'train_cfg = dict(max_epochs=1, val_interval=1)\n'
    )
    return directory


@pytest.fixture
def in_scene(scene, monkeypatch):
    """Make the scene the current directory."""
    monkeypatch.chdir(scene)
    monkeypatch.setenv('CROWD_ROOT', f'{scene}/crowd/')
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # set by the commands, and restored
    return scene


def metrics(directory: Path) -> dict:
    newest = max(directory.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    return json.loads(newest.read_text().splitlines()[-1])


@pytest.mark.slow
def test_train_resume_and_test_with_our_tools_and_mmdets(in_scene, python):
    """A training continues under either tool, and both report the same metrics."""
    scene = in_scene
    assert train.main(['config.py', '--work-dir', 'work']) == 0
    (log,) = (scene / 'work').glob('*/*.log')
    losses = [float(loss) for loss in re.findall(r'loss: ([\d.]+)', log.read_text())]
    assert losses and all(0 < loss < 100 for loss in losses)
    assert re.search(r'crowd_human/mAP: [\d.]+', log.read_text())

    args = 'config.py --work-dir work --resume --cfg-options train_cfg.max_epochs=2'
    done = run_program(python, MMDET_TOOLS / 'train.py', *args.split())
    assert 'resumed epoch: 1' in done.stdout + done.stderr
    state = torch.load(scene / 'work/epoch_2.pth', weights_only=True)
    assert state['meta']['epoch'] == 2 and 'bbox_head.retina_iou.weight' in state['state_dict']

    results = []
    for name in ('ours', 'theirs'):
        args = f'config.py work/epoch_2.pth --work-dir {name} --out results.pkl --show-dir shown'
        if name == 'ours':
            assert test.main(args.split()) == 0
        else:
            run_program(python, MMDET_TOOLS / 'test.py', *args.split())
        results.append(metrics(scene / name))
        assert len(load(scene / 'results.pkl')) == 4
        assert len(list((scene / name).rglob('shown/*.jpg'))) == 4
    for key in ('mAP', 'mMR', 'JI'):
        assert results[0][f'crowd_human/{key}'] == results[1][f'crowd_human/{key}']


@pytest.mark.parametrize(
    'tool, args, words',
    [
        (
            'train.py',
            ['config.py', '--cfg-options', 'train_dataloader.dataset.data_root=nowhere'],
            'nowhere/annotation_train.odgt(.|\n)*tools/make_crowd.py',
        ),
        ('train.py', ['--work-dir', 'work', 'no_config.py'], 'no_config.py'),
        ('train.py', ['no_weights.py'], 'no_weights.pth(.|\n)*get-weights no_weights.pth'),
        ('test.py', ['config.py', 'nothing.pth'], 'nothing.pth'),
    ],
)
def test_missing_files_end_with_instructions(in_scene, capsys, tool, args, words):
    (in_scene / 'no_weights.py').write_text(
        "_base_ = './config.py'\nmodel = dict(backbone=dict(init_cfg=dict(\n"
        "    _delete_=True, type='Pretrained', checkpoint='no_weights.pth')))\n"
    )
    command = train if tool == 'train.py' else test
    assert command.main(args) == 2
    assert re.search(words, capsys.readouterr().err)
