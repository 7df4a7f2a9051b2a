"""A small detector with random weights, images and videos."""

import cv2
import numpy as np
import pytest
import torch
from stub_detector import StubDetector
from tiny_crowd import make_crowd, tiny_config

from mmdet_lla.inference import Predictor


@pytest.fixture(scope='session')
def directory(tmp_path_factory):
    """Contains a config, its weights and a crowd."""
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    directory = tmp_path_factory.mktemp('inference')
    make_crowd(directory, train=2, val=4)
    cfg = tiny_config(directory)
    cfg.dump(directory / 'config.py')
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.init_weights()
    # random boxes, but with sizes of people and scores above the threshold
    model.bbox_head.retina_cls.bias.data.fill_(-2.0)
    model.bbox_head.retina_cls.weight.data.mul_(30)
    model.bbox_head.retina_reg.bias.data.fill_(2.0)
    model.bbox_head.retina_reg.weight.data.mul_(30)
    meta = dict(dataset_meta=dict(classes=('person',)), score_threshold=0.4)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), directory / 'weights.pth')
    return directory


@pytest.fixture(scope='session')
def images(directory):
    """Directory of six images of three sizes, mixed."""
    target = directory / 'images'
    target.mkdir()
    source = sorted((directory / 'crowd' / 'Images').glob('*.jpg'))
    for i in range(6):
        image = cv2.imread(str(source[i]))
        scale = (1.0, 0.8, 1.0, 1.3, 0.8, 1.0)[i]
        image = cv2.resize(image[: 120 - 10 * (i % 3)], None, fx=scale, fy=scale)
        cv2.imwrite(str(target / f'{i}.png'), np.ascontiguousarray(image))
    return target


@pytest.fixture
def stub():
    """A predictor that needs no model."""
    return Predictor(StubDetector())
