"""Other pedestrian data sets, turned into the ``.odgt`` format that ``CrowdDataset`` reads.

Each module has a ``<name>_records`` function that yields one record a picture. Given a
:class:`~mmdet_lla.datasets.tally.Tally` it goes on past what cannot be used and names it there;
:func:`convert` writes the records and accounts for every one.
"""

from .caltech import caltech_records
from .citypersons import citypersons_records, mat_to_coco
from .coco_person import coco_person_records
from .mot import mot_records
from .widerperson import widerperson_records
from .writing import account, convert

__all__ = [
    'account',
    'caltech_records',
    'citypersons_records',
    'coco_person_records',
    'convert',
    'mat_to_coco',
    'mot_records',
    'widerperson_records',
]
