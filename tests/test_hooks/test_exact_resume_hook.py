"""A resumed training equals one that was never interrupted, in every bit."""

import itertools
import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmdet.models.data_preprocessors import BatchSyncRandomResize
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, DATASETS, MODELS, TRANSFORMS
from test_hooks.toy import Line, Numbers, make_runner


class Stop(Exception):
    pass


class StopAt(Hook):
    """Stop before an iteration."""

    priority = 'LOWEST'

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            raise Stop


@DATASETS.register_module()
class TransformedNumbers(Numbers):
    """Numbers that go through a pipeline."""

    def __init__(self, first=0, **kwargs):
        self.first = first
        super().__init__(**kwargs)

    def load_data_list(self):
        return [dict(one, value=self.first + one['value']) for one in super().load_data_list()]

    prepare_data = BaseDataset.prepare_data


@TRANSFORMS.register_module()
class ToImage(BaseTransform):
    """An image of 12 x 12 with noise of Python's generator, and one box."""

    def transform(self, results):
        img = np.full((12, 12, 3), 5 * results['value'], np.uint8)
        img[0] = random.randrange(256)
        return dict(
            img=img,
            img_shape=(12, 12),
            gt_bboxes=np.float32([[1, 1, 8, 9]]),
            gt_bboxes_labels=np.zeros(1, np.int64),
            gt_ignore_flags=np.zeros(1, bool),
            index=results['value'],
        )


@TRANSFORMS.register_module()
class ToNumbers(BaseTransform):
    """Two numbers that change with any pixel."""

    def transform(self, results):
        img = results['img'].astype(np.float64).ravel()
        numbers = [img.mean() / 255, (img * np.arange(img.size)).sum() / 255 / img.size**2]
        return dict(inputs=torch.tensor(numbers, dtype=torch.float32), index=results['index'])


@DATA_SAMPLERS.register_module()
class Remembering(torch.utils.data.Sampler):
    """Its order continues where that of the last epoch ended."""

    def __init__(self, dataset, seed, shuffle=True):
        self.dataset, self.generator = dataset, torch.Generator().manual_seed(seed)

    def __iter__(self):
        return iter(torch.randperm(len(self.dataset), generator=self.generator).tolist())

    def __len__(self):
        return len(self.dataset)


@MODELS.register_module()
class Sized(Line):
    """Has a batch augmentation that chooses sizes."""

    def __init__(self):
        super().__init__()
        self.resize = BatchSyncRandomResize((32, 320), interval=3, size_divisor=32)


names = (f'toy_{i}' for i in itertools.count())


def weights(runner):
    return torch.cat([value.flatten() for value in runner.model.state_dict().values()])


def run(directory, stop_at=None, resume=False, **kwargs):
    runner = make_runner(directory, next(names), resume=resume, **kwargs)
    if stop_at is not None:
        runner.register_hook(StopAt(stop_at))
        with pytest.raises(Stop):
            runner.train()
    else:
        runner.train()
    return runner


EPOCHS = dict(max_epochs=4)
WITHIN = dict(max_epochs=4, interval=1, checkpoint=dict(by_epoch=False))
ITERATIONS = dict(max_iters=17, interval=1)


@pytest.mark.parametrize(
    'training, stop_at, workers',
    [
        (EPOCHS, 9, 0),
        (EPOCHS, 8, 0),
        (WITHIN, 8, 0),
        (WITHIN, 1, 0),
        (ITERATIONS, 5, 0),
        (ITERATIONS, 12, 0),
        (dict(ITERATIONS, sampler='InfiniteSampler'), 14, 0),
        (dict(ITERATIONS, sampler='InfiniteSampler', batch_sampler=None), 14, 0),
        (WITHIN, 5, 1),
        (ITERATIONS, 14, 1),
    ],
)
def test_resumed_training_is_the_same(tmp_path, training, stop_at, workers):
    whole = run(tmp_path / 'whole', workers=workers, **training)
    run(tmp_path / 'cut', stop_at=stop_at, workers=workers, **training)
    resumed = run(tmp_path / 'cut', resume=True, workers=workers, **training)
    assert torch.equal(weights(resumed), weights(whole))
    begin = len(whole.model.seen) - len(resumed.model.seen)
    assert begin > 0 and resumed.model.seen == whole.model.seen[begin:]


def test_augmentation_is_the_same_with_and_without_workers(tmp_path):
    seen = [
        run(tmp_path / str(workers), workers=workers, **EPOCHS).model.seen for workers in (0, 2)
    ]
    assert seen[0] == seen[1]


def test_augmentation_and_order_change_from_epoch_to_epoch(tmp_path):
    seen = run(tmp_path, **EPOCHS).model.seen
    noise, order = {}, []
    for indices, inputs in seen:
        order.append(indices)
        for index, (_, value) in zip(indices, inputs, strict=True):
            noise.setdefault(index, []).append(value)
    assert len(noise) == 10
    assert all(len(set(values)) == 4 for values in noise.values())
    assert order[:4] != order[4:8]


