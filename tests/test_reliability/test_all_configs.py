"""Every config that ships trains as it ships, in one process and in two."""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest

from mmdet_lla.synthetic import CrowdParams, build_dataset

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name('all_configs.py')
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)
#: What of the backbones has no gradient: the stages that are frozen, and a layer that mmdet's
#: MobileNetV2 always has and a detector never uses. ResNet's norms are all frozen.
FROZEN = {
    'mobilenetv2': ('conv1.', 'layer1.', 'layer2.', 'conv2.'),
    'r50': ('conv1.', 'bn1.', 'layer1.'),
}


def without_gradient(path, name):
    """Whether a parameter of a config's detector is to have no gradient."""
    (kind,) = (kind for kind in FROZEN if kind in path)
    name = name.partition('backbone.')[2]
    norm = kind == 'r50' and ('.bn' in name or 'downsample.1' in name)
    return name.startswith(FROZEN[kind]) or (bool(name) and norm)


@pytest.mark.slow
def test_every_config_trains_in_one_process_and_in_two(tmp_path, python):
    scene = CrowdParams(width=96, height=96)
    build_dataset(str(tmp_path / 'crowd'), 16, 1, scene, workers=1)
    done = subprocess.run(
        [python, '-W', 'ignore', SCRIPT, tmp_path, tmp_path / 'crowd', *CONFIGS],
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {
        name: json.loads((tmp_path / f'{name}.json').read_text()) for name in ('1_0', '2_0', '2_1')
    }
    assert len(CONFIGS) >= 40
    for name, results in found.items():
        for path, result in results.items():
            where = (path, name)
            assert 'error' not in result, (*where, result['error'])
            assert len(result['losses']) == 2, where
            for losses in result['losses']:
                assert all(map(math.isfinite, losses.values())) and losses['loss'] > 0, where
            assert result['finite'] and result['same'] and result['moved'] > 20, where
            frozen = [one for one in result['names'] if without_gradient(path, one)]
            assert result['without_gradient'] == sorted(frozen), where
        assert list(results) == CONFIGS, name
    for path in CONFIGS:
        # Both processes trained on pictures of their own.
        assert found['2_0'][path]['losses'] != found['2_1'][path]['losses'], path
