"""A resumed training is the same with what keeps more than random numbers; or says that it is not.

Pictures of 12 x 12 go through mmdet's own transforms, samplers and batch augmentation.
"""

import itertools
import random
import re

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmdet.models.data_preprocessors import BatchSyncRandomResize
from mmengine.dataset import BaseDataset
from mmengine.registry import DATA_SAMPLERS, DATASETS, MODELS, TRANSFORMS
from test_hooks.test_exact_resume_hook import run
from test_hooks.toy import Line, make_runner

from mmdet_lla.hooks import ExactResumeHook
from mmdet_lla.hooks.past_draws import caching

names = (f'state_{i}' for i in itertools.count())


@DATASETS.register_module()
class Pictures(BaseDataset):
    """Pictures of one colour and some noise, standing and lying; ``read`` counts them."""

    read = []

    def __init__(self, size, first=0, **kwargs):
        self.size, self.first = size, first
        super().__init__(serialize_data=False, **kwargs)

    def load_data_list(self):
        return [
            dict(value=self.first + i, width=1 + i % 2, height=2 - i % 2) for i in range(self.size)
        ]


@TRANSFORMS.register_module()
class Paint(BaseTransform):
    """The picture itself, with noise of Python's generator, and one box."""

    def transform(self, results):
        Pictures.read.append(results['value'])
        img = np.full((12, 12, 3), 5 * results['value'], np.uint8)
        img[0] = random.randrange(256)
        return dict(
            img=img,
            img_shape=(12, 12),
            gt_bboxes=np.float32([[1, 1, 8, 9]]),
            gt_bboxes_labels=np.zeros(1, np.int64),
            gt_ignore_flags=np.zeros(1, bool),
            value=results['value'],
        )


@TRANSFORMS.register_module()
class ToNumbers(BaseTransform):
    """Two numbers that change with any pixel, and the picture's own."""

    def transform(self, results):
        img = results['img'].astype(np.float64).ravel()
        numbers = [img.mean() / 255, (img * np.arange(img.size)).sum() / 255 / img.size**2]
        return dict(inputs=torch.tensor(numbers, dtype=torch.float32), index=results['value'])


@TRANSFORMS.register_module()
class Counting(BaseTransform):
    """Keeps what it should not, and notes what it may."""

    def __init__(self):
        self.seen, self.last = 0, None

    def transform(self, results):
        self.seen += 1
        self.last = results['value']
        return results


@DATA_SAMPLERS.register_module()
class Remembering(torch.utils.data.Sampler):
    """Its order goes on where the last epoch's ended."""

    def __init__(self, dataset, seed, shuffle=True):
        self.dataset, self.draw = dataset, torch.Generator().manual_seed(seed)

    def __iter__(self):
        return iter(torch.randperm(len(self.dataset), generator=self.draw).tolist())

    def __len__(self):
        return len(self.dataset)


@MODELS.register_module()
class Sized(Line):
    """A line behind a batch augmentation that chooses sizes."""

    def __init__(self):
        super().__init__()
        self.resize = BatchSyncRandomResize((32, 320), interval=3, size_divisor=32)

    def forward(self, inputs, index=None, mode='loss'):
        pictures = (
            torch.stack(list(inputs))[:, None, :, None].repeat(1, 1, 4, 8).cumsum(-1).square()
        )
        pictures, _ = self.resize(pictures, [])
        return super().forward(
            torch.stack([pictures.std((1, 2, 3)), pictures.sum((1, 2, 3))], 1) / 1e5, index, mode
        )


@MODELS.register_module()
class Gathering(Line):
    """Gathers a history, as Dynamic R-CNN does."""

    def __init__(self):
        super().__init__()
        self.history = []

    def forward(self, inputs, index=None, mode='loss'):
        self.history.append(len(index))
        return super().forward(inputs, index, mode)


MOSAIC = dict(type='CachedMosaic', img_scale=(12, 12), max_cached_images=6, prob=0.8)
MIXUP = dict(type='CachedMixUp', img_scale=(12, 12), max_cached_images=4, prob=0.8)


def pipeline(*transforms):
    return [dict(type='Paint'), *transforms, dict(type='ToNumbers')]


def pictures(*transforms, size=14, first=0):
    return dict(type='Pictures', size=size, first=first, pipeline=pipeline(*transforms))


BOTH = pictures(MOSAIC, MIXUP)
REPEATED = dict(type='RepeatDataset', times=2, dataset=BOTH)
JOINED = dict(
    type='ConcatDataset',
    datasets=[pictures(MOSAIC, size=9), pictures(MIXUP, MOSAIC, size=8, first=9)],
)
NESTED = pictures(dict(type='RandomApply', transforms=[MOSAIC], prob=0.7), MIXUP)
MIXED = dict(
    type='MultiImageMixDataset',
    dataset=dict(type='Pictures', size=14, pipeline=[dict(type='Paint')]),
    pipeline=[dict(type='Mosaic', img_scale=(12, 12)), dict(type='ToNumbers')],
)
EPOCHS = dict(max_epochs=3, interval=1, checkpoint=dict(by_epoch=False))
ITERATIONS = dict(max_iters=14, interval=1)
ONCE = dict(max_iters=14, interval=14)  # to bring a checkpoint to the disk takes long
ENDLESS = dict(ITERATIONS, sampler='InfiniteSampler', batch_sampler=None)


def warnings_of(runner):
    """Make a runner note its warnings."""
    said = []
    runner.logger.warning = lambda text, *args: said.append(text)
    return said


