"""The pages hold: every link leads somewhere, every command is one, every snippet runs."""

import argparse
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import mmdet.registry
import numpy as np
import pytest
import torch
from mmdet.models.task_modules import BaseAssigner
from mmdet.registry import DATASETS, MODELS, TASK_UTILS
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope

import mmdet_lla  # noqa: F401  (registers)
from mmdet_lla.synthetic import CrowdParams, build_dataset

REGISTRIES = [value for value in vars(mmdet.registry).values() if isinstance(value, Registry)]
PLACEHOLDERS = {'TheirAssigner'}  # of whoever reads

REPO = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path for pattern in ('*.md', 'docs/*.md', 'configs/*/README.md') for path in REPO.glob(pattern)
)
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
BLOCK = re.compile(r'^```(\w+)\n(.*?)^```', re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def without_code(text: str) -> str:
    return re.sub(r'`[^`\n]*`', '', BLOCK.sub('', text))


def anchors(text: str) -> set[str]:
    """As the usual renderers make them of headings."""
    titles = re.findall(r'^#+ (.*)$', BLOCK.sub('', text), re.MULTILINE)
    plain = (re.sub(r'[^\w\- ]', '', title.lower()) for title in titles)
    return {title.strip().replace(' ', '-') for title in plain}


def broken_links(page: Path) -> list[str]:
    """Links of a page that lead to no file, or to no heading of it."""
    broken = []
    for link in LINK.findall(without_code(page.read_text())):
        if re.match(r'[a-z]+:', link):
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            broken.append(link)
        elif anchor and anchor not in anchors(target.read_text()):
            broken.append(link)
    return broken


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (name_of(page), code)
        for page in PAGES
        for found, code in BLOCK.findall(page.read_text())
        if found == language
    ]


def commands() -> list[tuple[str, str]]:
    """Page and command, one a line; lines that end in a backslash go on."""
    found = []
    for page, code in blocks('bash'):
        for line in re.sub(r'\\\n\s*', ' ', code).splitlines():
            line = re.sub(r'(^|\s)#\s.*', '', line).strip()
            if line:
                found.append((page, line))
    return found


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(
        '# One title\n[a](gone.md) [b](#one-title) [c](#two) [d](page.md) `[e](no.md)`\n'
    )
    assert broken_links(page) == ['gone.md', '#two']


class Understood(Exception):
    """The tool took its arguments."""


def understand(tool: Path, arguments: list[str], monkeypatch) -> None:
    """Run a tool up to where it has read its command line.

    Raises:
        SystemExit: It does not take these arguments.
    """
    parse = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Understood

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
        patch.setattr(sys, 'argv', [str(tool), *arguments])
        patch.syspath_prepend(str(tool.parent))
        with pytest.raises(Understood):
            runpy.run_path(str(tool), run_name='__main__')


TOOLS = [
    (page, command)
    for page, command in commands()
    if re.match(r'(\S+/)?python (tools|benchmarks)/', command)
]


@pytest.mark.parametrize(
    ('page', 'command'), TOOLS, ids=[f'{page}: {command[:60]}' for page, command in TOOLS]
)
def test_tools_take_the_commands_of_the_pages(page, command, monkeypatch):
    _, tool, *arguments = shlex.split(command)
    assert (REPO / tool).is_file()
    understand(REPO / tool, arguments, monkeypatch)


def test_a_wrong_option_is_found(monkeypatch):
    with pytest.raises(SystemExit):
        understand(REPO / 'tools' / 'ablate.py', ['a.py', '--seed-of-all'], monkeypatch)


