"""Hooks of the documentation site: mkdocs calls the functions, griffe the class.

The pages can also be read in the repository. So READMEs of configs and the guide for contributors
are added from their places, and links that leave the site become plain text. Commands and API are
generated from parsers and docstrings.
"""

import os
import re
import sys
from pathlib import Path
from posixpath import dirname, join, normpath

import griffe
from mkdocs.structure.files import File, Files

REPO = Path(__file__).resolve().parents[1]
LINK = re.compile(r'(?<!!)\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)')
EXAMPLE = re.compile(r'^(>>> .*(?:\n.+)*)', re.MULTILINE)
#: Modules and classes of the API page, by section.
API = {
    'Assigners': [
        'assigners.reference',
        'assigners.lla_assigner.LLAAssigner',
        'assigners.ota_assigner.OTAAssigner',
        'assigners.poto_assigner.POTOAssigner',
        'assigners.views.View',
    ],
    'Head': ['heads.lla_head.LLAHead'],
    'Inference': ['inference.predictor', 'runtime.detector', 'publishing'],
    'Data sets': [
        'datasets.crowd.CrowdDataset',
        'datasets.citypersons.CityPersonsDataset',
        'datasets.transforms',
    ],
    'Metrics': [
        'evaluation.crowd_metric.CrowdMetric',
        'evaluation.citypersons_metric.CityPersonsMetric',
        'evaluation.crowd',
    ],
    'Studies': ['ablation.study.ablate', 'ablation.engines.base', 'analysis.statistics'],
    'Hooks and optimizers': [
        'hooks.exact_resume_hook.ExactResumeHook',
        'hooks.safe_checkpoint_hook.SafeCheckpointHook',
        'hooks.nan_guard_hook.NaNGuardHook',
        'hooks.assignment_hook.AssignmentHook',
        'optim.autocast_optim_wrapper.AutocastOptimWrapper',
    ],
}


def on_files(files: Files, config) -> Files:
    """Add recipes, changelog, guide for contributors, and the generated pages."""
    pages = [*sorted(REPO.glob('configs/*/README.md'))]
    pages += [REPO / name for name in ('CHANGELOG.md', 'CONTRIBUTING.md')]
    generated = {page.relative_to(REPO).as_posix(): page.read_text() for page in pages}
    generated['reference/commands.md'] = commands_page()
    generated['reference/api.md'] = api_page()
    for uri, content in generated.items():
        files.append(File.generated(config, uri, content=content))
    return files


def commands_page() -> str:
    """Format the help of every command; parsers need the standard library only."""
    sys.path.insert(0, str(REPO))
    os.environ['COLUMNS'] = '100'
    from mmdet_lla.cli.main import GROUPS, load_command

    parts = ['# Commands', 'The help of every command, as `mmdet-lla COMMAND --help` prints it.']
    for group, names in GROUPS.items():
        parts.append(f'## {group.capitalize()}')
        for name in names:
            text = load_command(name).build_parser().format_help()
            parts.append(f'### {name}\n\n```\n{text}```')
    return '\n\n'.join(parts)


def api_page() -> str:
    """List the objects whose docstrings are shown."""
    parts = ['# API', 'Registered classes are named in configs. Functions take tensors and arrays.']
    for section, names in API.items():
        parts += [f'## {section}', *(f'::: mmdet_lla.{name}' for name in names)]
    return '\n\n'.join(parts)


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    """Point links at pages of the site; a target outside of it becomes plain text."""
    uris = {file.src_uri for file in files}
    # Where the page is in the repository; docs/ is the root of the site.
    here = page.file.src_uri if page.file.generated_by else join('docs', page.file.src_uri)

    def on_site(match: re.Match) -> str:
        text, path, anchor = match.group(1), match.group(2), match.group(3) or ''
        target = normpath(join(dirname(here), path)).removeprefix('docs/')
        if target == 'README.md':
            target = 'index.md'
        for uri in (target, f'{target}/README.md'):
            if uri in uris:
                up = '../' * page.file.src_uri.count('/')
                return f'[{text}]({up}{uri}{anchor})'
        return text

    return LINK.sub(on_site, markdown)


class Roles(griffe.Extension):
    """Shows Sphinx roles and examples in docstrings as code."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            value = re.sub(
                r':(?:class|func|meth|obj|mod|attr):`~?([^`]+)`', r'`\1`', obj.docstring.value
            )
            value = re.sub(r'`([^`<]+?) <(\S+?)>`_', r'[\1](\2)', value)
            obj.docstring.value = EXAMPLE.sub(r'```pycon\n\1\n```', value)
