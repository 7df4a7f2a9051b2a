"""A crowd of 160 x 120 pixels and detectors that train on it in seconds."""

from pathlib import Path

from mmengine.config import Config

from mmdet_lla.synthetic import CrowdParams, build_dataset

ROOT = Path(__file__).parents[1]
STRIDES = [8, 16, 32, 64, 128]
POINTS = dict(type='MlvlPointGenerator', offset=0, strides=STRIDES)
SQUARES = dict(
    type='AnchorGenerator', ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=STRIDES
)
DELTAS = dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2])
SMALL = dict(num_classes=1, in_channels=96, feat_channels=64)
FOCAL = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25)
QFL = dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0)
GIOU = dict(type='GIoULoss', loss_weight=2.0)
ATSS_ASSIGNER = dict(type='ATSSAssigner', topk=9)
MAX_IOU = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)

#: The config of the demo for images of this size, as text; formatted with the ``root``.
CONFIG_TEXT = """
_base_ = '{root}/configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py'
model = dict(
    backbone=dict(widen_factor=0.25, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[8, 24, 80]))
resize = dict(type='Resize', scale=(160, 120), keep_ratio=True)
load, boxes = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)
pack = dict(type='PackDetInputs', meta_keys=(
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=[load, boxes, resize, pack]))
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=[load, resize, boxes, pack]))
test_dataloader = val_dataloader
"""

#: Heads with an assigner, as (bbox_head, train_cfg).
HEADS = dict(
    lla=(dict(type='LLAHead', stacked_convs=1, **SMALL), dict(assigner=dict(type='LLAAssigner'))),
    retina=(
        dict(
            type='RetinaHead',
            stacked_convs=1,
            anchor_generator=dict(SQUARES),
            bbox_coder=DELTAS,
            loss_cls=FOCAL,
            loss_bbox=dict(type='L1Loss'),
            **SMALL,
        ),
        dict(assigner=MAX_IOU, allowed_border=-1, pos_weight=-1),
    ),
    atss=(
        dict(
            type='ATSSHead',
            stacked_convs=1,
            anchor_generator=dict(SQUARES),
            bbox_coder=DELTAS,
            loss_cls=FOCAL,
            loss_bbox=GIOU,
            **SMALL,
        ),
        dict(assigner=ATSS_ASSIGNER, allowed_border=-1, pos_weight=-1),
    ),
    yolox=(
        dict(type='YOLOXHead', stacked_convs=1, strides=STRIDES, **SMALL),
        dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5)),
    ),
    tood=(
        dict(
            type='TOODHead',
            stacked_convs=2,
            num_dcn=0,
            anchor_type='anchor_free',
            anchor_generator=dict(SQUARES),
            bbox_coder=DELTAS,
            initial_loss_cls=FOCAL,
            loss_cls=QFL,
            loss_bbox=GIOU,
            **SMALL,
        ),
        dict(
            assigner=dict(type='TaskAlignedAssigner', topk=13),
            initial_epoch=1,
            initial_assigner=ATSS_ASSIGNER,
            alpha=1,
            beta=6,
            allowed_border=-1,
            pos_weight=-1,
        ),
    ),
    rtmdet=(
        dict(
            type='RTMDetHead',
            stacked_convs=1,
            anchor_generator=dict(POINTS),
            bbox_coder=dict(type='DistancePointBBoxCoder'),
            loss_cls=QFL,
            loss_bbox=GIOU,
            with_objectness=False,
            **SMALL,
        ),
        dict(
            assigner=dict(type='DynamicSoftLabelAssigner', topk=13),
            allowed_border=-1,
            pos_weight=-1,
        ),
    ),
)


def make_crowd(directory: Path, train: int = 6, val: int = 3) -> None:
    """Generate images into ``directory / 'crowd'``."""
    build_dataset(
        str(directory / 'crowd'), train, val, CrowdParams(width=160, height=120), workers=1
    )


def tiny_config(directory: Path, head: str = 'lla') -> Config:
    """A config for the crowd in ``directory`` that trains without weights from elsewhere."""
    cfg = Config.fromfile(ROOT / 'configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py')
    resize = dict(type='Resize', scale=(160, 120), keep_ratio=True)
    load, boxes = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)
    pack = dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    )
    flip = dict(type='RandomFlip', prob=0.5)
    root = f'{directory}/crowd/'
    for loader, pipeline in (
        (cfg.train_dataloader, [load, boxes, resize, flip, pack]),
        (cfg.val_dataloader, [load, resize, boxes, pack]),
    ):
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader.dataset.update(data_root=root, pipeline=pipeline)
    cfg.merge_from_dict(
        dict(
            test_dataloader=cfg.val_dataloader,
            work_dir=str(directory / 'work'),
            val_evaluator=dict(ann_file=f'{root}annotation_val.odgt'),
            test_evaluator=dict(ann_file=f'{root}annotation_val.odgt'),
            optim_wrapper=dict(
                _delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)
            ),
            train_cfg=dict(_delete_=True, by_epoch=True, max_epochs=1, val_interval=9),
            default_scope='mmdet',
            randomness=dict(seed=0),
            custom_hooks=[],
            param_scheduler=[],
        )
    )
    cfg.model.backbone.update(widen_factor=0.25, frozen_stages=-1, norm_eval=False, init_cfg=None)
    cfg.model.neck.in_channels = [8, 24, 80]
    cfg.model.type = 'SingleStageDetector'
    cfg.model.bbox_head, cfg.model.train_cfg = HEADS[head]
    cfg.model.pop('init_cfg', None)
    return cfg
