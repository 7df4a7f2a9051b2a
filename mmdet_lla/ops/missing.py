"""What is said for an operator of mmcv that has no stand-in."""

from collections.abc import Callable
from typing import Any, NoReturn

#: What operators are, by how their names begin.
_KINDS = {
    'active_rotated_filter': 'filters that turn with the object, of ReDet and S2A-Net',
    'assign_score_withk': "weighted neighbours in PAConv's point clouds",
    'ball_query': 'neighbours within a radius in point clouds',
    'bbox_overlaps': 'overlaps of boxes; mmdet has its own in mmdet.structures.bbox',
    'bezier_align': 'pooling along Bezier curves, for text',
    'bias_act': 'bias and activation in one, of StyleGAN',
    'border_align': "pooling along a box's border, of BorderDet",
    'box_iou_quadri': 'overlaps of quadrilaterals',
    'box_iou_rotated': 'overlaps of rotated boxes',
    'carafe': 'content-aware upsampling, of FPN_CARAFE',
    'chamfer_distance': 'distance between point sets',
    'contour_expand': 'growing of text kernels, of PSENet',
    'convex_': 'overlaps of convex hulls',
    'correlation': 'correlation of two maps, of FlowNet',
    'deform_roi_pool': 'deformable pooling of boxes',
    'diff_iou_rotated': 'overlaps of rotated boxes with a gradient',
    'dynamic_point_to_voxel': 'points gathered into voxels',
    'dynamic_voxelize': 'points sorted into voxels',
    'filtered_lrelu': 'filtered activation, of StyleGAN 3',
    'furthest_point_sampling': 'thinning of point clouds',
    'fused_bias_leakyrelu': 'bias and activation in one, of StyleGAN 2',
    'fused_indice_conv': 'sparse convolution',
    'gather_points': 'points by index, in point clouds',
    'get_indice_pairs': 'sparse convolution',
    'group_points': 'groups of points in point clouds',
    'hard_voxelize': 'points sorted into voxels',
    'indice_': 'sparse convolution and pooling',
    'iou3d': 'overlaps and NMS of boxes in space',
    'knn': 'nearest neighbours in point clouds',
    'masked_': 'convolution at some places alone, of Guided Anchoring',
    'min_area_polygons': 'smallest quadrilateral around points',
    'ms_deform_attn': 'attention to few places of several levels, of Deformable DETR, on a GPU',
    'nms_quadri': 'NMS of quadrilaterals',
    'nms_rotated': 'NMS of rotated boxes',
    'pixel_group': 'grouping of text pixels, of PAN',
    'points_in_': 'which points lie in which boxes or polygons',
    'prroi_pool': 'precise pooling of boxes',
    'psamask': 'point-wise spatial attention',
    'riroi_align_rotated': 'rotation-invariant pooling of rotated boxes',
    'roi_align_rotated': 'pooling of rotated boxes',
    'roi_pool': 'pooling of boxes by rounded places, of Fast R-CNN',
    'roiaware_pool3d': 'pooling of boxes in space',
    'roipoint_pool3d': 'pooling of boxes in space',
    'rotated_feature_align': 'features at the corners of rotated boxes, of R3Det',
    'stack_': 'neighbours in stacked point clouds',
    'sync_bn': "mmcv's batch norm over processes; torch has SyncBatchNorm",
    'three_': 'interpolation from three neighbours in point clouds',
    'tin_shift': 'shifts in time, of TIN',
    'upfirdn2d': 'upsampling with a filter, of StyleGAN',
}


def missing_operator(name: str) -> Callable[..., NoReturn]:
    """A function in the place of an operator, which raises NotImplementedError when called."""
    kind = next((text for stem, text in _KINDS.items() if name.startswith(stem)), None)

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f'{name}, an operator of mmcv{f" ({kind})" if kind else ""}, is not here: this '
            'environment has mmcv-lite, which comes without compiled operators, and mmdet_lla '
            'stands in for those that its detectors and mmdet on a CPU need. For all of them '
            'install the compiled mmcv: `make setup MMCV=full` in a checkout of mmdet_lla, or, '
            "with a C++ compiler and Python's headers, `pip uninstall mmcv-lite` and "
            '`MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary mmcv mmcv==2.1.0`'
        )

    missing.__name__ = missing.__qualname__ = name
    return missing
