import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.evaluation import CrowdHumanMetric
from mmdet.registry import METRICS
from test_evaluation.random_crowds import random_crowd, sample_of, scores_of_mmdet, write_odgt

from mmdet_lla.datasets.odgt import OdgtError
from mmdet_lla.evaluation import CrowdMetric
from mmdet_lla.evaluation.annotations import CrowdDetections, load_odgt
from mmdet_lla.evaluation.crowd import evaluate_crowd

BOX = dict(fbox=[10, 10, 40, 80], vbox=[10, 10, 40, 40], hbox=[20, 10, 10, 10], tag='person')
REGION = dict(BOX, tag='mask')
NOTHING = dict(mAP=0.0, mMR=1.0, JI=0.0, recall=0.0)


def scores_of_ours(ann_file, samples, **kwargs):
    metric = CrowdMetric(ann_file, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for sample in samples:
            metric.process(None, [sample])
        return metric.compute_metrics(metric.results)


@pytest.fixture
def files(tmp_path):
    def write(records, name='gt.odgt'):
        return write_odgt(tmp_path / name, records)

    return write


@given(
    seed=st.integers(0, 2**31),
    num_images=st.integers(1, 6),
    num_dets=st.integers(0, 40),
    num_people=st.integers(1, 15),
    ignored=st.sampled_from([0.0, 0.2, 0.6]),
    jitter=st.sampled_from([0.02, 0.1, 0.3]),
    score_steps=st.sampled_from([None, 4, 10]),
    iou_thres=st.sampled_from([0.3, 0.5, 0.6]),
    mr_ref=st.sampled_from(['CALTECH_-2', 'CALTECH_-4']),
)
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_equal_to_mmdet_where_that_works(tmp_path, iou_thres, mr_ref, **crowd):
    records, samples = random_crowd(**crowd)
    ann_file = write_odgt(tmp_path / 'gt.odgt', records)
    options = dict(iou_thres=iou_thres, mr_ref=mr_ref)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        theirs = scores_of_mmdet(ann_file, samples, tmp_path, **options)
    ours = scores_of_ours(ann_file, samples[::-1], **options)
    for key, value in theirs.items():
        # where theirs divides nothing by nothing, ours has the answer tested below
        if np.isfinite(value):
            assert ours[key] == pytest.approx(value, abs=1e-9), key
        else:
            assert ours[key] == NOTHING[key]


def test_mmdets_own_config_runs_with_the_type_changed(files, tmp_path):
    """And gives the numbers of mmdet's whole path, rounded as it rounds."""
    records, samples = random_crowd(5)
    config = dict(
        ann_file=files(records),
        metric=['AP', 'MR', 'JI'],
        backend_args=None,
        num_ji_process=2,
        eval_mode=0,
        collect_device='cpu',
        compare_matching_method=None,
        outfile_prefix=str(tmp_path / 'theirs'),
    )
    theirs = CrowdHumanMetric(**config)
    theirs.process(None, samples)
    expected = theirs.evaluate(len(samples))
    metric = METRICS.build(dict(config, type='CrowdMetric', outfile_prefix=str(tmp_path / 'ours')))
    metric.process(None, samples)
    got = metric.evaluate(len(samples))
    assert set(got) == {*expected, 'crowd_human/recall'}
    assert {key: round(got[key], 4) for key in expected} == expected
    dumped = [json.loads((tmp_path / name).read_text()) for name in ('ours.json', 'theirs.json')]
    assert dumped[0] == dumped[1]


@pytest.mark.parametrize(
    'gtboxes, boxes, expected',
    [
        ([BOX], [], NOTHING),
        ([], [], NOTHING),
        ([], [[10, 10, 50, 90]], NOTHING),
        ([REGION], [], NOTHING),
        ([REGION], [[10, 10, 50, 90]], NOTHING),
        ([REGION], [[100, 10, 150, 90]], NOTHING),
        # mmdet's AP leaves out the strip before the first detection, here everything
        ([BOX], [[10, 10, 50, 90]], dict(mAP=0.0, mMR=0.0, JI=1.0, recall=1.0)),
    ],
)
def test_no_gts_or_detections_give_no_nan(files, gtboxes, boxes, expected):
    ann_file = files([dict(ID='a', gtboxes=gtboxes)])
    got = scores_of_ours(ann_file, [sample_of('a', boxes, [0.9] * len(boxes))])
    assert got == pytest.approx(expected, abs=1e-6)


def test_no_images_at_all(files):
    assert scores_of_ours(files(random_crowd(9)[0]), []) == NOTHING


def test_two_images_of_one_id_are_rejected(files):
    """One silently took the place of the other: two test sets joined, both numbered from 1."""
    records, samples = random_crowd(9, num_images=4)
    for sample in samples:
        sample['gt_instances'] = dict(bboxes=torch.tensor([[10.0, 10, 60, 90]]))
    joined = [
        dict(one, img_path=f'{directory}/{one["img_id"]}.jpg')
        for directory in ('day', 'night')
        for one in samples
    ]
    printed = rf"two images have the img_id '{samples[0]['img_id']}': day/.*jpg and night/"
    for ann_file in (None, files(records)):
        with pytest.raises(ValueError, match=printed):
            scores_of_ours(ann_file, joined)
        # a distributed sampler hands over some twice
        expected = scores_of_ours(ann_file, joined[:4])
        assert scores_of_ours(ann_file, joined[:4] + joined[:2]) == expected
    # without paths, sizes and ground truth tell images apart
    moved = dict(samples[0], gt_instances=dict(bboxes=torch.tensor([[1.0, 2, 3, 4]])))
    larger = dict(samples[0], ori_shape=(999, 999))
    for twin in (moved, larger):
        with pytest.raises(ValueError, match='two images have the img_id'):
            scores_of_ours(None, [*samples, twin])


def test_order_and_repetition_do_not_matter(files):
    records, samples = random_crowd(9, num_images=8, score_steps=3)
    ann_file = files(records)
    expected = scores_of_ours(ann_file, samples)
    shuffled = [samples[i] for i in np.random.default_rng(0).permutation(8)]
    assert scores_of_ours(ann_file, shuffled + shuffled[:3]) == expected


def test_a_subset_counts_only_its_images(files):
    records, samples = random_crowd(9, num_images=6)
    part = scores_of_ours(files(records), samples[2:4])
    assert part == scores_of_ours(files(records[2:4], 'part.odgt'), samples[2:4])


def test_image_of_another_set_is_named(files):
    records, _ = random_crowd(0)
    with pytest.raises(ValueError, match=r"img_id 'stranger' \(1 such\)"):
        scores_of_ours(files(records), [sample_of('stranger', [], [])])


@pytest.mark.parametrize(
    'line, message',
    [
        ('{"ID": "b", "gtboxes": [{"tag": "person"}]}', "line 2: .*'fbox'"),
        ('{"ID": "a", "gtboxes": []}', "line 2: ID 'a' was already used in line 1"),
    ],
)
def test_broken_annotations_are_named_at_once(tmp_path, line, message):
    path = tmp_path / 'gt.odgt'
    path.write_text('{"ID": "a", "gtboxes": []}\n' + line + '\n')
    with pytest.raises(OdgtError, match=message):
        CrowdMetric(str(path))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(metric='mAP'), "metric is 'mAP'"),
        (dict(eval_mode=2), 'eval_mode is 2'),
        (dict(compare_matching_method='VOC'), "compare_matching_method is 'VOC'"),
        (dict(mr_ref='CALTECH'), "mr_ref is 'CALTECH'"),
        (dict(iou_thres=50), 'IoU threshold is 50'),
        (dict(ap_iou_thrs=[0]), 'IoU threshold is 0'),
        (dict(breakdown=['age']), "breakdown is 'age'"),
        (dict(format_only=True), 'expected an outfile_prefix'),
        (dict(file_client_args={}), 'expected backend_args'),
    ],
)
def test_bad_options_are_named_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        CrowdMetric(**options)