def test_other_commands_are_known():
    """What is no tool of ours is make, pip, pytest or a script that is there."""
    targets = set(re.findall(r'^([a-z]+):', (REPO / 'Makefile').read_text(), re.MULTILINE))
    for page, command in commands():
        if (page, command) in TOOLS:
            continue
        words = [word for word in shlex.split(command) if '=' not in word.split('/')[0]]
        if words[0] == 'make':
            assert set(words[1:2]) <= targets, f'{page}: {command}'
        elif words[0].startswith('tools/'):
            assert (REPO / words[0]).is_file(), f'{page}: {command}'
            for config in (word for word in words if word.startswith('configs/')):
                assert (REPO / config).is_file(), f'{page}: {command}'
        else:
            known = ('pip', 'python -m pip', 'pre-commit', '.venv/bin/python -m pytest', 'mim')
            assert command.removeprefix('MMCV_WITH_OPS=1 ').startswith(known), f'{page}: {command}'


CONFIGS = [(page, code) for page, code in blocks('python') if '_base_' in code]


@pytest.mark.parametrize(
    ('page', 'code'), CONFIGS, ids=[f'{page} {i}' for i, (page, _) in enumerate(CONFIGS)]
)
def test_configs_of_the_pages_are_read(page, code, tmp_path):
    base = re.search(r"_base_ = '([^']+)'", code).group(1)
    if '::' not in base:
        # written to stand beside the configs, or in the repository's root
        (there,) = {*REPO.glob(base), *REPO.glob('configs/' + base.replace('../', ''))}
        code = code.replace(base, str(there))
    config = tmp_path / 'config.py'
    config.write_text(code)
    assert Config.fromfile(config).model.type


def registered(kind: str) -> bool:
    """Whether some registry of mmengine's or mmdet's knows a class of that name."""
    return any(registry.get(kind) is not None for registry in REGISTRIES)


def types_in(value) -> Iterator[str]:
    """All ``type`` of a config, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get('type'), str):
            yield value['type']
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for child in value:
            yield from types_in(child)


@pytest.fixture
def crowd(tmp_path, monkeypatch):
    """What the snippets speak of, in the current folder: data, a detector, detections."""
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmdet')
    build_dataset('data/CrowdHuman', 1, 2, CrowdParams(width=160, height=120), workers=1)
    Path('annotation_val.odgt').write_bytes(
        Path('data/CrowdHuman/annotation_val.odgt').read_bytes()
    )
    cfg = Config.fromfile(REPO / 'configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py')
    cfg.merge_from_dict(
        {
            'model.backbone.init_cfg': None,
            'model.backbone.widen_factor': 0.25,
            'model.neck.in_channels': [8, 24, 80],
            'train_dataloader.dataset.data_root': 'data/CrowdHuman/',
        }
    )
    cfg.dump('config.py')
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), 'checkpoint.pth')
    torch.save(dict(state_dict={}, meta=dict(cfg=cfg.pretty_text)), 'published.pth')
    cv2.imwrite('photo.jpg', np.zeros((120, 160, 3), np.uint8))
    return dict(
        torch=torch,
        path='published.pth',
        model=model,
        dataset=DATASETS.build(cfg.train_dataloader.dataset),
        boxes=np.array([[10.0, 10.0, 20.0, 40.0]]),
        scores=np.array([0.5]),
        height=120,
        width=160,
        counts=np.array([1, 0]),
        frames=[],
        train_pipeline=cfg.train_pipeline,
        TASK_UTILS=TASK_UTILS,
        BaseAssigner=BaseAssigner,
    )


#: What an exported file gives is tested beside the export.
ELSEWHERE = {'docs/export.md'}
SNIPPETS = sorted({page for page, code in blocks('python') if '_base_' not in code} - ELSEWHERE)


@pytest.mark.parametrize('page', SNIPPETS)
def test_snippets_run(page, crowd):
    """In their order, with what a reader has by then; configs name what is registered."""
    for found, code in blocks('python'):
        if found != page or '_base_' in code:
            continue
        before = dict(crowd)
        exec(compile(code, page, 'exec'), crowd)
        for name, value in crowd.items():
            if isinstance(value, (dict, list)) and before.get(name) is not value:
                if name == '__builtins__':
                    continue
                unknown = [kind for kind in types_in(value) if not registered(kind)]
                assert set(unknown) <= PLACEHOLDERS, f'{page}: {name} names {unknown}'
    TASK_UTILS.module_dict.pop('MyAssigner', None)
