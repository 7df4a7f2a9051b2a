"""Every config trains as it ships, in two processes."""

import json
import math
from pathlib import Path

import pytest
from programs import run_program

from mmdet_lla.synthetic import CrowdParams, build_dataset

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name('all_configs.py')
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)
#: Layers of the backbones without gradient: the frozen stages, and the last layer of mmdet's
#: MobileNetV2, which no detector uses. All norms of ResNet are frozen.
FROZEN = {
    'mobilenetv2': ('conv1.', 'layer1.', 'layer2.', 'conv2.'),
    'r50': ('conv1.', 'bn1.', 'layer1.'),
}


def without_gradient(path, name):
    """Return whether a parameter of a config's detector should have no gradient."""
    (kind,) = (kind for kind in FROZEN if kind in path)
    name = name.partition('backbone.')[2]
    norm = kind == 'r50' and ('.bn' in name or 'downsample.1' in name)
    return name.startswith(FROZEN[kind]) or (bool(name) and norm)


@pytest.mark.slow
def test_every_config_trains_in_two_processes(tmp_path, python):
    scene = CrowdParams(width=96, height=96)
    build_dataset(str(tmp_path / 'crowd'), 16, 1, scene, workers=1)
    run_program(python, SCRIPT, tmp_path, tmp_path / 'crowd', *CONFIGS, cwd=ROOT)
    found = [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2)]
    for rank, results in enumerate(found):
        for path, result in results.items():
            where = (path, rank)
            assert 'error' not in result, (*where, result['error'])
            assert len(result['losses']) == 2, where
            for losses in result['losses']:
                assert all(map(math.isfinite, losses.values())) and losses['loss'] > 0, where
            assert result['finite'] and result['same'] and result['moved'] > 20, where
            frozen = [one for one in result['names'] if without_gradient(path, one)]
            assert result['without_gradient'] == sorted(frozen), where
        assert list(results) == CONFIGS
    for path in CONFIGS:
        # The processes train on different images.
        assert found[0][path]['losses'] != found[1][path]['losses'], path
