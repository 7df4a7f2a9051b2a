"""The recipes for each dataset, on small data of its form, from annotations to loss and metric."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from PIL import Image
from scipy.io import savemat

from mmdet_lla.datasets.checks import check_dataset_files
from mmdet_lla.datasets.converters import coco_person_records, mat_to_coco
from mmdet_lla.datasets.odgt import write_odgt

CONFIGS = Path(__file__).parents[2] / 'configs'
HEIGHT, WIDTH = 128, 256
PEOPLE = [[10, 20, 30, 80], [60, 10, 35, 90], [70, 12, 35, 90], [160, 40, 25, 60]]


def make_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make_crowdhuman(root):
    boxes = [{'tag': 'person', 'fbox': b, 'vbox': b, 'hbox': [*b[:3], 9]} for b in PEOPLE]
    boxes.append({**boxes[0], 'tag': 'mask', 'fbox': [200, 50, 30, 30], 'extra': {'ignore': 1}})
    for split in ('train', 'val'):
        names = [f'27{split},{i}' for i in range(3)]
        for name in names:
            make_image(root / 'Images' / f'{name}.jpg')
        path = str(root / f'annotation_{split}.odgt')
        write_odgt([{'ID': name, 'gtboxes': boxes} for name in names], path)


def make_citypersons(root):
    (root / 'annotations').mkdir(parents=True)
    rows = [[1, *box, 24000 + i, *box] for i, box in enumerate(PEOPLE)]
    rows.append([0, 200, 50, 30, 30, 0, 200, 50, 30, 30])
    for split, city in (('train', 'aachen'), ('val', 'munster')):
        cells = np.empty((1, 3), dtype=object)
        for i in range(3):
            name = f'{city}_000000_00001{i}_leftImg8bit.png'
            make_image(root / 'leftImg8bit' / split / city / name)
            cells[0, i] = {'cityname': city, 'im_name': name, 'bbs': np.array(rows)}
        mat = root / 'annotations' / f'anno_{split}.mat'
        savemat(mat, {f'anno_{split}_aligned': cells})
        (root / 'annotations' / f'{split}_gt.json').write_text(json.dumps(mat_to_coco(str(mat))))


def make_coco(root):
    for split in ('train', 'val'):
        images = [{'id': i, 'file_name': f'00000{i}.jpg'} for i in range(3)]
        annotations = [
            {'image_id': image['id'], 'category_id': 1, 'bbox': box, 'iscrowd': int(box[0] == 160)}
            for image in images
            for box in PEOPLE
        ]
        for image in images:
            make_image(root / f'{split}2017' / image['file_name'])
        coco = {
            'images': images,
            'annotations': annotations,
            'categories': [{'id': 1, 'name': 'person'}],
        }
        path = str(root / 'annotations' / f'person_{split}2017.odgt')
        write_odgt(coco_person_records(coco), path)


RECIPES = {
    'lla/lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py': (
        make_crowdhuman, 'crowd_human/JI', 1, 4,
    ),
    'citypersons/lla-fcos_r50-caffe_fpn_8xb2-24e_citypersons.py': (
        make_citypersons, 'citypersons/reasonable', 0, 4,
    ),
    'coco_person/lla-fcos_r50-caffe_fpn_8xb2-12e_coco-person.py': (
        make_coco, 'crowd_human/JI', 1, 3,
    ),
}  # fmt: skip


@pytest.fixture(params=RECIPES, ids=lambda name: name.split('_')[-1][:-3])
def recipe(request, tmp_path):
    """A recipe whose data lies elsewhere and whose images stay small; nothing else changes."""
    make, key, best, people = RECIPES[request.param]
    make(tmp_path)
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / request.param)
    cfg.val_evaluator.ann_file = cfg.val_evaluator.ann_file.replace(
        cfg.val_dataloader.dataset.data_root, f'{tmp_path}/'
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = f'{tmp_path}/'
        for step in loader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (WIDTH, HEIGHT)
    return cfg, key, best, people


def test_files_are_found(recipe):
    cfg, *_ = recipe
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        check_dataset_files(loader.dataset)
    cfg.train_dataloader.dataset.data_root = 'no/such/place/'
    with pytest.raises(FileNotFoundError, match='README|make_crowd'):
        check_dataset_files(cfg.train_dataloader.dataset)


def test_perfect_detections_have_the_best_score(recipe):
    cfg, key, best, people = recipe
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    evaluator = Evaluator(cfg.val_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        assert len(sample.gt_instances) == people
        boxes = sample.gt_instances.bboxes.tensor
        sample.pred_instances = InstanceData(
            bboxes=boxes,
            scores=torch.linspace(0.9, 0.5, len(boxes)),
            labels=torch.zeros(len(boxes), dtype=torch.long),
        )
        evaluator.process(data_samples=[sample])
    result = evaluator.evaluate(len(dataset))
    assert result[key] == pytest.approx(best, abs=1e-4)


def test_training_batches_contain_every_person(recipe):
    cfg, *_, people = recipe
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = pseudo_collate([dataset[index] for index in range(2)])
    assert [len(s.gt_instances) for s in batch['data_samples']] == [people] * 2
    assert all(one.shape[0] == 3 and one.dtype == torch.uint8 for one in batch['inputs'])