@pytest.mark.parametrize(
    'dataset, training, stop_at, workers',
    [
        (BOTH, EPOCHS, 8, 0),
        (BOTH, EPOCHS, 9, 2),
        (BOTH, ITERATIONS, 11, 0),
        (BOTH, ITERATIONS, 4, 1),
        (BOTH, ENDLESS, 12, 2),
        (REPEATED, ENDLESS, 9, 0),
        (REPEATED, EPOCHS, 12, 3),
        (JOINED, ITERATIONS, 9, 0),
        (JOINED, EPOCHS, 10, 2),
        (MIXED, EPOCHS, 9, 2),
        (NESTED, ITERATIONS, 9, 0),
        (NESTED, ENDLESS, 12, 2),
    ],
)
def test_caches_are_the_same_after_a_resume(tmp_path, dataset, training, stop_at, workers):
    training = dict(training, dataset=dataset, workers=workers)
    whole = run(tmp_path / 'whole', **training)
    run(tmp_path / 'cut', stop_at=stop_at, **training)
    resumed = run(tmp_path / 'cut', resume=True, **training)
    seen = len(resumed.model.seen)
    assert 0 < seen < len(whole.model.seen)
    assert resumed.model.seen == whole.model.seen[-seen:]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)


def test_caches_mix_and_keep_what_they_may(tmp_path):
    """Without an interruption nothing is read twice, and no more is kept than was asked for."""
    mixed = run(tmp_path / 'mixed', dataset=BOTH, **dict(ENDLESS, interval=14))
    plain = run(tmp_path / 'plain', dataset=pictures(), **dict(ENDLESS, interval=14))
    same = [one == other for one, other in zip(mixed.model.seen, plain.model.seen, strict=True)]
    assert same[0] and not any(same[2:])
    Pictures.read.clear()
    runner = make_runner(
        tmp_path / 'again', next(names), dataset=BOTH, **dict(ENDLESS, interval=14)
    )
    runner.train()
    assert len(Pictures.read) == 2 + 14 * 3  # two to look at the transforms
    caches = [one.results_cache for one in caching(runner.train_dataloader.dataset)]
    assert [cache.size for cache in caches] == [6, 4]
    assert all(len(cache.kept) <= 10 + 3 for cache in caches)


@pytest.mark.parametrize('kind', ['MultiSourceSampler', 'GroupMultiSourceSampler'])
@pytest.mark.parametrize('workers', [0, 2])
def test_endless_samplers_of_several_sources_go_on(tmp_path, kind, workers):
    training = dict(
        ITERATIONS,
        workers=workers,
        sampler=dict(type=kind, batch_size=3, source_ratio=[1, 2]),
        batch_sampler=None,
        dataset=dict(
            type='ConcatDataset', datasets=[pictures(size=5), pictures(MOSAIC, size=11, first=5)]
        ),
    )
    whole = run(tmp_path / 'whole', **training)
    for stop_at in (3, 9):
        folder = tmp_path / str(stop_at)
        run(folder, stop_at=stop_at, **training)
        resumed = run(folder, resume=True, **training)
        assert resumed.model.seen == whole.model.seen[stop_at:]
    sources = [[index < 5 for index in indices] for indices, _ in whole.model.seen]
    assert all(source == [True, False, False] for source in sources)


def test_sizes_of_batches_go_on(tmp_path):
    training = dict(ITERATIONS, model='Sized')
    whole = run(tmp_path / 'whole', **training)
    assert len({str(torch.tensor(inputs).mean()) for _, inputs in whole.model.seen}) > 4
    for stop_at in (2, 3, 7, 12):
        folder = tmp_path / str(stop_at)
        run(folder, stop_at=stop_at, **training)
        resumed = run(folder, resume=True, **training)
        assert resumed.model.seen == whole.model.seen[stop_at:]


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(dataset=pictures(dict(type='Counting'))), 'Counting keeps seen;?'),
        (dict(dataset=pictures(), sampler='Remembering'), 'order of Remembering .* epochs before'),
        (dict(model='Gathering'), r'Gathering.history \(\) grows with every iteration'),
        (
            dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='loss')]),
            'EarlyStoppingHook forgets its best score',
        ),
    ],
)
def test_what_no_checkpoint_holds_is_said_at_the_start(tmp_path, change, words):
    runner = make_runner(tmp_path, next(names), **{**ONCE, **change})
    said = warnings_of(runner)
    runner.train()
    (text,) = [one for one in said if 'will not equal an uninterrupted one' in one]
    assert re.search(words, text) and 'last' not in text.partition('keeps')[2]


@pytest.mark.parametrize('dataset', [None, BOTH, REPEATED, JOINED, NESTED, MIXED])
def test_nothing_is_said_of_what_is_restored(tmp_path, dataset):
    runner = make_runner(tmp_path, next(names), dataset=dataset, model='Sized', **ONCE)
    said = warnings_of(runner)
    runner.train()
    assert not said


def test_another_number_of_workers_is_said(tmp_path):
    run(tmp_path, stop_at=9, dataset=BOTH, workers=2, **ITERATIONS)
    runner = make_runner(tmp_path, next(names), dataset=BOTH, resume=True, **ITERATIONS)
    said = warnings_of(runner)
    runner.train()
    assert '2 data workers wrote the checkpoint and there are 0 now' in ' '.join(said)


def test_the_look_at_transforms_leaves_no_trace(tmp_path):
    """The number a counting transform has reached is that of the training alone."""
    runner = make_runner(tmp_path, next(names), dataset=pictures(dict(type='Counting')), **ONCE)
    assert any(isinstance(hook, ExactResumeHook) for hook in runner.hooks)
    runner.train()
    counting = runner.train_dataloader.dataset.pipeline.transforms[1]
    assert counting.seen == 14 + 14 + 4 * 3
