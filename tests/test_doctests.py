"""Examples in docstrings run, in every module that has any."""

import doctest
import importlib
import pkgutil

import pytest

import mmdet_lla

SKIPPED = {'mmdet_lla.__main__', 'mmdet_lla.ablation.engines.ray_engine'}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mmdet_lla.__path__, 'mmdet_lla.')
    if module.name not in SKIPPED
)


@pytest.mark.parametrize('name', MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0, f'{failed} examples of {name} failed; see the output'


def test_examples_are_found():
    finder = doctest.DocTestFinder()
    with_examples = [
        name
        for name in MODULES
        if any(test.examples for test in finder.find(importlib.import_module(name)))
    ]
    assert len(with_examples) >= 90
