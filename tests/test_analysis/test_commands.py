"""The analysis commands, from files to reports, and their errors."""

import json
import logging
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from mmdet_lla import analyze as analyze_function
from mmdet_lla.cli import analyze, compare_metrics
from mmdet_lla.evaluation.annotations import CrowdDetections, load_odgt
from mmdet_lla.evaluation.detection_files import to_coco_results, to_crowdhuman_record

IDS = ('a', 'b.PNG', 'sub/c')


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three images, of which one ID has a suffix and one a directory, and two detectors."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    records = []
    (tmp_path / 'images/sub').mkdir(parents=True)
    for img_id in IDS:
        name = img_id if img_id.endswith('.PNG') else f'{img_id}.jpg'
        Image.new('RGB', (160, 120)).save(tmp_path / 'images' / name)
        boxes = np.hstack([rng.uniform(0, 100, (6, 2)), rng.uniform(10, 60, (6, 2))]).tolist()
        gts = [dict(tag='person', fbox=box, vbox=box, hbox=box) for box in boxes]
        records.append(dict(ID=img_id, gtboxes=gts))
    (tmp_path / 'gt.odgt').write_text('\n'.join(map(json.dumps, records)))
    for directory, shift in (('one', 1.0), ('two', 6.0)):
        (tmp_path / directory).mkdir()
        detections = [
            CrowdDetections.create(
                annotation.img_id,
                annotation.boxes + rng.normal(0, shift, annotation.boxes.shape),
                rng.uniform(0.3, 1, len(annotation.boxes)),
                120,
                160,
            )
            for annotation in load_odgt('gt.odgt')
        ]
        path = tmp_path / directory / 'detections.json'
        path.write_text(json.dumps(list(to_coco_results(detections))))
    return tmp_path


def run(module, *arguments):
    return module.main([str(word) for word in arguments])


def test_analyze_two_detectors(data, capsys):
    torch.save(dict(state_dict={}, meta=dict(epoch=1)), 'model.pth')
    options = ('--ann-file', 'gt.odgt', '--img-dir', 'images', '--draws', 5, '--out-dir', 'out')
    files = ('one/detections.json', 'two/detections.json')
    assert run(analyze, *files, *options, '--write-threshold', 'model.pth') == 0
    results = json.loads((data / 'out/errors.json').read_text())
    assert list(results) == ['one_detections', 'two_detections']  # neither replaces the other
    first, second = results.values()
    assert first['metrics']['AP'] > second['metrics']['AP']
    page = (data / 'out/report.html').read_text()
    assert 'Differences to one_detections' in page and 'http' not in page
    for one in (first, second):
        num_errors = sum(sum(one[f'false_{kind}s'].values()) for kind in ('positive', 'negative'))
        assert sum(sum(image['counts'].values()) for image in one['worst_images']) == num_errors
    num_drawn = len(first['worst_images']) + len(second['worst_images'])
    assert page.count('alt="errors in image') == num_drawn > 0
    meta = torch.load('model.pth', weights_only=True)['meta']
    assert meta == dict(epoch=1, score_threshold=first['best_thresholds']['JI']['threshold'])
    assert 'out/report.html' in capsys.readouterr().out

    by_function = analyze_function('gt.odgt', dict(A=files[0]), num_samples=0)
    assert [one.name for one in by_function] == ['A']
    assert by_function[0].metrics == pytest.approx(first['metrics'])


def test_a_published_checkpoint_is_kept(data, capsys):
    from hashlib import sha256

    torch.save(dict(state_dict={}, meta={}), 'new.pth')
    content = (data / 'new.pth').read_bytes()
    name = f'lla_1MB-{sha256(content).hexdigest()[:8]}.pth'
    (data / 'new.pth').rename(name)
    files = ('one/detections.json', '--ann-file', 'gt.odgt', '--draws', 0)
    assert run(analyze, *files, '--write-threshold', name) == 0
    assert (data / name).read_bytes() == content
    (copy,) = (path for path in data.glob('lla_1MB-*.pth') if path.name != name)
    assert sha256(copy.read_bytes()).hexdigest().startswith(copy.stem[-8:])
    assert 'score_threshold' in torch.load(copy, weights_only=True)['meta']
    assert copy.name in capsys.readouterr().out


def test_compare_metrics(data, capsys):
    options = ('--ann-file', 'gt.odgt', '--img-dir', 'images', '--out-dir', 'out', '--write-coco')
    assert run(compare_metrics, 'mine=one/detections.json', *options) == 0
    text, page = capsys.readouterr().out, (data / 'out/report.html').read_text()
    rows = json.loads((data / 'out/comparison.json').read_text())
    assert len(rows) == 12 and 'http' not in page and 'mine' in page
    assert all(row['name'] in text and row['name'] in page for row in rows)
    results = COCO('out/ground_truth.json').loadRes('out/results.json')
    assert len(results.anns) == 18 and results.imgs[0]['height'] == 120


