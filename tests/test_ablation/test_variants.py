"""Names, fingerprints and differences of configs, and the tables of runs."""

import csv
import io
import json

import pytest
from mmengine.config import Config

from mmdet_lla.ablation.results import format_diffs, to_csv
from mmdet_lla.ablation.runs import read_scalars, training_seconds
from mmdet_lla.ablation.variants import (
    ABSENT,
    compute_digest,
    diff_configs,
    format_value,
    load_variants,
    short_names,
)

CONFIG = """
train_cfg = dict(max_epochs=1)
test_dataloader, test_evaluator = dict(dataset=dict()), dict()
"""


@pytest.mark.parametrize(
    'paths, names',
    [
        (
            [
                'configs/demo/lla-fcos_mobilenetv2_fpn_1xb4-12e_crowd.py',
                'configs/demo/atss_mobilenetv2_fpn_1xb4-12e_crowd.py',
            ],
            ['lla-fcos', 'atss'],
        ),
        (['lla_k1_crowd.py', 'lla_k20_crowd.py'], ['k1', 'k20']),
        (['lla.py', 'lla_k1.py'], ['lla', 'lla_k1']),
        (['lla_r50_crowd.py', 'lla_k1_r50_crowd.py'], ['lla', 'lla_k1']),
        (['a/base.py', 'b/base.py'], ['a', 'b']),
        (['lla_crowd.py'], ['lla_crowd']),
        (['topk-1.py', 'topk-10.py'], ['1', '10']),
    ],
)
def test_short_names_are_the_differing_parts(paths, names):
    assert short_names(paths) == names


def test_custom_names(tmp_path):
    (tmp_path / 'a.py').write_text(CONFIG)
    (tmp_path / 'b=c.py').write_text(CONFIG)
    first, second = load_variants([f'my K 5={tmp_path}/a.py', f'{tmp_path}/b=c.py'])
    assert (first.name, second.name) == ('my K 5', 'b=c')
    assert first.path == f'{tmp_path}/a.py'
    assert first.digest == second.digest
    with pytest.raises(ValueError, match="config name 'x' occurs 2 times"):
        load_variants([f'x={tmp_path}/a.py', f'x={tmp_path}/b=c.py'])
    with pytest.raises(FileNotFoundError, match='No config .*nothing.py'):
        load_variants([f'x={tmp_path}/nothing.py'])
    (tmp_path / 'a.py').write_text('train_cfg = dict()')
    with pytest.raises(ValueError, match='a.py has no test_dataloader'):
        load_variants([f'{tmp_path}/a.py'])


def test_missing_data_is_reported_before_training(tmp_path):
    (tmp_path / 'a.py').write_text(
        CONFIG + 'test_dataloader = dict(dataset=dict(\n'
        "    type='CrowdDataset', ann_file='/nowhere/val.odgt'))"
    )
    with pytest.raises(FileNotFoundError, match='/nowhere/val.odgt'):
        load_variants([f'{tmp_path}/a.py'])


def test_digest_covers_config_and_annotations_but_not_the_seed(tmp_path):
    def digest(**entries):
        return compute_digest(Config(dict(model=dict(topk=10), **entries)))

    plain = digest()
    assert plain == digest() == compute_digest(Config(dict(model=dict(topk=10))))
    assert digest(randomness=dict(seed=1)) == digest(randomness=dict(seed=2))
    assert plain != compute_digest(Config(dict(model=dict(topk=9))))
    cfg = Config(dict(randomness=dict(seed=1)))
    compute_digest(cfg)
    assert cfg.randomness.seed == 1  # it is not changed

    ann_file = tmp_path / 'train.odgt'
    loader = dict(
        train_dataloader=dict(
            dataset=dict(datasets=[dict(data_root=str(tmp_path), ann_file='train.odgt')])
        )
    )
    ann_file.write_text('one')
    before = digest(**loader)
    ann_file.write_text('two')
    assert digest(**loader) != before


