# mmdet's runtime, and this package's classes in its registries.
_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['mmdet_lla'], allow_failed_imports=False)
