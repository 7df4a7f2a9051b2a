# CityPersons: pedestrians in Cityscapes images, at full size.
_base_ = './crowd_detection.py'
dataset_type = 'CityPersonsDataset'
data_root = 'data/cityscapes/'
scale = (2048, 1024)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),  # after Resize: in pixels of the original image
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/anno_train.mat',
        data_prefix=dict(img='leftImg8bit/train/'),
        # Those the benchmark calls reasonable; smaller and more hidden people are ignored.
        filter_cfg=dict(filter_empty_gt=True, min_height=50, min_visible=0.65),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/val_gt.json',
        data_prefix=dict(img='leftImg8bit/val/'),
        test_mode=True,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True, type='CityPersonsMetric', ann_file=data_root + 'annotations/val_gt.json'
)
test_evaluator = val_evaluator