def test_differences_are_readable():
    base = Config(
        dict(
            model=dict(
                train_cfg=dict(assigner=dict(type='LLAAssigner', topk=10)), neck=dict(depth=2)
            ),
            train_dataloader=dict(
                dataset=dict(pipeline=[dict(type='Load'), dict(type='Flip', p=0.5)])
            ),
            some_variable=1,
        )
    )
    other = Config(
        dict(
            model=dict(
                train_cfg=dict(assigner=dict(type='ATSSAssigner', topk=9)), neck=dict(depth=3)
            ),
            train_dataloader=dict(
                dataset=dict(pipeline=[dict(type='Load'), dict(type='Flip', p=0.0)])
            ),
            some_variable=2,
            custom_hooks=[dict(type='Hook')],
        )
    )
    assert diff_configs(base, base) == {}
    assert diff_configs(base, other) == {
        'custom_hooks': (ABSENT, '[Hook()]'),
        'model.train_cfg.assigner': ('LLAAssigner(topk=10)', 'ATSSAssigner(topk=9)'),
        'model.neck.depth': ('2', '3'),
        'train_dataloader.dataset.pipeline.1.p': ('0.5', '0.0'),
    }
    back = diff_configs(other, base)
    assert {key: pair[::-1] for key, pair in back.items()} == diff_configs(base, other)


def test_tuples_and_lists_are_equal():
    assert diff_configs(dict(model=dict(scale=(1, 2))), dict(model=dict(scale=[1, 2]))) == {}
    assert diff_configs(dict(model=dict(a=None)), dict(model={})) == {'model.a': ('None', ABSENT)}


def test_values_format_value():
    assert format_value(dict(type='A', _scope_='mmdet', b=dict(c=1), d=[1, 'x'])) == (
        'A(b=dict(c=1), d=[1, x])'
    )
    assert format_value(None) == 'None' and format_value('x') == 'x'


def test_csv_keeps_commas_and_lists_differences():
    row = dict(
        config='K, 5',
        seed=1,
        AP=0.5,
        MR=0.25,
        JI=1 / 3,
        recall=1.0,
        train_seconds=12.3,
        differs={'model.topk': '5', 'model.x': ABSENT},
        path='a.py',
        directory='/somewhere',
    )
    (read,) = csv.DictReader(io.StringIO(to_csv([row])))
    assert read == {
        'config': 'K, 5',
        'seed': '1',
        'AP': '0.500000',
        'MR': '0.250000',
        'JI': '0.333333',
        'recall': '1.000000',
        'train_seconds': '12.3',
        'differs': 'model.topk=5; model.x removed',
        'path': 'a.py',
    }
    assert format_diffs({}) == ''


def test_scalars_of_repeated_iterations_are_the_last_ones(tmp_path):
    def write(stamp, records, end=''):
        directory = tmp_path / stamp / 'vis_data'
        directory.mkdir(parents=True)
        lines = [json.dumps(record) for record in records]
        (directory / 'scalars.json').write_text('\n'.join(lines) + '\n' + end)

    write(
        '20260101_000000',
        [dict(loss=9 - i, step=10 * i, time=1.0) for i in (1, 2, 3)],
        end='{"loss": 5.5, "st',
    )  # killed while it wrote
    write(
        '20260101_010000',
        [
            dict(loss=7.5, step=20, time=2.0),
            {'crowd/mAP': 0.5, 'step': 1},
            dict(loss=6.5, step=30, time=2.0),
        ],
    )
    records = read_scalars(tmp_path)
    assert [(record['step'], record['loss']) for record in records] == [
        (10, 8),
        (20, 7.5),
        (30, 6.5),
    ]
    assert training_seconds(records) == 30 * 2
    # suspended for an hour
    records.append(dict(loss=6, step=40, time=3600.0))
    assert training_seconds(records) == 40 * 2
    assert read_scalars(tmp_path / 'nowhere') == [] and training_seconds([]) == 0


def test_a_sweep_varies_one_key_of_the_first_config(tmp_path):
    (tmp_path / 'a.py').write_text(CONFIG + 'model = dict(train_cfg=dict(assigner=dict(topk=10)))')
    variants = load_variants(
        [f'LLA={tmp_path}/a.py'], dict(seed=1), ['topk=5,dynamic', 'train_cfg.max_epochs=2']
    )
    assert [one.name for one in variants] == ['LLA', 'topk=5', 'topk=dynamic', 'max_epochs=2']
    assert [one.cfg.model.train_cfg.assigner.topk for one in variants] == [10, 5, 'dynamic', 10]
    assert [one.cfg.train_cfg.max_epochs for one in variants] == [1, 1, 1, 2]
    assert all(one.cfg.seed == 1 for one in variants) and len({v.digest for v in variants}) == 4
    for spec in ('topk', 'topk=', '=5', 'topk=5,,6'):
        with pytest.raises(ValueError, match='expected KEY=VALUE,VALUE'):
            load_variants([f'{tmp_path}/a.py'], sweeps=[spec])
