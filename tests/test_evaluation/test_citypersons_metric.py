import json

import numpy as np
import pytest
from mmdet.registry import METRICS
from test_evaluation.random_crowds import sample_of

from mmdet_lla.evaluation import CityPersonsMetric
from mmdet_lla.evaluation.citypersons import load_citypersons

PERSON = dict(image_id=1, category_id=1, bbox=[10, 20, 40, 100], height=100, vis_ratio=0.8)


@pytest.fixture
def write(tmp_path):
    def to_file(annotations, image_ids=(2, 1)):
        path = tmp_path / 'val_gt.json'
        images = [dict(id=i, im_name=f'{i}.png', width=2048, height=1024) for i in image_ids]
        annotations = [dict(a, id=n) for n, a in enumerate(annotations, 1)]
        path.write_text(json.dumps(dict(images=images, annotations=annotations)))
        return str(path)

    return to_file


def sample(img_id, boxes):
    return sample_of(img_id, boxes, [0.5] * len(boxes), 1024, 2048)


def test_reading(write):
    first, second = load_citypersons(
        write(
            [
                PERSON,
                dict(PERSON, ignore=1),
                dict(PERSON, iscrowd=1),
                dict(PERSON, category_id=2),
                dict(image_id=2, bbox=[0, 0, 10, 100], vis_bbox=[0, 0, 10, 25]),
                dict(image_id=2, bbox=[0, 0, 10, 100], ignore=1),
            ]
        )
    )
    assert (first.img_id, second.img_id) == (1, 2)
    assert first.boxes[0].tolist() == [10, 20, 50, 120]
    assert first.ignored.tolist() == [False, True, True, True]
    assert first.visible[0] == 0.8
    assert second.ignored.tolist() == [False, True]
    assert second.visible[0] == 0.25
    assert np.isnan(second.visible[1])


@pytest.mark.parametrize(
    'annotation, message',
    [
        (dict(PERSON, image_id=7), 'annotation 1 has image_id 7, which no image has'),
        (dict(image_id=1, bbox=[0, 0, 1, 1]), 'annotation 1 has neither vis_ratio nor vis_bbox'),
    ],
)
def test_broken_annotations_are_named_at_once(write, annotation, message):
    with pytest.raises(ValueError, match=message):
        CityPersonsMetric(write([annotation]))


def test_from_config_to_numbers(write):
    metric = METRICS.build(dict(type='CityPersonsMetric', ann_file=write([PERSON, PERSON])))
    # any order, and one image twice
    for img_id, boxes in ((2, []), (1, [[10, 20, 50, 120]]), (2, [])):
        metric.process(None, [sample(img_id, boxes)])
    got = metric.evaluate(3)
    names = ('reasonable', 'small', 'heavy', 'partial', 'bare', 'all')
    assert set(got) == {f'citypersons/{name}' for name in names}
    found = {name: got[f'citypersons/{name}'] for name in names}
    assert found == pytest.approx(
        dict(reasonable=0.5, small=1, heavy=1, partial=0.5, bare=1, all=0.5)
    )


def test_own_setups(write):
    metric = CityPersonsMetric(
        write([PERSON]), setups=dict(tall=dict(height=(90, float('inf')), visible=(0, 1)))
    )
    metric.process(None, [sample(1, [[10, 20, 50, 120]]), sample(2, [])])
    assert metric.evaluate(2) == {'citypersons/tall': 0.0}


def test_detections_for_the_script(write, tmp_path):
    metric = CityPersonsMetric(
        write([PERSON]), format_only=True, outfile_prefix=str(tmp_path / 'dets')
    )
    metric.process(None, [sample(2, []), sample(1, [[10, 20, 50, 120]])])
    assert metric.evaluate(2) == {}
    assert json.loads((tmp_path / 'dets.json').read_text()) == [
        dict(image_id=1, category_id=1, bbox=[10, 20, 40, 100], score=0.5)
    ]


def test_bad_option(write):
    with pytest.raises(ValueError, match="low_fppi is 'first'"):
        CityPersonsMetric(write([PERSON]), low_fppi='first')
