"""LLA.FCOS in plain torch, with weights under cvpods' names and without mmdet.

From the description of the released model, `shared/golden/released/README.md`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

STRIDES = (8, 16, 32, 64, 128)
BLOCKS = {'res2': 3, 'res3': 4, 'res4': 6, 'res5': 3}


def forward(weights: dict[str, Tensor], image: Tensor) -> dict[str, list[Tensor]]:
    """Feature maps and raw outputs of every level, for a padded BGR image of (1, 3, H, W)."""
    mean = torch.tensor([103.53, 116.28, 123.675]).view(1, 3, 1, 1)
    features = pyramid(weights, image - mean)
    outputs = dict(features=features, cls=[], box=[], iou=[])
    branch = 'ious_pred' if 'head.ious_pred.weight' in weights else 'centerness'
    for i, (feature, stride) in enumerate(zip(features, STRIDES, strict=True)):
        cls_feat, box_feat = (tower(weights, f'head.{k}_subnet', feature) for k in ('cls', 'bbox'))
        scale = weights[f'head.scales.{i}.scale']
        outputs['cls'].append(conv(weights, 'head.cls_score', cls_feat))
        outputs['box'].append(F.relu(scale * conv(weights, 'head.bbox_pred', box_feat)) * stride)
        outputs['iou'].append(conv(weights, f'head.{branch}', box_feat))
    return outputs


def conv(weights, name, x, stride=1) -> Tensor:
    """Convolution that pads to keep its size, with what follows it: bias or frozen BN."""
    weight = weights[f'{name}.weight']
    x = F.conv2d(x, weight, weights.get(f'{name}.bias'), stride, weight.shape[-1] // 2)
    if f'{name}.norm.weight' not in weights:
        return x
    scale, bias, mean, var = (
        weights[f'{name}.norm.{key}'].view(1, -1, 1, 1)
        for key in ('weight', 'bias', 'running_mean', 'running_var')
    )
    return (x - mean) / (var + 1e-5).sqrt() * scale + bias


def pyramid(weights, x) -> list[Tensor]:
    """P3 to P7."""
    x = F.relu(conv(weights, 'backbone.bottom_up.stem.conv1', x, 2))
    x = F.max_pool2d(x, 3, 2, 1)
    stages = []
    for stage, blocks in BLOCKS.items():
        for i in range(blocks):
            name = f'backbone.bottom_up.{stage}.{i}'
            stride = 2 if i == 0 and stage != 'res2' else 1
            out = F.relu(conv(weights, f'{name}.conv1', x, stride))
            out = F.relu(conv(weights, f'{name}.conv2', out))
            out = conv(weights, f'{name}.conv3', out)
            x = F.relu(out + (conv(weights, f'{name}.shortcut', x, stride) if i == 0 else x))
        stages.append(x)
    merged, levels = None, []
    for level in (5, 4, 3):
        lateral = conv(weights, f'backbone.fpn_lateral{level}', stages[level - 2])
        merged = lateral if merged is None else lateral + F.interpolate(merged, scale_factor=2.0)
        levels.insert(0, conv(weights, f'backbone.fpn_output{level}', merged))
    top = 'backbone.top_block.p6'
    from_c5 = weights[f'{top}.weight'].shape[1] == stages[-1].shape[1]
    p6 = conv(weights, top, stages[-1] if from_c5 else levels[-1], 2)
    return [*levels, p6, conv(weights, 'backbone.top_block.p7', F.relu(p6), 2)]


def tower(weights, name, x) -> Tensor:
    for i in range(4):
        x = conv(weights, f'{name}.{3 * i}', x)
        norm = f'{name}.{3 * i + 1}'
        x = F.relu(F.group_norm(x, 32, weights[f'{norm}.weight'], weights[f'{norm}.bias']))
    return x
