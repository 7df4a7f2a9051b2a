"""Losses of up to 512 simulated processes equal those of one process."""

import pytest
import torch
from lla_heads import TINY, build_head, point_generator
from mmengine.structures import InstanceData

from mmdet_lla.heads import lla_head

SIZES = (4, 2)


@pytest.fixture(scope='module')
def head():
    return build_head(**TINY, anchor_generator=point_generator(8, 16))


def images(count):
    """Predictions and boxes; every third image has none."""
    draw = torch.Generator().manual_seed(0)
    maps = [
        [torch.randn(count, channels, n, n, generator=draw) for n in SIZES]
        for channels in (1, 4, 1)
    ]
    maps[1] = [value.abs() * 8 for value in maps[1]]
    gts = []
    for index in range(count):
        corner = torch.rand(index % 3, 2, generator=draw) * 24
        size = 4 + torch.rand(index % 3, 2, generator=draw) * 12
        gts.append(
            InstanceData(
                bboxes=torch.cat([corner, corner + size], 1), labels=torch.zeros(index % 3).long()
            )
        )
    return maps, gts


@pytest.mark.parametrize('processes', [8, 64, pytest.param(512, marks=pytest.mark.slow)])
def test_mean_over_processes_is_the_loss_of_all(head, monkeypatch, processes):
    maps, gts = images(processes + 3)  # some processes have one image more

    def losses(chosen):
        part = [[level[chosen] for level in levels] for levels in maps]
        boxes = [gts[i] for i in chosen]
        return head.loss_by_feat(*part, boxes, [dict(img_shape=(32, 32))] * len(boxes))

    total = []
    monkeypatch.setattr(lla_head, 'reduce_mean', lambda value: total.append(value) or value)
    everything = losses(range(len(gts)))
    shards = [range(rank, len(gts), processes) for rank in range(processes)]
    mean = total[0] / processes
    counts = []
    monkeypatch.setattr(lla_head, 'reduce_mean', lambda value: counts.append(value) or mean)
    parts = [losses(shard) for shard in shards]
    assert len(counts) == processes and len(set(map(float, counts))) > 1
    torch.testing.assert_close(torch.stack(counts).mean(), mean)
    for name, value in everything.items():
        average = torch.stack([part[name].double() for part in parts]).mean()
        torch.testing.assert_close(average, value.double(), rtol=1e-5, atol=1e-7)
