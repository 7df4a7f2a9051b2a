"""What mmengine needs to follow ``mmdet_lla::lla/....py`` in ``_base_``, and ``mmdet_lla://lla-s``.

It takes packages of its own list alone, and gives all that is inherited from one the scope of its
name: types are then looked up in registries of that scope. Ours are children of mmdet's and hold
nothing; what they are asked for is found in their parents.
"""

import torch
from mmdet import registry as mmdet_registry
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry
from mmengine.runner import CheckpointLoader

SCOPE = 'mmdet_lla'
# mmengine asks pkg_resources where the package lies, which is wrong for an editable install; of a
# module that is no distribution it asks Python, which is right for all.
MODULE2PACKAGE[SCOPE] = 'mmdet_lla.version'

# Imported when a type is first looked up in our scope.
_LOCATIONS = [
    'mmdet.models',
    'mmdet.datasets',
    'mmdet.engine',
    'mmdet.evaluation',
    'mmdet.visualization',
    'mmdet_lla',
]

REGISTRIES = {
    name: Registry(parent.name, parent=parent, scope=SCOPE, locations=_LOCATIONS)
    for name, parent in vars(mmdet_registry).items()
    if isinstance(parent, Registry) and parent.scope == 'mmdet'
}


@CheckpointLoader.register_scheme(prefixes='mmdet_lla://', force=True)
def load_shipped(filename: str, map_location=None) -> dict:
    """Checkpoint of a model that ships: ``load_from = 'mmdet_lla://lla-s'``.

    Raises:
        ValueError: There is none of that name.
    """
    from .inference.zoo import MODELS, shipped_model  # only who asks for weights waits for this

    name = filename.removeprefix('mmdet_lla://')
    path = shipped_model(name)
    if path is None:
        raise ValueError(
            f'{filename}: no model {name!r} ships, there are: {", ".join(MODELS) or "none"}'
        )
    return torch.load(path, map_location=map_location, weights_only=True)
