"""Custom data in five commands: convert, check, train, test, predict."""

import json

import numpy as np
import pytest
from PIL import Image

from mmdet_lla.cli.main import main


@pytest.fixture
def yolo(tmp_path):
    """A YOLO dataset of six images with two people each."""
    rng = np.random.default_rng(0)
    for name in ('images', 'labels'):
        (tmp_path / 'mine' / name).mkdir(parents=True)
    for i in range(6):
        pixels = rng.integers(256, size=(120, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'mine/images/{i}.jpg')
        (tmp_path / f'mine/labels/{i}.txt').write_text('0 0.3 0.5 0.2 0.6\n0 0.7 0.5 0.2 0.6\n')
    (tmp_path / 'mine/data.yaml').write_text('path: .\ntrain: images\nnames: {0: person}\n')
    return tmp_path


@pytest.mark.slow
def test_five_commands(yolo, monkeypatch, capsys):
    monkeypatch.chdir(yolo)
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # is set by train, and put back
    monkeypatch.delenv('PEOPLE_ROOT', raising=False)
    assert main(['convert', 'yolo', 'mine', 'people', '--quiet']) == 0
    assert main(['check', 'people']) == 0
    capsys.readouterr()
    small = [f'{loader}_dataloader.num_workers=0' for loader in ('train', 'val', 'test')]
    train = ['train', '--from', 'lla-s', '--data', 'people', '--cfg-options', *small]
    assert main([*train, 'max_epochs=1', 'train_cfg.max_epochs=1', 'param_scheduler.1.end=1']) == 0
    output = capsys.readouterr().out
    config, checkpoint = 'work_dirs/lla-s_people/lla-s_people.py', 'epoch_1.pth'
    assert f'config: {config} (edit it' in output
    test = next(line for line in output.splitlines() if line.startswith('test it:')).split()[3:]
    assert test[0] == 'test' and test[1] == config and test[2].endswith(checkpoint)
    text = (yolo / config).read_text()
    assert f"data_root = '{yolo}/people/'" in text and 'mmdet_lla://lla-s' in text

    assert main([*test, '--out', 'found.pkl', '--cfg-options', *small]) == 0
    assert (yolo / 'found.pkl').is_file()
    use = ['predict', config, 'mine/images/0.jpg', '--weights', test[2], '--no-draw']
    assert main([*use, '--out-dir', 'found']) == 0
    (line,) = (yolo / 'found/detections.jsonl').read_text().splitlines()
    assert json.loads(line)

    (yolo / config).write_text(text.replace('batch_size = 2', 'batch_size = x'))
    assert main(train) == 2  # an edited config is kept
    assert 'used as it is' in capsys.readouterr().out
