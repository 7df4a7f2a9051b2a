# mmdet's runtime, and this package's classes in its registries.
_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['mmdet_lla'], allow_failed_imports=False)
# What lets a run survive kills, full disks and NaN; see docs/results/reliability.md.
default_hooks = dict(
    checkpoint=dict(type='SafeCheckpointHook'),
    exact_resume=dict(type='ExactResumeHook'),
    nan_guard=dict(type='NaNGuardHook'),
)