@pytest.mark.parametrize('module', [analyze, compare_metrics])
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('x.json', '--ann-file', 'gt.odgt'), "the first is 'x'"),
        (('one/detections.json', '--ann-file', '.'), 'directory'),
        (('one/detections.json', '--ann-file', 'nowhere.odgt'), 'nowhere.odgt'),
        (('one/detections.json', '--ann-file', 'gt.odgt', '--img-dir', 'nowhere'), 'nowhere'),
        (
            ('one/detections.json', '--ann-file', 'gt.odgt', '--img-dir', 'one'),
            'do not exist: one/a.jpg',
        ),
        (('one/detections.json', '--ann-file', 'gt.odgt', '--out-dir', 'gt.odgt'), 'is a file'),
        (('cars.json', '--ann-file', 'gt.odgt'), 'no detection has category_id 1'),
    ],
)
def test_bad_inputs_are_named(data, capsys, module, arguments, message):
    box = dict(bbox=[1, 1, 2, 2], score=1)
    (data / 'x.json').write_text(json.dumps([dict(box, image_id='x')]))
    (data / 'cars.json').write_text(json.dumps([dict(box, image_id='a', category_id=3)]))
    assert run(module, *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('module', 'name', 'options'),
    [
        (analyze, 'errors.json', ()),
        (compare_metrics, 'comparison.json', ()),
        (compare_metrics, 'results.json', ('--write-coco',)),
    ],
)
def test_outputs_do_not_overwrite_inputs(data, capsys, module, name, options):
    path = data / 'one' / name
    (data / 'one/detections.json').rename(path)
    content = path.read_bytes()
    os.link(path, data / 'link.json')
    for source in (path, 'link.json'):
        assert run(module, source, '--ann-file', 'gt.odgt', '--out-dir', 'one', *options) == 2
        assert 'would overwrite' in capsys.readouterr().err
    assert path.read_bytes() == content


class Hostile:
    def __reduce__(self):
        return os.system, ('touch executed',)


@pytest.mark.parametrize(
    ('module', 'arguments'),
    [
        (analyze, ['hostile.pkl']),
        (analyze, ['one/detections.json', '--raw', 'hostile.pkl']),
        (analyze, ['one/detections.json', '--write-threshold', 'hostile.pth']),
        (compare_metrics, ['hostile.pkl']),
    ],
)
def test_hostile_files_are_not_executed(data, capsys, module, arguments):
    (data / 'hostile.pkl').write_bytes(pickle.dumps([Hostile()]))
    torch.save(dict(state_dict=Hostile()), 'hostile.pth')
    assert run(module, *arguments, '--ann-file', 'gt.odgt') == 2
    assert 'hostile' in capsys.readouterr().err
    assert not (data / 'executed').exists()


def write_with_cars(kind, detections):
    """Write detections and as many cars in every format."""
    if kind == 'coco.json':
        records = list(to_coco_results(detections))
        content = records + [dict(one, category_id=3, score=0.99) for one in records]
    elif kind == 'crowdhuman.json':
        content = [to_crowdhuman_record(one) for one in detections]
        for record in content:
            record['dtboxes'] += [dict(one, tag=2, score=0.99) for one in record['dtboxes']]
    else:
        samples = []
        for one in detections:
            count = len(one.boxes)
            instances = dict(
                bboxes=torch.tensor(np.vstack([one.boxes, one.boxes])),
                scores=torch.tensor([*one.scores, *[0.99] * count]),
                labels=torch.tensor([0] * count + [2] * count),
            )
            samples.append(dict(img_id=one.img_id, ori_shape=(120, 160), pred_instances=instances))
        return pickle.dumps(samples)
    return json.dumps(content).encode()


@pytest.mark.parametrize('kind', ['coco.json', 'crowdhuman.json', 'dump.pkl'])
def test_other_classes_are_left_out(data, caplog, kind):
    detections = [
        CrowdDetections.create(one.img_id, one.boxes, np.full(6, 0.9), 120, 160)
        for one in load_odgt('gt.odgt')
    ]
    (data / kind).write_bytes(write_with_cars(kind, detections))
    (data / 'people.json').write_text(json.dumps(list(to_coco_results(detections))))
    with caplog.at_level(logging.WARNING):
        mixed, people = analyze_function('gt.odgt', [kind, 'people.json'], num_samples=0)
    assert mixed.metrics == pytest.approx(people.metrics, abs=1e-9)
    assert '18 detections of other classes were left out' in caplog.text
    (cars,) = analyze_function('gt.odgt', kind, num_samples=0, person=2 + (kind == 'coco.json'))
    assert all(cars.errors.pairs.det_score > 0.95)
