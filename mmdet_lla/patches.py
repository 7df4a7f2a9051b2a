"""Applies the patches of :mod:`mmdet_lla.compat` on import, for ``custom_imports`` in configs."""

from .compat import apply

apply()
