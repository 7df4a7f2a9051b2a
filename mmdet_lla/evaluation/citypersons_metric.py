"""CityPersons' log-average miss rates as an mmdet metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmdet.registry import METRICS
from mmengine.fileio import dump

from .annotations import CrowdAnnotation, CrowdDetections
from .citypersons import LOW_FPPI, SETUPS, Setup, evaluate_citypersons, load_citypersons
from .detection_files import to_coco_results
from .detection_metric import DetectionMetric


@METRICS.register_module()
class CityPersonsMetric(DetectionMetric):
    """Log-average miss rate by the rules of CityPersons; see ``evaluation.citypersons``.

    Keys are the names of the setups: ``citypersons/reasonable``, ``small``, ``heavy``, ``partial``,
    ``bare`` and ``all``, fractions of 1, lower is better. A setup without gts has 1.

    Args:
        ann_file (str): Ground truth, JSON as for the benchmark's script or MAT; see
            ``load_citypersons``. The data samples' ``img_id`` are its image IDs, as in
            ``CityPersonsDataset``.
        setups (Mapping[str, dict], optional): Groups by name, each with ``height`` in pixels and
            ``visible`` fraction as (least, most), e.g.
            ``dict(heavy=dict(height=(50, float('inf')), visible=(0, 0.65)))``. Defaults to
            the benchmark's six.
        low_fppi (str): 'none' or 'last'; see ``evaluate_citypersons``. Defaults to 'none'.
        format_only (bool): Whether to only write the detections. Defaults to False.
        outfile_prefix (str, optional): Write the detections to ``{outfile_prefix}.json`` in the
            format of the benchmark's script. Defaults to None, not written.
        backend_args (dict, optional): mmengine's file backend for reading.
        collect_device (str): 'cpu' or 'gpu', for several processes. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the keys. Defaults to 'citypersons'.

    Raises:
        ValueError: An argument or the annotation file is invalid.

    Example:
        >>> CityPersonsMetric.default_prefix
        'citypersons'
    """

    default_prefix: str | None = 'citypersons'

    def __init__(
        self,
        ann_file: str,
        setups: Mapping[str, dict] | None = None,
        low_fppi: str = 'none',
        format_only: bool = False,
        outfile_prefix: str | None = None,
        backend_args: dict | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        if low_fppi not in LOW_FPPI:
            raise ValueError(f'low_fppi is {low_fppi!r}, expected one of {tuple(LOW_FPPI)}')
        self.low_fppi = low_fppi
        self.setups = (
            SETUPS if setups is None else {name: Setup(**ranges) for name, ranges in setups.items()}
        )
        super().__init__(
            load_citypersons(ann_file, backend_args),
            format_only,
            outfile_prefix,
            collect_device,
            prefix,
        )

    def dump_detections(self, detections: Sequence[CrowdDetections], outfile_prefix: str) -> str:
        """Write detections as COCO results: boxes ``x, y, width, height``, category 1.

        Args:
            detections (Sequence[CrowdDetections]): One for each image.
            outfile_prefix (str): The path without ``.json``.
        """
        path = f'{outfile_prefix}.json'
        dump(list(to_coco_results(detections)), path)
        return path

    def evaluate_images(
        self, annotations: Sequence[CrowdAnnotation], detections: Sequence[CrowdDetections]
    ) -> dict[str, float]:
        """Evaluate detections; see ``evaluate_citypersons``."""
        results = evaluate_citypersons(annotations, detections, self.setups, self.low_fppi)
        return {name: result.miss_rate for name, result in results.items()}
