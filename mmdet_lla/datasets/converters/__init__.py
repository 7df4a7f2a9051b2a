"""Converters from other data sets to the ``.odgt`` format that ``CrowdDataset`` reads.

``CONVERTERS`` convert images and annotations of common formats to the CrowdHuman layout. The
``<name>_records`` functions yield one record per image of a published data set; given a
:class:`~mmdet_lla.datasets.report.ConversionReport` they continue after an invalid record and name
it there. :func:`convert` writes such records and prints the report.
"""

from functools import partial

from .caltech import caltech_records
from .citypersons import citypersons_records, mat_to_coco
from .coco import coco_person_records, read_coco_dataset
from .labelme import read_labelme
from .layout import IGNORE_CLASSES, PERSON_CLASSES, convert_dataset
from .mot import mot_records
from .voc import read_voc
from .widerperson import widerperson_records
from .writing import convert, run_conversion
from .yolo import read_yolo

#: By format: convert a source to the CrowdHuman layout, see :func:`convert_dataset`.
CONVERTERS = {
    'yolo': partial(convert_dataset, read_yolo),
    'voc': partial(convert_dataset, read_voc),
    'coco': partial(convert_dataset, read_coco_dataset),
    'labelme': partial(convert_dataset, read_labelme),
}

__all__ = [
    'CONVERTERS',
    'IGNORE_CLASSES',
    'PERSON_CLASSES',
    'caltech_records',
    'citypersons_records',
    'coco_person_records',
    'convert',
    'convert_dataset',
    'mat_to_coco',
    'mot_records',
    'run_conversion',
    'widerperson_records',
]
