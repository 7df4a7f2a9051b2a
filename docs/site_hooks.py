"""What the site needs besides the pages: mkdocs calls the functions, griffe the class.

The pages are written to be read in the repository, too. So the recipes' READMEs come in from
``configs/``, and links that leave the site become plain text.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath

import griffe
from mkdocs.structure.files import File, Files

REPO = Path(__file__).resolve().parents[1]
LINK = re.compile(r'(?<!!)\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)')


def on_files(files: Files, config) -> Files:
    """Add the recipes' READMEs, the changelog and the guide for contributors."""
    pages = [*sorted(REPO.glob('configs/*/README.md'))]
    pages += [REPO / name for name in ('CHANGELOG.md', 'CONTRIBUTING.md')]
    for page in pages:
        files.append(
            File.generated(config, page.relative_to(REPO).as_posix(), content=page.read_text())
        )
    return files


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    """Point links at the pages of the site; what is no page of it is only named."""
    uris = {file.src_uri for file in files}
    # where the page lies in the repository; docs/ is the root of the site
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
    """Sphinx's roles in docstrings, as mmdet writes them, become code."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            value = re.sub(
                r':(?:class|func|meth|obj|mod|attr):`~?([^`]+)`', r'`\1`', obj.docstring.value
            )
            obj.docstring.value = re.sub(r'`([^`<]+?) <(\S+?)>`_', r'[\1](\2)', value)