def test_boxes_that_are_no_numbers_are_named():
    metric = CrowdMetric(format_only=True, outfile_prefix='unused')
    with pytest.raises(ValueError, match=r"detections of image 'a': box 0 is \[nan"):
        metric.process(None, [sample_of('a', [[float('nan'), 0, 1, 1]], [0.5])])


@pytest.mark.parametrize('eval_mode, hit', [('body', 0), ('visible', 1), ('head', 2), (1, 2)])
def test_eval_mode_selects_the_box(files, eval_mode, hit):
    boxes = [[10, 10, 50, 90], [10, 10, 50, 50], [20, 10, 30, 20]]
    ann_file = files([dict(ID='a', gtboxes=[BOX])])
    for index, box in enumerate(boxes):
        recall = scores_of_ours(ann_file, [sample_of('a', [box], [0.5])], eval_mode=eval_mode)
        # the visible half of the body overlaps it by exactly a half, which is no hit
        assert recall['recall'] == float(index == hit)


@pytest.mark.parametrize('from_samples', [False, True])
@pytest.mark.parametrize('classes', [('person', 'car'), ('car', 'Pedestrian'), ('head', 'car'), ()])
def test_other_classes_are_left_out(files, from_samples, classes):
    records, samples = random_crowd(11)
    person = 1 if 'Pedestrian' in classes else 0
    expected = scores_of_ours(files(records), samples)
    metric = CrowdMetric(None if from_samples else files(records))
    metric.dataset_meta = dict(classes=classes)
    for record, sample in zip(records, samples, strict=True):
        pred = sample['pred_instances']
        count = len(pred['scores'])
        gts = torch.tensor([one['fbox'] for one in record['gtboxes']]).reshape(-1, 4)
        gts[:, 2:] += gts[:, :2]
        ignored = torch.tensor(
            [one['tag'] != 'person' or one['extra']['ignore'] != 0 for one in record['gtboxes']]
        )
        labels = torch.arange(2).repeat_interleave((~ignored).sum())
        mixed = dict(
            bboxes=pred['bboxes'].repeat(2, 1),
            scores=torch.cat([pred['scores'], pred['scores'] + 1]),
            labels=torch.tensor([person] * count + [1 - person] * count),
        )
        gt_instances = dict(bboxes=gts[~ignored].repeat(2, 1), labels=labels)
        ignored_instances = dict(bboxes=gts[ignored], labels=-torch.ones(int(ignored.sum())))
        metric.process(
            None,
            [
                dict(
                    sample,
                    pred_instances=mixed,
                    gt_instances=gt_instances,
                    ignored_instances=ignored_instances,
                )
            ],
        )
    assert metric.compute_metrics(metric.results) == pytest.approx(expected, abs=1e-9)


