"""Other pedestrian data sets, turned into the ``.odgt`` format that ``CrowdDataset`` reads.

Each module has a ``<name>_records`` function that yields one record a picture, for
:func:`mmdet_lla.datasets.odgt.write_odgt`.
"""

from .caltech import caltech_records
from .citypersons import citypersons_records, mat_to_coco
from .coco_person import coco_person_records
from .mot import mot_records
from .widerperson import widerperson_records

__all__ = [
    'caltech_records',
    'citypersons_records',
    'coco_person_records',
    'mat_to_coco',
    'mot_records',
    'widerperson_records',
]
