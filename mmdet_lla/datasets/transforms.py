"""Pipeline transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes

from .odgt import BOX_KEYS


@TRANSFORMS.register_module()
class LoadCrowdBoxes(BaseTransform):
    """Add the body, visible or head boxes of a crowd dataset to the results.

    mmdet's transforms move ``gt_bboxes`` only. This one belongs after those that move boxes
    (resize, flip): it applies their ``homography_matrix`` and clips to the image. To pass the boxes
    to a model, name them in ``PackDetInputs(meta_keys=...)``: they hold all boxes, ignored ones
    too, in the order of ``instances``.

    Required keys: ``instances``, ``img_shape``; ``homography_matrix`` if anything was moved.
    Added keys: ``gt_<key>es``, for example ``gt_vboxes``: float32 array (N, 4), x1, y1, x2, y2.

    >>> results = dict(instances=[dict(vbox=[-5, 0, 10, 20])], img_shape=(50, 60))
    >>> LoadCrowdBoxes(keys=('vbox',))(results)['gt_vboxes'].tolist()
    [[0.0, 0.0, 10.0, 20.0]]

    Args:
        keys: Any of 'fbox', 'vbox', 'hbox'.

    Raises:
        KeyError: An instance lacks such a box.
        ValueError: Unknown key, or an earlier transform dropped boxes, so that these would not
            match ``gt_bboxes``.
    """

    def __init__(self, keys: Sequence[str] = ('vbox', 'hbox')) -> None:
        unknown = [key for key in keys if key not in BOX_KEYS]
        if unknown:
            raise ValueError(f"keys must be among 'fbox', 'vbox', 'hbox', got {unknown}")
        self.keys = tuple(keys)

    def transform(self, results: dict) -> dict:
        """Add the boxes to ``results``."""
        instances = results['instances']
        if 'gt_bboxes' in results and len(results['gt_bboxes']) != len(instances):
            raise ValueError(
                f'LoadCrowdBoxes: {len(instances)} instances but {len(results["gt_bboxes"])} '
                'gt_bboxes; a transform before it drops boxes'
            )
        for key in self.keys:
            rows = [instance[key] for instance in instances]
            boxes = HorizontalBoxes(np.array(rows, dtype=np.float32).reshape(-1, 4))
            if 'homography_matrix' in results:
                boxes.project_(results['homography_matrix'])
            boxes.clip_(results['img_shape'])
            results[f'gt_{key}es'] = boxes.numpy()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keys={self.keys})'
