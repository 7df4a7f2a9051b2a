"""Published checkpoints load anywhere and contain the tested weights."""

import hashlib
import json
import re
from contextlib import contextmanager
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from programs import run_program
from test_hooks.toy import make_runner
from tiny_crowd import tiny_config

from mmdet_lla.plain_checkpoints import (
    pack_history,
    parse_config,
    read_checkpoint,
    to_plain,
    unpack_history,
)
from mmdet_lla.publishing import publish, read_metrics

ROOT = Path(__file__).parents[1]


@contextmanager
def nobody_vouches():
    """Remove all allowed classes, as in a process that imports only torch."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(allowed)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A checkpoint as mmengine itself writes it, and its config."""
    directory = tmp_path_factory.mktemp('trained')
    cfg = tiny_config(directory)
    cfg.load_from, cfg.launcher = '/home/somebody/secret.pth', 'none'
    model = MODELS.build(cfg.model)
    held = dict(
        meta=dict(
            cfg=cfg.pretty_text,
            epoch=3,
            iter=np.int64(9),
            experiment_name='lla-fcos_r50_crowd_20250102_030405',
            dataset_meta=dict(classes=('person',), palette=[(220, 20, 60)]),
            time='20250102',
        ),
        state_dict=model.state_dict(),
        message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1.0], [1]))),
        optimizer=dict(state={}),
    )
    torch.save(held, directory / 'epoch_3.pth')
    return directory / 'epoch_3.pth', cfg, held['state_dict']


def test_published_file_is_plain_and_complete(trained, tmp_path):
    checkpoint, cfg, weights = trained
    path = publish(checkpoint, tmp_path, score_threshold=0.4, metrics={'crowd_human/mMR': 0.5})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    size = round(path.stat().st_size / 1e6)
    assert path.name == f'lla-fcos_r50_crowd_{size}MB-{digest}.pth'
    assert torch.hub.HASH_REGEX.search(path.name)[1] == digest
    with nobody_vouches():
        held = torch.load(path, weights_only=True)
    assert held.keys() == {'meta', 'state_dict'}
    assert held['state_dict'].keys() == weights.keys()
    assert all(torch.equal(held['state_dict'][key], value) for key, value in weights.items())
    meta = held['meta']
    assert (meta['epoch'], meta['iter']) == (3, 9)
    assert meta['dataset_meta']['classes'] == ('person',)
    assert meta['score_threshold'] == 0.4 and meta['metrics'] == {'crowd_human/mMR': 0.5}
    assert path.with_suffix('.py').read_text() == meta['cfg'] and 'somebody' not in meta['cfg']
    there = parse_config(meta['cfg'])
    assert there['model'] == cfg.model.to_dict()
    assert there == Config.fromfile(path.with_suffix('.py')).to_dict()
    # The same again has the same name: nothing of the moment is in it.
    assert publish(checkpoint, tmp_path, score_threshold=0.4, metrics=meta['metrics']) == path


def test_averaged_weights_are_published(tmp_path):
    runner = make_runner(
        tmp_path, 'averaged', max_iters=2, custom_hooks=[dict(type='EMAHook', momentum=0.3)]
    )
    runner.train()
    averages = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook').ema_model
    published = publish(tmp_path / 'iter_2.pth', tmp_path, Config(dict(model=dict(type='Line'))))
    assert re.fullmatch(r'averaged_\dKB-[0-9a-f]{8}.pth', published.name)
    for key, value in torch.load(published, weights_only=True)['state_dict'].items():
        assert torch.equal(value, averages.module.state_dict()[key])
        assert not torch.equal(value, runner.model.state_dict()[key])


def test_half_keeps_statistics_and_what_would_overflow(trained, tmp_path):
    checkpoint, _, weights = trained
    held = read_checkpoint(checkpoint)
    name = 'backbone.conv1.conv.weight'
    held['state_dict'] = dict(held['state_dict'], **{name: weights[name] + 1e5})
    torch.save(held, tmp_path / 'large.pth')
    whole, half = (
        publish(checkpoint, tmp_path),
        publish(tmp_path / 'large.pth', tmp_path, half=True),
    )
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    for key, value in torch.load(half, weights_only=True)['state_dict'].items():
        smaller = value.dtype == torch.float16
        assert smaller == (value.dim() > 1 and key != name), key
        if smaller:
            torch.testing.assert_close(value.float(), weights[key], rtol=1e-3, atol=1e-6)


