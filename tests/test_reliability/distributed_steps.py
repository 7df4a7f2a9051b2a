"""Training steps of a small detector and an evaluation, by one process, by two and by four.

    python tests/test_reliability/distributed_steps.py DIRECTORY

Writes, to PROCESSES.json in DIRECTORY, what does not depend on the number of processes: the mean
losses over the processes, the sum of all updated weights' squares, the weights themselves, and the
metrics.
"""

import json
import sys
from multiprocessing import get_context
from pathlib import Path

import torch
import torch._dynamo  # which the first optimizer would import, in each process anew
import torch.distributed as dist

import mmdet_lla  # noqa: F401  (before mmdet: operators for mmcv-lite)

# isort: split
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.dataset import DefaultSampler
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from random_crowds import random_crowd

from mmdet_lla import compat
from mmdet_lla.evaluation import CrowdMetric

WORLDS = (1, 2, 4)
GN = dict(type='GN', num_groups=4, requires_grad=True)
MODEL = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3),
    backbone=dict(type='ResNet', depth=18, base_channels=8, norm_cfg=GN, norm_eval=False),
    neck=dict(
        type='FPN',
        in_channels=[8, 16, 32, 64],
        start_level=1,
        out_channels=16,
        add_extra_convs='on_output',
        num_outs=5,
    ),
    bbox_head=dict(
        type='LLAHead',
        num_classes=1,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        norm_cfg=GN,
    ),
    train_cfg=dict(assigner=dict(type='LLAAssigner')),
    test_cfg=dict(),
)

#: Name: boxes of each of the four images, and how many of them are to be ignored. Process 1 of 2
#: has images 1 and 3, process 3 of 4 image 3.
SCENES = {
    'crowds': ([9, 4, 2, 7], [1, 0, 0, 2]),
    'a process without boxes': ([6, 0, 5, 0], [0, 0, 1, 0]),
    'a process with ignore boxes alone': ([6, 3, 5, 4], [0, 3, 1, 4]),
    'one image with boxes': ([5, 0, 0, 0], [0, 0, 0, 0]),
    'an uneven last batch': ([4, 6, 3], [0, 1, 0]),
}


def image(index, boxes, ignored):
    draw = torch.Generator().manual_seed(index)
    corner = torch.rand(boxes, 2, generator=draw) * 70
    size = 8 + torch.rand(boxes, 2, generator=draw) * 40
    bboxes = torch.cat([corner, corner + size], 1)
    sample = DetDataSample(
        metainfo=dict(
            img_id=index, img_shape=(96, 128), ori_shape=(96, 128), scale_factor=(1.0, 1.0)
        )
    )
    for name, part in (('gt_instances', bboxes[ignored:]), ('ignored_instances', bboxes[:ignored])):
        setattr(sample, name, InstanceData(bboxes=part, labels=torch.zeros(len(part)).long()))
    pixels = torch.randint(0, 256, (3, 96, 128), generator=draw, dtype=torch.uint8)
    return dict(inputs=pixels, data_samples=sample)


def train(scene, rank, world, dtype):
    torch.manual_seed(0)
    model = MODELS.build(MODEL).to(dtype)
    model.data_preprocessor.to(dtype)
    if world > 1:
        model = MMDistributedDataParallel(model)  # find_unused_parameters is off
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.02))
    shards = list(zip(*SCENES[scene], strict=True))[rank::world]
    logs = []
    for step in range(2):
        images = [image(10 * step + rank + world * i, *counts) for i, counts in enumerate(shards)]
        batch = dict(
            inputs=[one['inputs'].to(dtype) for one in images],
            data_samples=[one['data_samples'] for one in images],
        )
        terms = model.train_step(batch, wrapper)
        values = torch.stack([terms[name].detach() for name in sorted(terms)])
        if world > 1:
            dist.all_reduce(values)
        logs.append((values / world).tolist())
    flat = torch.cat([value.flatten() for value in model.parameters()]).detach()
    return dict(losses=logs, weights=flat[::97].tolist(), norm=flat.norm().item())


def evaluate(path):
    records, samples = random_crowd(5, num_images=7)
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    metric = CrowdMetric(ann_file=str(path))
    for index in DefaultSampler(samples, shuffle=False):
        metric.process({}, [samples[index]])
    return metric.evaluate(len(samples))


def work(directory, rank, world):
    """What one of the processes does."""
    if world > 1:
        meet = f'file://{directory}/meet_{world}'
        dist.init_process_group('gloo', init_method=meet, rank=rank, world_size=world)
    result = {
        scene: train(scene, rank, world, torch.float64)
        for scene in SCENES
        if world < 4 or scene != 'an uneven last batch'
    }
    result['metrics'] = evaluate(directory / f'{world}_{rank}.odgt')
    if rank == 0:
        (directory / f'{world}.json').write_text(json.dumps(result))
    if world > 1:
        dist.destroy_process_group()


def main():
    directory = Path(sys.argv[1])
    register_all_modules()
    compat.apply()
    torch.set_num_threads(1)
    fork = get_context('fork')  # to import everything once
    for world in WORLDS:
        started = [
            fork.Process(target=work, args=(directory, rank, world)) for rank in range(world)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        if any(process.exitcode for process in started):
            sys.exit(f'{world} processes ended with {[one.exitcode for one in started]}')


if __name__ == '__main__':
    main()
