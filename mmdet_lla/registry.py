"""Registries of the scope ``mmdet_lla``, which mmengine imports for configs inherited from us.

mmengine gives everything that is inherited from ``mmdet_lla::...`` the scope of that name and looks
its types up in registries of that scope. Ours are children of mmdet's and hold nothing, so lookups
end in mmdet's registries.

>>> REGISTRIES['MODELS'].get('LLAHead').__name__, REGISTRIES['MODELS'].get('GIoULoss').__name__
('LLAHead', 'GIoULoss')
"""

from mmdet import registry as mmdet_registry
from mmengine.registry import Registry

from .import_hooks import SCOPE

REGISTRIES = {
    name: Registry(parent.name, parent=parent, scope=SCOPE, locations=parent._locations)
    for name, parent in vars(mmdet_registry).items()
    if isinstance(parent, Registry) and parent.scope == 'mmdet'
}