def test_unusable_checkpoints_are_named(trained, tmp_path):
    checkpoint, cfg, _ = trained
    held = read_checkpoint(checkpoint)
    with pytest.raises(FileNotFoundError, match='no checkpoint .*none.pth here'):
        publish(tmp_path / 'none.pth', tmp_path)
    with pytest.raises(ValueError, match='from 0 to 1, got 2'):
        publish(checkpoint, tmp_path, score_threshold=2)
    other = cfg.copy()
    other.model = dict(cfg.model, bbox_head=dict(cfg.model.bbox_head, stacked_convs=2))
    with pytest.raises(ValueError, match=r'another detector .* missing \[.bbox_head.cls_convs.1'):
        publish(checkpoint, tmp_path, other)
    for change, words in (
        (dict(meta={}), 'has no config; name it with --config'),
        (dict(meta=dict(cfg='model = open("x")')), r'line 1 of the config has open\(.x.\)'),
        (dict(state_dict=3), "has no weights under 'state_dict'"),
    ):
        torch.save(dict(held, **change), tmp_path / 'odd.pth')
        with pytest.raises(ValueError, match=words):
            publish(tmp_path / 'odd.pth', tmp_path)
    (tmp_path / 'cut.pth').write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match='cut.pth is not read'):
        publish(tmp_path / 'cut.pth', tmp_path)
    (tmp_path / 'metrics.json').write_text('[1]')
    with pytest.raises(ValueError, match='metrics.json has no metrics'):
        read_metrics(tmp_path / 'metrics.json')
    assert not list(tmp_path.glob('*-*.pth'))
    (tmp_path / 'metrics.json').write_text(json.dumps(dict(mMR=0.5, time=1.0)) + '\n')
    assert read_metrics(tmp_path / 'metrics.json') == dict(mMR=0.5)


LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, min_size=2, max_size=3).map(tuple)
        | st.dictionaries(st.text('abc_ -', min_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=40)
@given(value=VALUES)
def test_config_text_is_parsed_literally(value):
    if 'inf' in repr(value):
        return
    assert parse_config(f'value = {value!r}\nmodel = dict(type="A", value={value!r})') == dict(
        value=value, model=dict(type='A', value=value)
    )


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'model = os.mkdir("made")',
        'model = dict(**{"a": 1})',
        'model = dict([("a", 1)])',
        'model = {**{"a": 1}}',
        'model = {[1]: 2}',
        'model = [x for x in (1,)]',
        'a = b = 1',
        'a.b = 1',
        'a, b = 1, 2',
        'a = -"x"',
        'a = ' + '[' * 3000 + ']' * 3000,
        'a = (',
        'del a',
    ],
)
def test_nothing_of_config_text_is_executed(text):
    with pytest.raises(ValueError, match='config'):
        parse_config(text)


def test_every_config_reads_as_data():
    paths = sorted((ROOT / 'configs').rglob('*.py'))
    for path in paths[:: max(1, len(paths) // 3)]:  # to set one nicely takes a second
        cfg = Config.fromfile(path)
        assert parse_config(cfg.pretty_text) == cfg.to_dict(), path


def test_to_plain_names_unsupported_values():
    with pytest.raises(ValueError, match=r'meta.a\[1\] is a PosixPath'):
        to_plain(dict(a=[1, Path('x')]), 'meta')
    assert to_plain(dict(a=(np.float32(1), np.arange(2))), 'meta') == dict(a=(1.0, [0, 1]))


def test_history_survives():
    history = HistoryBuffer(max_length=3)
    for value in (1, 2.5, 3, 4):
        history.update(value)
    again = unpack_history(pack_history(history))
    assert again.max_length == 3 and all(map(np.array_equal, again.data, history.data))
    again.update(5)
    assert again.current() == 5 and again.max() == 5 and unpack_history(history) is history


FRESH = """
import runpy, sys
import numpy as np, torch
checkpoint, published, tool = sys.argv[1:]
assert torch.load(published, weights_only=True)['meta']['cfg']
import mmdet
from mmdet.apis import DetInferencer
process = runpy.run_path(tool)['process_checkpoint']
process(checkpoint, 'from_training.pth')
process(published, 'from_published.pth')
image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
found = DetInferencer(weights=published)(image, no_save_vis=True, print_result=False)
print('boxes', len(found['predictions'][0]['bboxes']))
"""


@pytest.mark.slow
def test_mmdets_tools_accept_published_files_in_a_new_process(trained, tmp_path, python):
    """mmdet's own tools take what we wrote, where nobody has imported mmdet_lla."""
    make_runner(tmp_path / 'toy', 'fresh_toy', max_iters=2).train()
    done = run_program(
        *(python, '-c', FRESH, tmp_path / 'toy' / 'iter_2.pth'),
        publish(trained[0], tmp_path, half=True),
        Path(mmdet.__file__).parent / '.mim/tools/model_converters/publish_model.py',
        cwd=tmp_path,
    )
    assert 'boxes' in done.stdout
