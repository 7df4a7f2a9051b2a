"""All commands: what they import, list, suggest, and promise in their help."""

import argparse
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mmdet_lla.cli import doctor, main, options
from mmdet_lla.cli.mmdet_tools import find_tool, find_worker_options
from mmdet_lla.cli.options import CommandParser, describe_error, find_img_dir, run_command
from mmdet_lla.utils.names import closest, did_you_mean, parse_named_path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ('torch', 'mmengine', 'mmdet', 'mmcv', 'cv2', 'matplotlib', 'numpy', 'scipy', 'rich')
#: In one process: the help of every command, then what was imported.
HELP = """
import sys
from mmdet_lla.cli import main
for name in main.COMMANDS:
    try:
        main.main([name, '--help'])
    except SystemExit as end:
        assert end.code == 0, name
print()
print(*(name for name in sys.argv[1:] if name in sys.modules), sep=',')
"""
PARSERS = {
    name: module.build_parser()
    for name in main.COMMANDS
    if hasattr(module := main.load_command(name), 'build_parser')
}


def actions_of(parser):
    """Yield the visible arguments of a parser and of its formats."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from actions_of(one)
        elif action.help is not argparse.SUPPRESS and action.dest != 'help':
            yield action


def test_help_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, '-c', HELP, *HEAVY], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == ''
    assert done.stdout.count('usage: mmdet-lla') == len(main.COMMANDS)


@pytest.mark.parametrize('name', PARSERS)
def test_help_texts_are_phrases_with_defaults(name):
    parser = PARSERS[name]
    text = parser.format_help()
    assert parser.prog == f'mmdet-lla {name}' and 'Exit status: 0' in text
    for action in actions_of(parser):
        shown = parser._get_formatter()._expand_help(action)
        assert len(shown.split()) >= 3 and not shown.endswith('.'), (action.dest, shown)
        optional = action.option_strings and action.nargs != 0 and not action.required
        assert not optional or '(default: ' in shown, (action.option_strings, shown)


def test_options_mean_the_same_everywhere():
    seen = {}
    for name, parser in PARSERS.items():
        for action in actions_of(parser):
            for option in action.option_strings:
                settings = (action.help, action.type, action.nargs, action.choices, action.metavar)
                if option not in options.SHARED and option not in {'--config', '--json'}:
                    continue
                if option == '--config':
                    continue
                default = action.default
                if option == '--out-dir':
                    assert default == Path('work_dirs') / name
                    default = None
                assert seen.setdefault(option, (settings, default)) == (settings, default), option
    assert {'--out-dir', '--cfg-options', '--seed', '--quiet', '--weights'} <= set(seen)


@pytest.mark.parametrize('name', ['train', 'test'])
def test_help_names_every_option_of_mmdets_tool(name):
    ours = {option for one in PARSERS[name]._actions for option in one.option_strings}
    found = set()

    class Stop(Exception):
        pass

    def parse_args(parser, args=None, namespace=None):
        found.update(option for one in parser._actions for option in one.option_strings)
        raise Stop

    import runpy

    tool = runpy.run_path(str(find_tool(f'{name}.py')))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
        tool['parse_args']()
    assert found <= ours and ours - found <= {'--from', '--data'}


def test_the_list_names_every_command_in_a_line(capsys):
    assert main.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for group, names in main.GROUPS.items():
        assert f'{group}:' in lines
        for name in names:
            (line,) = (line for line in lines if line.startswith(f'  {name} '))
            assert line.endswith('.') and len(line.split()) > 3
            module = import_module(f'mmdet_lla.cli.{name.replace("-", "_")}')
            assert module.__doc__.startswith(line.split(None, 1)[1])


@pytest.mark.parametrize(
    'argv, status, words',
    [
        (['--version'], 0, 'mmdet-lla '),
        (['--help'], 0, 'browse-assignments'),
        (['help'], 0, 'browse-assignments'),
        (['predcit'], 2, "no command 'predcit'; did you mean predict?"),
        (['xyz'], 2, 'commands: predict,'),
        (['nowhere.py'], 2, "no command 'nowhere.py'"),
        (['test', 'nothing.py', 'x.pth'], 2, 'nothing.py'),
        (['train', '--from', 'lla-t', '--data', 'x'], 2, 'did you mean lla-s or lla-n?'),
        (['train', '--from', 'lla-s', '--data', 'nowhere'], 2, 'nowhere has no annotation_train'),
        (['check', 'nowhere.odgt'], 2, 'nowhere.odgt'),
        (['check', '.'], 2, 'has no annotation_train.odgt'),
        (['make-crowd', 'x', '--size', '640'], 2, '--size must look like 640x480'),
        (['publish', 'nowhere.pth'], 2, 'nowhere.pth'),
        (['ablate', 'nowhere.py', '--address', 'auto'], 2, 'needs --engine ray'),
        (['convert', 'citypersons', 'a.mat', 'a.txt'], 2, 'must end with .odgt or .json'),
        (['analyze', 'x.pkl', '--ann-file', '.'], 2, ''),
        (['compare-studies', 'nowhere'], 2, 'nowhere'),
    ],
)
def test_exit_status_and_message(argv, status, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(argv) == status
    output = capsys.readouterr()
    assert words in (output.err if status else output.out)
    assert 'Traceback' not in output.err


@pytest.mark.parametrize(
    'argv, words',
    [
        (['help', 'train'], 'usage: mmdet-lla train'),
        (['train'], 'expected either CONFIG or --from'),
        (['train', '--from', 'lla-s'], '--from and --data belong together'),
        (['test', 'a.py', 'b.pth', '--cfg-options', 'x'], 'expected KEY=VALUE'),
        (['export', 'lla-s', 'a.onnx', '--limit', '0'], 'at least 1'),
    ],
)
def test_wrong_arguments_are_rejected_while_parsing(argv, words, capsys):
    with pytest.raises(SystemExit) as end:
        main.main(argv)
    output = capsys.readouterr()
    assert end.value.code == (0 if argv[0] == 'help' else 2)
    assert words in output.out + output.err


def test_errors_become_one_line(capsys, monkeypatch):
    def run(args):
        raise FileNotFoundError(2, 'No such file or directory', 'a.jpg')

    parser = CommandParser('greet', 'Greet.')
    assert run_command(parser, run, []) == 2
    assert capsys.readouterr().err == 'mmdet-lla greet: a.jpg: No such file or directory\n'
    monkeypatch.setenv(options.TRACEBACK, '1')
    assert run_command(parser, run, []) == 2
    assert 'Traceback' in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):  # a bug keeps its traceback
        run_command(parser, lambda args: 1 // 0, [])


def test_no_room_is_named():
    assert 'no room to write a.bin' in describe_error(OSError(28, 'No space left', 'a.bin'))
    assert describe_error(ValueError()) == 'ValueError'


def test_old_spellings_work_and_stay_hidden():
    parser = PARSERS['ablate']
    assert parser.parse_args(['a.py', '--work-dir', 'x']).out_dir == Path('x')
    assert '--work-dir' not in parser.format_help()


def test_images_are_found_beside_the_annotations(tmp_path):
    ann_file = str(tmp_path / 'a.odgt')
    assert find_img_dir(None, ann_file) is None
    (tmp_path / 'Images').mkdir()
    assert find_img_dir(None, ann_file) == tmp_path / 'Images'
    assert find_img_dir(Path('x'), ann_file) == Path('x')


def test_dataloaders_without_workers():
    loaders = dict(
        train_dataloader=dict(num_workers=0, persistent_workers=True, prefetch_factor=2),
        val_dataloader=dict(num_workers=1, persistent_workers=True),
    )
    assert find_worker_options(loaders) == {
        'train_dataloader.persistent_workers': False,
        'train_dataloader.prefetch_factor': None,
    }


def test_names():
    assert closest('ATSS', ['atss', 'lla']) == ['atss']
    assert did_you_mean('trian', ['train']) == '; did you mean train?'
    assert parse_named_path('a/b=c.pkl') == (None, 'a/b=c.pkl')
    assert parse_named_path('K 5=a=b.pkl') == ('K 5', 'a=b.pkl')
    assert parse_named_path('K 5=') == (None, 'K 5=')


def test_doctor(capsys, monkeypatch):
    assert doctor.main([]) == 0
    assert 'replacements of mmdet_lla' in capsys.readouterr().out or 'compiled' in doctor.CORE
    assert doctor.main(['--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['packages']['torch'] and report['torch']['devices'][0] == 'cpu'
    assert report['imports'] == {'mmdet.models': 'ok', 'mmdet_lla.heads': 'ok'}
    monkeypatch.setattr(doctor, 'CORE', {**doctor.CORE, 'mmdet': ('no-such-package',)})
    monkeypatch.setitem(doctor.EXTRAS, 'ray', ('no-such-package',))
    assert doctor.main([]) == 1
    output = capsys.readouterr()
    assert 'does not work: mmdet' in output.err
    assert 'missing: no-such-package (pip install "mmdet-lla[ray]")' in output.out


def test_scripts_run_with_the_package_at_hand(tmp_path, python):
    (tmp_path / 'script.py').write_text(
        'import sys\nfrom mmdet.registry import MODELS\nprint(MODELS.get("LLAHead"), sys.argv)\n'
    )
    done = subprocess.run(
        [python, '-m', 'mmdet_lla', 'script.py', 'a'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin'},
    )
    assert 'LLAHead' in done.stdout and "['script.py', 'a']" in done.stdout, done.stderr


def test_choices_match_the_package():
    """They are repeated in the commands, which import nothing to parse."""
    from mmdet_lla.cli.convert import LAYOUTS
    from mmdet_lla.datasets.converters import CONVERTERS
    from mmdet_lla.datasets.odgt import BOXES
    from mmdet_lla.models import MODELS

    assert set(options.SHARED['--box']['choices']) == set(BOXES)
    assert set(LAYOUTS) == set(CONVERTERS)
    assert set(main.load_command('train').FINE_TUNING) <= set(MODELS)


@pytest.mark.parametrize('text', ["dict(type=print('x'))", 'f()', 'dict(**{})', 'dict(', '[1]'])
def test_assigners_are_read_without_running_or_writing_anything(text, tmp_path, monkeypatch):
    from mmdet_lla.analysis.browsing import read_assigner

    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with pytest.raises(ValueError, match='is not an assigner'):
        read_assigner(text)
    assert not list(tmp_path.iterdir())
