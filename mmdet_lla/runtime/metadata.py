"""What an exported file says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from .pictures import SizeRule

#: Where it lies in a file: key of ONNX's metadata and of OpenVINO's ``rt_info``.
KEY = 'mmdet_lla'
_FORMAT = 1


@dataclass(frozen=True)
class Metadata:
    """What has to be known to run an exported detector, and what is good to know.

    Attributes:
        classes (tuple[str]): Names of the classes, by label.
        size_rule (SizeRule): What becomes of a picture before the detector.
        threshold (float, optional): The score that was best on validation.
        metrics (dict[str, float]): What it reached there.
        model (str): Name of the model.
        precision (str): 'float32' or 'int8'.
        version (str): Of mmdet_lla, that wrote it.
        rgb (bool): Whether the file takes pictures in RGB, else BGR.
    """

    classes: tuple[str, ...]
    size_rule: SizeRule
    threshold: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    model: str = ''
    precision: str = 'float32'
    version: str = ''
    rgb: bool = False

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps({'format': _FORMAT, **asdict(self)})

    @classmethod
    def loads(cls, text: str | None, path) -> Metadata:
        """From what :meth:`dumps` gave.

        Raises:
            ValueError: It is something else; the message names the file.
        """
        try:
            values = json.loads(text or '')
            version = values.pop('format')
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(
                f'{path} has no metadata of mmdet_lla; expected a file of tools/export.py'
            ) from error
        if version != _FORMAT:
            raise ValueError(f'{path} has metadata of format {version}, expected {_FORMAT}')
        rule = SizeRule.from_dict(values.pop('size_rule'))
        return cls(classes=tuple(values.pop('classes')), size_rule=rule, **values)
