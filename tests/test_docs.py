"""Pages of the documentation: links lead somewhere, commands and Python blocks run.

``bash`` and ``python`` blocks run in the order of the page, in a directory that looks like a
checkout. Commands of ``console`` blocks, which need data of the reader, are parsed only.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from mmdet_lla.cli.main import COMMANDS, load_command

REPO = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ('*.md', 'docs/**/*.md', 'configs/*/README.md')
    for path in REPO.glob(pattern)
)
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
BLOCK = re.compile(r'^```(\w+)\n(.*?)^```', re.MULTILINE | re.DOTALL)
GENERATED = {'docs/reference/commands.md', 'docs/reference/api.md'}
#: Lines of bash blocks that change the reader's environment, or are the test itself.
NOT_RUN = ('make ', 'source ', 'pip ', 'git ')


def page_name(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def anchors(text: str) -> set[str]:
    """Anchors of headings, as Markdown renderers derive them."""
    titles = re.findall(r'^#+ (.*)$', BLOCK.sub('', text), re.MULTILINE)
    plain = (re.sub(r'[^\w\- ]', '', title.lower()) for title in titles)
    return {title.strip().replace(' ', '-') for title in plain}


def broken_links(page: Path) -> list[str]:
    """Links of a page that lead to no file, or to no heading of it."""
    broken = []
    text = re.sub(r'`[^`\n]*`', '', BLOCK.sub('', page.read_text()))
    for link in LINK.findall(text):
        if re.match(r'[a-z]+:', link):
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        if target.is_relative_to(REPO) and page_name(target) in GENERATED:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize('page', PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('# A title\n[a](gone.md) [b](#a-title) [c](#two) [d](page.md) `[e](no.md)`\n')
    assert broken_links(page) == ['gone.md', '#two']


def test_every_page_is_in_the_navigation():
    navigation = (REPO / 'mkdocs.yml').read_text()
    pages = [path.relative_to(REPO / 'docs').as_posix() for path in REPO.glob('docs/**/*.md')]
    assert [page for page in pages if f': {page}\n' not in navigation] == []


def split_commands(code: str) -> list[list[str]]:
    """Commands of a block, one list of words each; comments and variables are dropped."""
    commands = []
    for line in re.sub(r'\\\n\s*', ' ', code).splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r'[A-Z_]+=', words[0]):
            words.pop(0)
        if words:
            commands.append(words)
    return commands


CONSOLE = [
    (page_name(page), words)
    for page in PAGES
    for language, code in BLOCK.findall(page.read_text())
    if language in ('bash', 'console')
    for words in split_commands(code)
]


@pytest.mark.parametrize(
    'page, words', CONSOLE, ids=[f'{page}: {" ".join(words)[:60]}' for page, words in CONSOLE]
)
def test_commands_are_valid(page, words):
    program, *arguments = words
    if program == 'mmdet-lla':
        if arguments and arguments[0] in COMMANDS:
            load_command(arguments[0]).build_parser().parse_args(arguments[1:])
        else:
            assert not arguments or arguments[0] in ('run', 'operators'), words
    elif program == 'make':
        targets = re.findall(r'^([a-z]+):', (REPO / 'Makefile').read_text(), re.MULTILINE)
        assert arguments[0] in targets
    elif '/' in program or program == 'python':
        scripts = [word for word in words if word.startswith(('tools/', 'benchmarks/'))]
        assert all((REPO / script).is_file() for script in scripts)
    else:
        assert program in ('source', 'pip', 'git', 'cd', 'ray'), words
    named = [word for word in words if 'configs/' in word and '...' not in word]
    configs = [word.rpartition('=')[2] for word in named]
    for path in configs:
        if path.startswith('configs/') and Path(path).stem not in ('a', 'b'):
            assert (REPO / path).exists(), path


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A directory like a checkout, in which commands may write."""
    for name in ('configs', 'docs', 'tools', 'examples'):
        (tmp_path / name).symlink_to(REPO / name)
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmdet')
    return tmp_path


class Runner:
    """Evaluates the blocks of a page."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.run_python = PythonEvaluator()

    def bash(self, example) -> None:
        env = {**os.environ, 'PYTHONPATH': str(REPO), 'PYTHONWARNINGS': 'ignore'}
        for words in split_commands(example.parsed):
            if f'{words[0]} '.startswith(NOT_RUN):
                continue
            assert words[0] == 'mmdet-lla', f'{words} can not be run in a test'
            command = [self.python, REPO / 'tests/run_command.py', *words[1:]]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)
            assert done.returncode == 0, f'{words}:\n{done.stdout[-500:]}\n{done.stderr[-2000:]}'

    def python_block(self, example) -> None:
        if '_base_' in example.parsed:
            train_config(example.parsed)
        else:
            self.run_python(example)


def train_config(code: str) -> None:
    """Run the first training step of a config, on a random image."""
    path = Path('snippet.py')
    path.write_text(code)
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None
    if 'depth' in cfg.model.backbone:
        cfg.model.backbone.update(depth=18)
        cfg.model.neck.in_channels = [64, 128, 256, 512]
    model = MODELS.build(cfg.model)
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), pad_shape=(64, 64), scale_factor=1.0))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 4.0, 40.0, 60.0]]), labels=torch.tensor([0])
    )
    losses = model.loss(torch.rand(1, 3, 64, 64), [sample])
    total = sum(v if isinstance(v, torch.Tensor) else sum(v) for v in losses.values())
    total.backward()
    assert total.isfinite()


RUN = [
    page
    for page in PAGES
    if any(language in ('bash', 'python') for language, _ in BLOCK.findall(page.read_text()))
]


@pytest.mark.slow
@pytest.mark.parametrize('page', RUN, ids=page_name)
def test_blocks_run(page, checkout, python):
    runner = Runner(python)
    parsers = [
        CodeBlockParser(language='bash', evaluator=runner.bash),
        CodeBlockParser(language='python', evaluator=runner.python_block),
    ]
    before = dict(sys.modules)
    document = Sybil(parsers=parsers).parse(page)
    for example in document.examples():
        example.evaluate()
    for name in sys.modules.keys() - before.keys():
        if name == 'snippet':
            del sys.modules[name]
