"""Exports configs as mmdet ships them, and tests the files beside what they were made of.

``python benchmarks/exported_heads.py`` builds RetinaNet, FCOS, ATSS, YOLOX, RTMDet and both forms
of LLA with random weights, for one class, and for each compares the network's detections on a
generated validation set, by mmdet's own inference, with those of its files in ONNX Runtime and
OpenVINO: the largest difference of AP, MR, JI and recall, detections without a counterpart within
0.01 px, and the largest differences of boxes and scores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout, not installed

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmdet_lla.datasets.crowd_generator import CrowdParams, build_dataset
from mmdet_lla.export import export_detector
from mmdet_lla.export.verify import compare, list_test_images
from mmdet_lla.inference.model import TorchDetector
from mmdet_lla.runtime import Detector, read_picture

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
HEADS = {
    'RetinaNet': 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
    'FCOS': 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'ATSS': 'mmdet::atss/atss_r50_fpn_1x_coco.py',
    'YOLOX': 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    'RTMDet': 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'LLA on points': str(CONFIGS / 'lla/lla-fcos_r50-caffe_fpn_8xb2-30k_crowdhuman.py'),
    'LLA on anchors': str(CONFIGS / 'lla/lla-retinanet_r50-caffe_fpn_8xb2-30k_crowdhuman.py'),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--heads', nargs='+', default=list(HEADS), choices=list(HEADS))
    parser.add_argument('--pictures', type=int, default=20)
    parser.add_argument('--size', type=int, nargs=2, default=(320, 256), metavar=('W', 'H'))
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def config_of(name: str, folder: Path, size: tuple[int, int]) -> Config:
    """The config as it ships, but for one class, and the generated crowd at its own size."""
    cfg = get_config(HEADS[name]) if '::' in HEADS[name] else Config.fromfile(HEADS[name])
    crowd = Config.fromfile(str(CONFIGS / '_base_/datasets/crowd_demo.py'))
    for part in ('test_dataloader', 'test_evaluator'):
        cfg[part] = crowd[part]
    data = cfg.test_dataloader.dataset
    data.data_root = f'{folder}/crowd/'
    data.pipeline[1].scale = tuple(size)
    cfg.test_evaluator.ann_file = f'{folder}/crowd/annotation_val.odgt'
    cfg.model.bbox_head.num_classes = 1
    if name == 'YOLOX':  # whose inference has no limit, but its file gives 1,000
        cfg.model.test_cfg.score_thr = 0.4
    return cfg


def detector_of(cfg: Config, seed: int) -> TorchDetector:
    """With random weights; those that predict are scaled, so that scores and boxes differ."""
    torch.manual_seed(seed)
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None  # no weights from elsewhere
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    detector = TorchDetector(cfg, dict(state_dict=model.state_dict()), 'cpu')
    picture = detector.prepare(read_picture(list_test_images(cfg, 1)[0]['img_path']))
    inputs = model.data_preprocessor(dict(inputs=[picture.data['inputs']]))['inputs']
    head, given = model.bbox_head, {}
    for name, module in head.named_modules():
        if isinstance(module, torch.nn.Conv2d) and not name.endswith('.conv'):
            given[module] = []
            torch.nn.init.normal_(module.weight, std=0.1)
            torch.nn.init.constant_(module.bias, 0.0)
            module.register_forward_hook(lambda m, _, out: given[m].append(out.flatten()))
    with torch.no_grad():
        head(model.extract_feat(inputs))
    for module, values in given.items():
        scale = 1.5 / torch.cat(values).std()
        module.weight.data *= scale
        module.bias.data -= scale * torch.cat(values).mean()
    return TorchDetector(cfg, dict(state_dict=model.state_dict()), 'cpu')


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    MMLogger.get_instance('mmengine', log_level='ERROR')
    print('| | file | detections | of metrics | without a counterpart | of boxes | of scores |')
    print('| --- | --- | ---: | ---: | ---: | ---: | ---: |', flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        params = CrowdParams(width=args.size[0], height=args.size[1])
        build_dataset(
            str(folder / 'crowd'), 0, args.pictures, params, seed=7, workers=1, progress=False
        )
        for name in args.heads:
            detector = detector_of(config_of(name, folder, args.size), args.seed)
            files = export_detector(detector, folder / 'model.onnx', openvino=True)
            runtimes = [Detector(one.path, threads=args.threads) for one in files]
            compared = compare(detector.cfg, detector, runtimes, progress=False)
            for runtime, one in zip(runtimes, compared, strict=True):
                metrics = max(abs(one.metrics[key] - one.exported[key]) for key in one.metrics)
                print(
                    f'| {name} | {runtime.session.backend} | {one.detections} | {metrics:.1g} | '
                    f'{one.unmatched} | {one.box_difference:.2g} px | '
                    f'{one.score_difference:.1g} |',
                    flush=True,
                )


if __name__ == '__main__':
    main()
