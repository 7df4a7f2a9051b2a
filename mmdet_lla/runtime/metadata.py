"""Metadata of exported files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from .images import SizeRule

#: Key in ONNX's metadata and in OpenVINO's ``rt_info``.
KEY = 'mmdet_lla'
_FORMAT = 1


@dataclass(frozen=True)
class Metadata:
    """What a file carries besides the network.

    Attributes:
        classes (tuple[str]): Class names by label.
        size_rule (SizeRule): Resizing and padding before the network.
        threshold (float, optional): Score threshold chosen on the validation set.
        metrics (dict[str, float]): Validation metrics.
        model (str): Name of the model.
        precision (str): 'float32' or 'int8'.
        version (str): Version of mmdet_lla that wrote the file.
        rgb (bool): Whether the network takes RGB images instead of BGR.

    Example:
        >>> metadata = Metadata(('person',), SizeRule((640, 480)), threshold=0.4)
        >>> Metadata.loads(metadata.dumps(), 'a.onnx') == metadata
        True
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
        """Serialize as JSON."""
        return json.dumps({'format': _FORMAT, **asdict(self)})

    @classmethod
    def loads(cls, text: str | None, path) -> Metadata:
        """Parse the text of :meth:`dumps`.

        Raises:
            ValueError: It is something else; the message names the file.
        """
        try:
            values = json.loads(text or '')
            version = values.pop('format')
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(
                f'{path} has no metadata of mmdet_lla: expected a file written by mmdet-lla export'
            ) from error
        if version != _FORMAT:
            raise ValueError(f'{path} has metadata of format {version}, expected {_FORMAT}')
        rule = SizeRule.from_dict(values.pop('size_rule'))
        return cls(classes=tuple(values.pop('classes')), size_rule=rule, **values)
