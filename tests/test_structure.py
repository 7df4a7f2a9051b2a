"""Imports inside the package point downwards, without cycles."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import mmdet_lla

PACKAGE = Path(mmdet_lla.__file__).parent
#: From the bottom; a package imports only from those before it.
LAYERS = (
    'utils', 'ops', 'runtime', 'assigners', 'heads', 'datasets', 'synthetic', 'evaluation',
    'inference', 'export', 'analysis', 'ablation', 'hooks', 'cli',
)  # fmt: skip
#: Packages that are also imported without torch, mmdet, mmengine and mmcv.
LIGHT = ('utils', 'runtime')


def read_imports() -> dict[str, set[str]]:
    """Return the modules that each module imports, inside functions, too."""
    paths = {
        '.'.join(('mmdet_lla', *path.relative_to(PACKAGE).with_suffix('').parts)): path
        for path in PACKAGE.rglob('*.py')
        if '.mim' not in path.parts
    }
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        names = found.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                parents = name.split('.')[: -node.level] if node.level else []
                base = '.'.join([*parents, *filter(None, [node.module])])
                modules = {f'{base}.{alias.name}' for alias in node.names}
                inside = {one for one in modules if one in paths}
                names.update(inside)
                if inside != modules:
                    names.add(f'{base}.__init__' if f'{base}.__init__' in paths else base)
    return found


def test_imports_point_downwards():
    layer = {name: index for index, name in enumerate(LAYERS)}
    upward = [
        f'{name} imports {other}'
        for name, others in read_imports().items()
        for other in others
        if other.startswith('mmdet_lla.')
        and layer.get(name.split('.')[1], 0) < layer.get(other.split('.')[1], 0)
        and name.split('.')[1] in layer
    ]
    assert upward == []


def test_no_module_imports_itself_over_others():
    modules = read_imports()
    graph = {
        name: {one for one in others if one in modules and not one.endswith('__init__')}
        for name, others in modules.items()
        if not name.endswith('__init__')
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_light_packages_import_nothing_heavy():
    heavy = {'torch', 'mmdet', 'mmengine', 'mmcv'}
    found = [
        f'{name} imports {other}'
        for name, others in read_imports().items()
        for other in others
        if name.split('.')[1] in LIGHT and other.split('.')[0] in heavy
    ]
    assert found == []


def test_pages_that_the_code_names_exist():
    root = Path(__file__).parents[1]
    paths = [path for one in ('mmdet_lla', 'configs') for path in (root / one).rglob('*')]
    named = {
        page
        for path in paths
        if path.suffix in ('.py', '.html')
        for page in re.findall(r'docs/[\w/-]+\.md', path.read_text(encoding='utf-8'))
    }
    assert named and [page for page in sorted(named) if not (root / page).is_file()] == []
