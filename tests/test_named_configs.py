"""Configs are found by the names of mim and ``_base_`` in every command."""

from pathlib import Path

import pytest

from mmdet_lla.ablation.variants import short_names
from mmdet_lla.analysis.browsing import read_assigner
from mmdet_lla.cli import test, train
from mmdet_lla.named_configs import config_path, read_config

ROOT = Path(__file__).resolve().parents[1]
ATSS = 'mmdet::atss/atss_r50_fpn_1x_coco.py'


@pytest.mark.parametrize(
    'name',
    [
        ATSS,
        'mmdet::atss/atss_r50_fpn_1x_coco',
        'mmdet::atss_r50_fpn_1x_coco.py',
        'mmdet::atss_r50_fpn_1x_coco',
    ],
)
def test_a_config_of_mmdets_by_path_or_name(name):
    assert config_path(name) == config_path(ATSS)
    assert read_config(name).model.bbox_head.type == 'ATSSHead'


def test_a_config_of_ours():
    name = 'lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman'
    assert config_path(f'mmdet_lla::{name}').resolve() == ROOT / f'configs/lla/{name}.py'
    assert config_path(f'{ROOT}/configs/lla/{name}.py') == ROOT / f'configs/lla/{name}.py'


@pytest.mark.parametrize(
    'name, error, words',
    [
        ('nothing.py', FileNotFoundError, 'No config nothing.py here'),
        ('mmdet::atss_r50_fpn_1x_cocoa', FileNotFoundError, f'did you mean {ATSS}'),
        ('mmdet::qqq', FileNotFoundError, 'mmdet has none of that name$'),
        ('mmdot::atss.py', FileNotFoundError, "no package 'mmdot' is installed"),
        ('::atss.py', FileNotFoundError, "no package '' is installed"),
        ('yaml::atss.py', FileNotFoundError, 'yaml came without configs'),
        ('mmdet::override_category', ValueError, 'mmdet has . configs override_category.py'),
    ],
)
def test_missing_configs_name_the_search(tmp_path, monkeypatch, name, error, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        config_path(name)


def test_studies_and_assigners_take_them():
    retinanet = 'mmdet::retinanet_r50_fpn_1x_coco'
    assert short_names([ATSS, retinanet]) == ['atss', 'retinanet']
    assert read_assigner(retinanet).type == 'MaxIoUAssigner'


@pytest.mark.parametrize('command', [train, test])
def test_mmdets_tools_get_the_file(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # is set by the command, and put back
    (tmp_path / 'weights.pth').touch()
    arguments = ['mmdet::atss_r50_fpn_1x_coco', *(['weights.pth'] if command is test else [])]
    assert command.main(arguments) == 2
    assert 'annotations/instances_' in capsys.readouterr().err

    built = []

    class Built(Exception):
        """Ends the tool where it would build a detector."""

    def build(cfg):
        built.append(cfg)
        raise Built

    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', build)
    monkeypatch.setattr('mmdet_lla.datasets.checks.check_config_data', lambda *_: None)
    with pytest.raises(Built):
        command.main(arguments)
    assert Path(built[0].filename) == config_path(ATSS)
    assert built[0].work_dir == './work_dirs/atss_r50_fpn_1x_coco'