def test_every_epoch_holds_every_image_once(tmp_path):
    seen = run(tmp_path, stop_at=9, **ITERATIONS).model.seen
    seen += run(tmp_path, resume=True, **ITERATIONS).model.seen
    for epoch in range(4):
        indices = sum((batch for batch, _ in seen[4 * epoch : 4 * epoch + 4]), [])
        assert sorted(indices) == list(range(10))


def test_order_follows_the_seed_of_the_checkpoint(tmp_path):
    """A config without a seed draws one, which must outlive the interruption."""
    cut = run(tmp_path, stop_at=9, seed=None, **EPOCHS)
    resumed = run(tmp_path, resume=True, seed=None, **EPOCHS)
    assert resumed.seed == cut.seed
    whole = run(tmp_path / 'whole', seed=cut.seed, **EPOCHS)
    assert torch.equal(weights(resumed), weights(whole))


def test_images_trained_on_are_not_read_again(tmp_path, monkeypatch):
    run(tmp_path, stop_at=13, **ITERATIONS)
    runner = make_runner(tmp_path, next(names), resume=True, **ITERATIONS)
    read, prepare = [], Numbers.prepare_data
    monkeypatch.setattr(Numbers, 'prepare_data', lambda self, i: read.append(i) or prepare(self, i))
    runner.train()
    trained = sum((batch for batch, _ in runner.model.seen), [])
    assert len(runner.model.seen) == 4 and read == trained


def test_a_changed_dataset_resumes_at_an_epoch(tmp_path):
    run(tmp_path, stop_at=6, **WITHIN)
    resumed = run(tmp_path, resume=True, size=20, **WITHIN)
    assert sorted(sum((batch for batch, _ in resumed.model.seen[:7]), [])) == list(range(20))


def test_no_batch_at_all_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='2 images make no batch'):
        run(
            tmp_path,
            size=2,
            batch_sampler=dict(type='AspectRatioBatchSampler', drop_last=True),
            **EPOCHS,
        )


def images(*transforms, size=14, first=0):
    return dict(
        type='TransformedNumbers',
        size=size,
        first=first,
        pipeline=[dict(type='ToImage'), *transforms, dict(type='ToNumbers')],
    )


CACHED = images(dict(type='CachedMosaic', img_scale=(12, 12), max_cached_images=6))
MIXED = dict(
    type='MultiImageMixDataset',
    dataset=dict(images(), pipeline=[dict(type='ToImage')]),
    pipeline=[dict(type='Mosaic', img_scale=(12, 12)), dict(type='ToNumbers')],
)
SOURCES = dict(type='ConcatDataset', datasets=[images(size=5), images(size=11, first=5)])


@pytest.mark.parametrize(
    'training, stop_at, workers',
    [
        (dict(WITHIN, dataset=MIXED), 9, 2),
        (dict(ITERATIONS, dataset=dict(type='RepeatDataset', times=2, dataset=images())), 12, 0),
        (dict(WITHIN, sampler='Remembering'), 9, 0),
        (dict(ITERATIONS, sampler='Remembering'), 14, 0),
        *(
            (
                dict(
                    ITERATIONS,
                    sampler=dict(type=kind, batch_size=3, source_ratio=[1, 2]),
                    batch_sampler=None,
                    dataset=SOURCES,
                ),
                stop_at,
                workers,
            )
            for kind in ('MultiSourceSampler', 'GroupMultiSourceSampler')
            for stop_at, workers in ((3, 0), (9, 2))
        ),
    ],
)
def test_wrappers_and_other_samplers_continue(tmp_path, training, stop_at, workers):
    test_resumed_training_is_the_same(tmp_path, training, stop_at, workers)


@pytest.mark.parametrize(
    'change, name',
    [
        (dict(dataset=CACHED), 'CachedMosaic'),
        (dict(dataset=dict(type='RepeatDataset', times=2, dataset=CACHED)), 'CachedMosaic'),
        (dict(model='Sized'), 'BatchSyncRandomResize'),
        (
            dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='loss')]),
            'EarlyStoppingHook',
        ),
        (dict(dataset=MIXED), None),
        (dict(sampler='Remembering'), None),
    ],
)
def test_state_that_no_checkpoint_holds_is_named_at_the_start(tmp_path, change, name):
    runner = make_runner(tmp_path, next(names), max_iters=1, interval=9, **change)
    warnings = []
    runner.logger.warning = lambda text, *args: warnings.append(text)
    runner.train()
    assert [one.endswith(f'holds the state of {name}') for one in warnings] == [True] * bool(name)
