"""tools/analyze.py from files to the page."""

import json
import pickle
import subprocess
from pathlib import Path

import numpy as np
import torch

from mmdet_lla.datasets.crowd_generator import CrowdParams, build_dataset
from mmdet_lla.evaluation.annotations import load_odgt

ROOT = Path(__file__).resolve().parents[2]


def detections_of(annotations, rng, shift):
    """Most people, a little off, and something else."""
    samples = []
    for annotation in annotations:
        boxes = annotation.boxes[~annotation.ignored]
        boxes = np.vstack([boxes + rng.normal(0, shift, boxes.shape), [[1, 1, 9, 20]]])
        samples.append(
            dict(
                img_id=annotation.img_id,
                ori_shape=(120, 160),
                pred_instances=dict(
                    bboxes=torch.tensor(boxes), scores=torch.tensor(rng.random(len(boxes)))
                ),
            )
        )
    return samples


def run(python, folder, *arguments):
    return subprocess.run(
        [python, ROOT / 'tools/analyze.py', *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin', 'PYTHONWARNINGS': 'ignore'},
    )


def test_two_detectors_side_by_side(tmp_path, python):
    build_dataset(str(tmp_path / 'crowd'), 1, 4, CrowdParams(width=160, height=120), workers=1)
    ann_file = tmp_path / 'crowd/annotation_val.odgt'
    annotations = load_odgt(str(ann_file))
    rng = np.random.default_rng(0)
    for name, shift in (('one', 1.0), ('two', 3.0)):
        samples = detections_of(annotations, rng, shift)
        (tmp_path / f'{name}.pkl').write_bytes(pickle.dumps(samples))
    torch.save(dict(state_dict={}, meta=dict(epoch=1)), tmp_path / 'model.pth')
    options = [
        '--ann-file',
        ann_file,
        '--img-dir',
        tmp_path / 'crowd/Images',
        '--draws',
        20,
        '--out-dir',
        'out',
    ]
    done = run(
        python,
        tmp_path,
        'A=one.pkl',
        'two.pkl',
        *options,
        '--write-threshold',
        'model.pth',
        '--out-dir',
        'out',
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / 'out/errors.json').read_text())
    assert list(found) == ['A', 'two']
    assert found['A']['metrics']['AP'] > found['two']['metrics']['AP']
    page = (tmp_path / 'out/report.html').read_text()
    assert 'Differences to A' in page and 'data:image/jpeg' in page and 'http' not in page
    costly = found['two']['costly_pictures']
    assert sum(sum(one['counts'].values()) for one in costly) == sum(
        sum(found['two'][kinds].values()) for kinds in ('false_alarms', 'misses')
    )
    assert page.count('alt="errors in picture') == len(costly) + len(found['A']['costly_pictures'])
    kept = torch.load(tmp_path / 'model.pth', weights_only=True)['meta']
    assert kept == dict(epoch=1, score_threshold=found['A']['best_thresholds']['JI']['threshold'])

    (tmp_path / 'other.json').write_text('[{"image_id": "x", "bbox": [1, 1, 2, 2], "score": 1}]')
    done = run(python, tmp_path, 'other.json', *options)
    assert done.returncode == 2 and "no annotation, the first is 'x'" in done.stderr
