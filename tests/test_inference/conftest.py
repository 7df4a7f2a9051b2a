"""A small detector with random weights, and pictures to detect in."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from tiny_crowd import make_crowd, tiny_config


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    """With a config, its weights and a crowd."""
    folder = tmp_path_factory.mktemp('inference')
    make_crowd(folder, train=2, val=4)
    cfg = tiny_config(folder)
    cfg.dump(folder / 'config.py')
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.init_weights()
    # random boxes, but of people's size and above the threshold
    model.bbox_head.retina_cls.bias.data.fill_(-2.0)
    model.bbox_head.retina_cls.weight.data.mul_(30)
    model.bbox_head.retina_reg.bias.data.fill_(2.0)
    model.bbox_head.retina_reg.weight.data.mul_(30)
    meta = dict(dataset_meta=dict(classes=('person',)), score_threshold=0.4)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'weights.pth')
    return folder


@pytest.fixture(scope='session')
def pictures(folder):
    """Six pictures of three sizes, mixed."""
    inside = folder / 'pictures'
    inside.mkdir()
    source = sorted((folder / 'crowd' / 'Images').glob('*.jpg'))
    for i in range(6):
        image = cv2.imread(str(source[i]))
        scale = (1.0, 0.8, 1.0, 1.3, 0.8, 1.0)[i]
        cut = image[: 120 - 10 * (i % 3)]
        image = cv2.resize(cut, None, fx=scale, fy=scale)
        cv2.imwrite(str(inside / f'{i}.png'), np.ascontiguousarray(image))
    return inside