def test_data_samples_without_ground_truth_are_named():
    with pytest.raises(KeyError, match="image 'a' has no gt_instances"):
        CrowdMetric().process(None, [sample_of('a', [], [])])


def test_detections_for_submission(tmp_path):
    metric = CrowdMetric(format_only=True, outfile_prefix=str(tmp_path / 'dets.odgt'))
    metric.process(None, [sample_of('a', [[1, 2, 4, 8]], [0.5]), sample_of('b', [], [])])
    assert metric.evaluate(2) == {}
    lines = (tmp_path / 'dets.odgt').read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        dict(ID='a', width=320, height=240, dtboxes=[dict(box=[1, 2, 3, 6], score=0.5, tag=1)]),
        dict(ID='b', width=320, height=240, dtboxes=[]),
    ]


def test_more_numbers_and_details(files, tmp_path):
    records, samples = random_crowd(21, num_images=6)
    ann_file = files(records)
    details_file = tmp_path / 'details.json'
    got = scores_of_ours(
        ann_file,
        samples,
        ap_iou_thrs=[0.5, 0.75],
        breakdown=['visible', 'crowded', 'height'],
        details_file=str(details_file),
    )
    assert got['AP_0.5'] == got['mAP']
    assert got['AP_0.75'] == scores_of_ours(ann_file, samples, iou_thres=0.75)['mAP']
    details = json.loads(details_file.read_text())
    assert details['values'] == got
    images = details['per_image']
    assert [row['img_id'] for row in images] == [record['ID'] for record in records]
    hits, people = (sum(row[key] for row in images) for key in ('num_tp', 'num_gts'))
    assert people == details['num_gts']
    assert hits / people == pytest.approx(got['recall'])
    counted = [row['ji'] for row in images if row['ji'] is not None]
    assert len(counted) < len(images)  # one has nothing but an ignore region
    assert np.mean(counted) == pytest.approx(got['JI'])
    assert details['curve']['recall'][-1] == pytest.approx(got['recall'])
    assert max(details['jaccard']['ji']) == pytest.approx(got['JI'])
    # every person is in one group of a attribute
    for attribute in ('visible', 'crowded', 'height'):
        assert any(key.startswith(f'mMR_{attribute}') for key in got)


def test_groups_partition_the_gts(files):
    """Recalls of the groups, weighted by people, make up the recall of all."""
    records, samples = random_crowd(22, num_images=6)
    annotations = load_odgt(files(records))
    detections = [
        CrowdDetections.create(
            s['img_id'], s['pred_instances']['bboxes'], s['pred_instances']['scores'], 240, 320
        )
        for s in samples
    ]
    result = evaluate_crowd(annotations, detections)
    total = result.scores()
    for attribute in result.attributes:
        parts = [result.scores(mask) for mask in result.groups(attribute).values()]
        assert sum(part.num_gts for part in parts) == total.num_gts
        assert sum(part.recall * part.num_gts for part in parts) == pytest.approx(
            total.recall * total.num_gts
        )
    with pytest.raises(ValueError, match="attribute is 'age'"):
        result.groups('age')
