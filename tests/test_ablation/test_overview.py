"""Several studies beside each other."""

import json
import re

import pytest

from mmdet_lla.ablation import plots
from mmdet_lla.ablation.compare import Comparison
from mmdet_lla.ablation.results import markdown_table, read_comparisons
from mmdet_lla.analysis.statistics import Estimate
from mmdet_lla.cli import compare_studies

METRICS = ('AP', 'MR', 'JI', 'recall')


def estimate(value, spread=0.01, seeds=3):
    return Estimate(value, value - spread, value + spread, seeds)


def study(directory, shift=0.0, baseline='LLA'):
    """A study of two configs, the second better in AP and worse in MR by 0.1."""

    def plain(values):
        return {metric: vars(one) for metric, one in values.items()}

    shifts = dict(AP=0.1, MR=0.1, JI=0.001, recall=0.0)
    estimates = {
        baseline: dict(
            means=plain({m: estimate(0.5 + shift) for m in METRICS}),
            differences=None,
            significance=None,
        ),
        'other': dict(
            means=plain({m: estimate(0.5 + shift + shifts[m]) for m in METRICS}),
            differences=plain({m: estimate(shifts[m]) for m in METRICS}),
            significance={},
        ),
    }
    directory.mkdir()
    (directory / 'results.json').write_text(json.dumps(dict(runs=[], estimates=estimates)))
    return directory


def test_table_marks_significant_differences(tmp_path):
    lines = markdown_table(read_comparisons(study(tmp_path / 'a'))).splitlines()
    assert lines == [
        '|  | AP ↑ | MR ↓ | JI ↑ | recall ↑ |',
        '| --- | --- | --- | --- | --- |',
        '| LLA |' + ' 50.0 (49.0-51.0) |' * 4,
        '| other | 60.0 (59.0-61.0) ▲ | 60.0 (59.0-61.0) ▼ | 50.1 (49.1-51.1) | 50.0 (49.0-51.0) |',
    ]


def test_figure_has_a_point_for_each_config_in_each_study(tmp_path):
    studies = {name: read_comparisons(study(tmp_path / name)) for name in ('sparse', 'dense')}
    figure = plots.studies(studies, METRICS)
    for axes, expected in zip(figure.axes, (10, 10, 0.1, 0), strict=True):
        points = [line for line in axes.lines if len(line.get_xdata()) == 1]
        assert [line.get_xdata()[0] for line in points] == pytest.approx([expected] * 2)
        rows = [line.get_ydata()[0] for line in points]
        assert -0.5 < rows[0] < rows[1] < 0.5  # beside each other
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['sparse', 'dense']
    # the weights of what is clear and of what is noise
    bars = [
        [
            line.get_alpha()
            for line in axes.lines
            if len(line.get_xdata()) == 2 and line.get_linewidth() == 2
        ]
        for axes in figure.axes
    ]
    assert bars == [[1, 1], [1, 1], [0.35, 0.35], [0.35, 0.35]]


def test_studies_with_other_baselines_or_no_comparison_are_rejected(tmp_path):
    a, b = (read_comparisons(study(tmp_path / name, baseline=name)) for name in ('A', 'B'))
    with pytest.raises(ValueError, match=r"baselines \['A', 'B'\]"):
        plots.studies(dict(a=a, b=b), METRICS)
    alone = [Comparison('A', {m: estimate(0.5) for m in METRICS}, None)]
    with pytest.raises(ValueError, match='no config was compared'):
        plots.studies(dict(a=alone), METRICS)


def test_command_prints_tables_and_draws(tmp_path, capsys):
    study(tmp_path / 'street')
    study(tmp_path / 'x')
    studies = [str(tmp_path / 'street'), f'dense={tmp_path}/x']
    assert compare_studies.main([*studies, '--figure', f'{tmp_path}/all.png']) == 0
    printed = capsys.readouterr().out
    assert printed.index('### street') < printed.index('### dense')
    assert printed.count('| other | 60.0 (59.0-61.0) ▲ |') == 2
    assert (tmp_path / 'all.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    'content, message', [(None, 'results.json not found'), ('{"runs": []}', 'no estimates')]
)
def test_command_names_missing_files(tmp_path, capsys, content, message):
    if content:
        (tmp_path / 'results.json').write_text(content)
    assert compare_studies.main([str(tmp_path)]) == 2
    assert re.search(message, capsys.readouterr().err)
