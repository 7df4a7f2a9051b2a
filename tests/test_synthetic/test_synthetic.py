import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.datasets import CrowdHumanDataset

from mmdet_lla.cli import make_crowd
from mmdet_lla.datasets.statistics import compute_statistics
from mmdet_lla.synthetic import (
    CrowdParams,
    build_dataset,
    load_records,
    make_scene,
)
from mmdet_lla.synthetic.annotations import to_record
from mmdet_lla.synthetic.build import MANIFEST, image_rng
from mmdet_lla.synthetic.figure import Figure, box, capsule
from mmdet_lla.synthetic.layout import make_setting
from mmdet_lla.synthetic.objects import OBJECTS
from mmdet_lla.synthetic.people import make_person
from mmdet_lla.synthetic.poses import POSES
from mmdet_lla.synthetic.textures import add_texture

SMALL = CrowdParams(width=320, height=240, people=6, far_crowd=0.5, fakes=0.5)


def digest(root):
    """Content of every file of a folder."""
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(Path(root).rglob('*'))
        if p.is_file()
    }


def scenes(count, params=SMALL, seed=0):
    return [make_scene(np.random.default_rng([seed, k]), params) for k in range(count)]


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp('crowd') / 'set'
    assert build_dataset(root, 3, 2, SMALL, seed=5, progress=False)
    return root


@pytest.fixture(scope='module')
def default_scenes():
    return scenes(36, CrowdParams(), seed=1)


def test_same_files_whatever_the_number_of_workers(dataset, tmp_path):
    cv2.blur(np.zeros((2000, 2000), np.uint8), (5, 5))  # starts threads: workers must not mind
    build_dataset(tmp_path / 'again', 3, 2, SMALL, seed=5, workers=2, progress=False)
    assert digest(tmp_path / 'again') == digest(dataset)


def test_seed_and_split_determine_the_images(dataset, tmp_path):
    build_dataset(tmp_path / 'other', 1, 1, SMALL, seed=6, progress=False)
    images = [
        p.read_bytes()
        for root in (dataset, tmp_path / 'other')
        for p in (root / 'Images').iterdir()
    ]
    assert len(set(images)) == len(images) == 7


def test_more_images_keep_the_first_ones(dataset, tmp_path):
    build_dataset(tmp_path / 'fewer', 2, 1, SMALL, seed=5, progress=False)
    fewer, more = digest(tmp_path / 'fewer'), digest(dataset)
    for name in fewer:
        if name.startswith('Images'):
            assert fewer[name] == more[name]


def test_an_existing_dataset_is_left_unchanged(dataset):
    before = {p: p.stat().st_mtime_ns for p in dataset.rglob('*')}
    assert not build_dataset(dataset, 3, 2, SMALL, seed=5, progress=False)
    assert before == {p: p.stat().st_mtime_ns for p in dataset.rglob('*')}


def test_a_damaged_dataset_is_completed(dataset, tmp_path):
    root = tmp_path / 'set'
    build_dataset(root, 2, 1, SMALL, seed=3, progress=False)
    whole = digest(root)
    (root / 'Images' / 'crowd_val_000000.jpg').unlink()
    (root / 'annotation_train.odgt').unlink()
    assert build_dataset(root, 2, 1, SMALL, seed=3, progress=False)
    assert digest(root) == whole


def test_another_dataset_is_replaced_only_with_overwrite(tmp_path):
    build_dataset(tmp_path, 2, 1, SMALL, progress=False)
    (tmp_path / 'notes.txt').write_text('mine')
    before = digest(tmp_path)
    with pytest.raises(FileExistsError, match='differs in seed'):
        build_dataset(tmp_path, 2, 1, SMALL, seed=1, progress=False)
    assert digest(tmp_path) == before
    assert build_dataset(tmp_path, 1, 0, SMALL, seed=1, overwrite=True, progress=False)
    assert sorted(digest(tmp_path)) == [
        'Images/crowd_train_000000.jpg',
        'annotation_train.odgt',
        MANIFEST,
        'id_hw_train.json',
        'notes.txt',
    ]


def test_foreign_files_are_never_changed(tmp_path):
    (tmp_path / 'annotation_train.odgt').write_text('{}\n')
    with pytest.raises(FileExistsError, match='did not make'):
        build_dataset(tmp_path, 1, 1, SMALL, overwrite=True, progress=False)
    assert (tmp_path / 'annotation_train.odgt').read_text() == '{}\n'


@pytest.mark.parametrize('split,count', [('train', 3), ('val', 2)])
def test_mmdet_reads_every_box_and_no_image(dataset, split, count, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('a picture was read')

    monkeypatch.setattr('mmdet.datasets.crowdhuman.get', refuse)
    read = CrowdHumanDataset(
        data_root=str(dataset),
        ann_file=f'annotation_{split}.odgt',
        data_prefix=dict(img='Images/'),
        pipeline=[],
        test_mode=True,
    )
    records = load_records(dataset)[split]
    assert len(read) == len(records) == count
    for k, record in enumerate(records):
        info = read.get_data_info(k)
        assert (info['img_id'], info['height'], info['width']) == (record['ID'], 240, 320)
        assert cv2.imread(info['img_path']).shape == (240, 320, 3)
        assert len(info['instances']) == len(record['gtboxes'])
        for instance, wanted in zip(info['instances'], record['gtboxes'], strict=True):
            for name in ('fbox', 'vbox', 'hbox'):
                x, y, w, h = wanted[name]
                assert instance[name] == [x, y, x + w, y + h]
            ignored = wanted['tag'] == 'mask' or wanted['extra'].get('ignore') == 1
            assert instance['ignore_flag'] == int(ignored)


def test_records_keep_to_the_format(default_scenes):
    params = CrowdParams()
    seen_tags = set()
    for k, scene in enumerate(default_scenes):
        record = json.loads(json.dumps(to_record(str(k), scene.people, 640, 480)))
        assert set(record) == {'ID', 'gtboxes'}
        ids = [b['extra']['box_id'] for b in record['gtboxes']]
        assert len(set(ids)) == len(ids)
        for entry in record['gtboxes']:
            seen_tags.add(entry['tag'])
            assert set(entry) == {'tag', 'fbox', 'vbox', 'hbox', 'head_attr', 'extra'}
            x, y, w, h = entry['fbox']
            vx, vy, vw, vh = entry['vbox']
            assert min(w, h, vw, vh, *entry['hbox'][2:]) > 0
            assert max(x, 0) <= vx and vx + vw <= min(x + w, params.width)
            assert max(y, 0) <= vy and vy + vh <= min(y + h, params.height)
            if entry['tag'] == 'person':
                hx, hy, hw, hh = entry['hbox']
                assert x - 1 <= hx and hx + hw <= x + w + 1
                assert y - 1 <= hy and hy + hh <= y + h + 1
            else:
                assert entry['extra']['ignore'] == 1
    assert seen_tags == {'person', 'mask'}


def test_visible_boxes_match_the_visible_pixels(default_scenes):
    in_front = 0
    for scene in default_scenes:
        height, width = scene.owners.shape
        for k, one in enumerate(scene.people):
            if one.tag == 'mask':
                continue
            x0, y0, x1, y1 = one.fbox
            columns, rows = np.arange(width), np.arange(height)
            mine = scene.owners == k + 1
            # A bag or an umbrella is drawn with its person, but is not the body.
            mine &= ((rows + 1 > y0) & (rows < y1))[:, None] & (columns + 1 > x0) & (columns < x1)
            ys, xs = np.nonzero(mine)
            pixels = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            assert np.abs(np.array(one.vbox) - pixels).max() <= 1
            if one.visible == 1.0:
                in_front += 1
                clipped = np.clip(one.fbox, 0, (width, height, width, height))
                assert np.abs(np.array(one.vbox) - clipped).max() <= 2
    assert in_front > 50


def test_barely_visible_people_are_ignored(default_scenes):
    params, ignored = CrowdParams(), 0
    for scene in default_scenes:
        for one in scene.people:
            if one.tag == 'person':
                assert one.visible >= params.drop_visible
                assert one.ignore == (one.visible < params.ignore_visible)
                ignored += one.ignore
    assert ignored


def test_statistics_of_the_default_density(default_scenes):
    records = [to_record(str(k), s.people, 640, 480) for k, s in enumerate(default_scenes)]
    measured = compute_statistics(records)
    # Means over 36 images: the bounds are three of their standard errors.
    assert abs(measured.people.mean() - 22.6) < 5.5
    assert 1.0 < measured.summarize()['pairs per image, IoU > 0.5'] < 4.4
    assert measured.heights.min() >= 24 and measured.heights.max() < 430
    assert 50 < np.median(measured.heights) < 130


def test_density_orders_the_images():
    means = []
    for density in ('sparse', '20', 'dense'):
        drawn = scenes(8, CrowdParams(320, 240).with_density(density))
        means.append(np.mean([sum(not one.ignore for one in scene.people) for scene in drawn]))
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize('yaw', [0, 0.8, np.pi / 2, 2.4, np.pi, 4.7])
@pytest.mark.parametrize('sitting', [False, True])
def test_boxes_of_a_person_match_the_drawing(yaw, sitting):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        person = make_person(rng, yaw, sitting=sitting)
        sprite = person.figure.draw(rng, 150.0, 0.0, 0.0)
        rows = np.flatnonzero((sprite.alpha > 127).any(1))
        x0, y0, x1, y1 = (150 * v for v in person.figure.bounds())
        cols = np.flatnonzero((sprite.alpha > 127).any(0))
        drawn = (
            sprite.left + cols[0],
            -(sprite.top + rows[-1] + 1),
            sprite.left + cols[-1] + 1,
            -(sprite.top + rows[0]),
        )
        assert np.abs(np.array(drawn) - (x0, y0, x1, y1)).max() < 2.5
        fx0, fy0, fx1, fy1 = person.fbox
        hx0, hy0, hx1, hy1 = person.hbox
        assert fx0 <= hx0 < hx1 <= fx1 and fy0 <= hy0 < hy1 <= fy1
        assert fy1 - fy0 > (0.6 if sitting else 0.85)


def test_figures_are_drawn_at_their_position():
    figure = Figure()
    figure.add(box(-0.5, 0, 0.5, 2), figure.material((10, 20, 30)))
    sprite = figure.draw(np.random.default_rng(0), 20.0, 100.0, 80.0)
    rows, cols = np.nonzero(sprite.alpha > 127)
    assert (sprite.left + cols.min(), sprite.left + cols.max() + 1) == (90, 110)
    assert (sprite.top + rows.min(), sprite.top + rows.max() + 1) == (40, 80)
    inside = sprite.color[rows.mean().astype(int), cols.mean().astype(int)]
    assert inside.tolist() == [10, 20, 30]
    assert not sprite.color[sprite.alpha == 0].any()


def test_capsules_reach_their_radii_beyond_both_ends():
    outline = capsule((0, 0), (3, 4), 1.0, 0.5)
    along = outline @ np.array([0.6, 0.8])
    across = outline @ np.array([-0.8, 0.6])
    np.testing.assert_allclose([along.min(), along.max()], [-1, 5.5])
    np.testing.assert_allclose([across.min(), across.max()], [-1, 1])
    assert np.isfinite(capsule((1, 1), (1, 1), 1, 1)).all()


@pytest.mark.parametrize(
    'values,name',
    [
        (dict(width=10), 'width'),
        (dict(height=480.0), 'height'),
        (dict(people=-1), 'people'),
        (dict(people=1000), 'people'),
        (dict(tight=1.5), 'tight'),
        (dict(clutter=(5, 2)), 'clutter'),
        (dict(min_height_px=2), 'min_height_px'),
        (dict(drop_visible=0.5), 'drop_visible'),
    ],
)
def test_parameters_out_of_range_are_named(values, name):
    with pytest.raises(ValueError, match=name):
        CrowdParams(**values)


@pytest.mark.parametrize('density', ['crowded', None, '-3', 'nan', 1e9])
def test_unknown_densities_are_rejected(density):
    with pytest.raises(ValueError, match='density|people'):
        CrowdParams().with_density(density)


@pytest.mark.parametrize(
    'arguments,name',
    [
        (dict(train=-1, val=1), 'train'),
        (dict(train=0, val=0), 'both 0'),
        (dict(train=1, val=1.5), 'val'),
        (dict(train=1, val=1, workers=0), 'workers'),
        (dict(train=1, val=1, seed=-1), 'seed'),
    ],
)
def test_bad_numbers_are_named_before_anything_is_written(tmp_path, arguments, name):
    with pytest.raises(ValueError, match=name):
        build_dataset(tmp_path / 'set', **arguments)
    assert not (tmp_path / 'set').exists()


def test_a_second_run_of_the_command_has_nothing_to_do(tmp_path, monkeypatch, capsys):
    def run(*more, status=0):
        options = '--train 2 --val 1 --size 320x240 --density 4 --workers 1'
        assert make_crowd.main([str(tmp_path / 'set'), *options.split(), *more]) == status
        output = capsys.readouterr()
        return output.err if status else output.out

    first = run()
    assert 'generated 3 images' in first and '22.64' in first
    assert 'nothing to do' in run()
    assert '--overwrite' in run('--seed', '1', status=2)
    assert 'generated 3 images' in run('--seed', '1', '--overwrite')


@pytest.mark.parametrize(
    'preset,size,count,digest',
    [
        ('default', (640, 480), 2, 'a7c9ffc24812fde652d0012982a599b4'),
        ('default', (256, 192), 6, '00b55074702af4b8c1e96fa1d9252635'),
        ('wide', (640, 480), 2, '59a9453610fcc4a0fc287f1be05b36bb'),
        ('wide', (256, 192), 12, '68af2772a121610ae41388de155e5801'),
        ('varied', (256, 192), 12, '8fd05dc198e229e07b4ea22588703813'),
    ],
)
def test_old_seeds_keep_their_images(preset, size, count, digest):
    """Adding a parameter must not change what is drawn without it."""
    if (np.__version__.split('.')[0], cv2.__version__.split('.')[0]) != ('2', '5'):
        pytest.skip('the digests are those of the pinned numpy and OpenCV')
    params = CrowdParams.preset(preset, width=size[0], height=size[1])
    seen = hashlib.md5()
    for index in range(count):
        scene = make_scene(image_rng(5, 'train', index), params)
        seen.update(scene.image.tobytes())
        seen.update(json.dumps(to_record('', scene.people, *size)).encode())
    assert seen.hexdigest() == digest


@pytest.mark.parametrize('name', POSES)
def test_poses_have_their_feet_on_the_ground(name):
    for seed in range(3):
        person = make_person(np.random.default_rng(seed), 0.7, pose=name)
        x0, y0, x1, y1 = person.fbox
        assert 0.4 < y1 - y0 < 1.25 and x1 - x0 < 1.2
        if POSES[name].seat not in ('bicycle', 'animal'):
            assert abs(y0) < 0.06


def test_varied_images_differ_in_version_and_content():
    assert CrowdParams.preset('wide').version == 1
    assert replace(CrowdParams(), poses=0.1).version == 2
    empty = scenes(4, replace(SMALL, empty=1.0))
    assert not any(scene.people for scene in empty)
    close = [one for scene in scenes(6, replace(SMALL, close_ups=1.0)) for one in scene.people]
    assert np.median([one.fbox[3] - one.fbox[1] for one in close]) > 180


@pytest.mark.parametrize('name', OBJECTS)
def test_objects_stand_on_the_ground(name):
    for seed in range(3):
        figure = Figure()
        OBJECTS[name](np.random.default_rng(seed), figure)
        x0, y0, x1, y1 = figure.bounds()
        assert y0 > -0.4 and 0.2 < y1 < 5 and x1 - x0 < 6


@pytest.mark.parametrize(
    'change',
    [
        dict(texture=1.0),
        dict(backdrop=1.0),
        dict(accessories=1.0),
        dict(shade=1.0),
        dict(night=1.0),
        dict(rain=1.0),
        dict(veil=1.0),
        dict(colorfulness=(0.0, 0.2)),
        dict(defocus=1.0),
        dict(motion_blur=1.0),
        dict(sharpen=1.0),
        dict(recompress=1.0),
        dict(poses=1.0),
        dict(objects=1.0),
        dict(interiors=1.0),
        dict(fronts=1.0),
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_option_changes_the_image(change):
    plain, widened = scenes(1, seed=3)[0], scenes(1, replace(SMALL, **change), seed=3)[0]
    assert widened.image.shape == plain.image.shape and widened.image.dtype == np.uint8
    assert np.abs(widened.image.astype(int) - plain.image).mean() > 0.3
    assert widened.image.std() > 4  # still shows something


def test_light_and_camera_do_not_move_people():
    after = dict(
        shade=1.0, night=1.0, rain=1.0, veil=1.0, defocus=1.0, motion_blur=1.0, sharpen=1.0
    )
    for plain, developed in zip(
        scenes(3, seed=8), scenes(3, replace(SMALL, **after), seed=8), strict=True
    ):
        assert developed.people == plain.people
        np.testing.assert_array_equal(developed.owners, plain.owners)


def test_camera_heights_follow_the_weights():
    rngs = [np.random.default_rng(k) for k in range(40)]
    low, high = (
        [make_setting(rng, replace(SMALL, camera_heights=w)).camera.above for rng in rngs]
        for w in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    )
    assert max(low) <= 2.1 and min(high) >= 4.5


def test_a_margin_enlarges_only_the_boxes_of_people():
    for plain, wider in zip(
        scenes(3, seed=4), scenes(3, replace(SMALL, margin=(0.2, 0.1)), seed=4), strict=True
    ):
        np.testing.assert_array_equal(plain.image, wider.image)
        for one, other in zip(plain.people, wider.people, strict=True):
            a, b = np.array(one.fbox), np.array(other.fbox)
            grown = (1.2, 1.1) if one.tag == 'person' else (1.0, 1.0)
            np.testing.assert_allclose(b[2:] - b[:2], (a[2:] - a[:2]) * grown)
            np.testing.assert_allclose(b[2:] + b[:2], a[2:] + a[:2])
            assert (one.vbox, one.hbox, one.ignore) == (other.vbox, other.hbox, other.ignore)
    with pytest.raises(ValueError, match='margin must be two shares'):
        CrowdParams(margin=(0.1, -0.1))


def test_texture_keeps_the_outline_of_a_sprite():
    figure = Figure()
    figure.slab(box(-0.3, 0, 0.3, 1.7), figure.material((90, 120, 200)))
    rng = np.random.default_rng(2)
    sprite = figure.draw(rng, 60, 50, 110)
    for _ in range(8):
        textured = add_texture(rng, sprite, 1.0)
        inner = cv2.erode(sprite.alpha, np.ones((5, 5), np.uint8)) == 255
        assert (textured.alpha[inner] == 255).all()  # only the rim may soften
        assert textured.alpha.mean() == pytest.approx(sprite.alpha.mean(), rel=0.05)
        assert (textured.color.max(-1) <= textured.alpha.astype(int) + 1).all()  # premultiplied
        assert not np.array_equal(textured.color, sprite.color)


def test_presets_and_wrong_values():
    wide = CrowdParams.preset('wide', width=320, height=240)
    assert wide.backdrop > 0 and wide.width == 320
    assert CrowdParams.preset('default') == CrowdParams()
    for scene in scenes(6, wide, seed=1):
        assert scene.image.shape == (240, 320, 3)
    with pytest.raises(ValueError, match='preset must be one of default, wide, varied'):
        CrowdParams.preset('broad')
    with pytest.raises(ValueError, match='night must be a share'):
        CrowdParams.preset('wide', night=1.5)
    with pytest.raises(ValueError, match='camera_heights must be three weights'):
        CrowdParams(camera_heights=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match='near_walls must be'):
        CrowdParams(near_walls=(2.0, 1.0))


def test_a_dataset_from_before_a_field_existed_is_up_to_date(tmp_path):
    build_dataset(tmp_path / 'set', 2, 0, SMALL, progress=False)
    path = tmp_path / 'set' / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest['params']['texture'], manifest['params']['camera_heights']
    manifest['params']['weave'] = 0.0  # its name in version 0.2
    path.write_text(json.dumps(manifest))
    assert build_dataset(tmp_path / 'set', 2, 0, SMALL, progress=False) is False
    with pytest.raises(FileExistsError, match='differs in params'):
        build_dataset(tmp_path / 'set', 2, 0, replace(SMALL, texture=0.5), progress=False)


def test_fields_are_parsed_and_wrong_ones_named(tmp_path):
    fields = partial(make_crowd.parse_fields, known=CrowdParams().to_dict())
    assert fields(['night=0.5', 'jpeg_quality=30,95', 'max_people=7']) == dict(
        night=0.5, jpeg_quality=(30, 95), max_people=7
    )
    with pytest.raises(ValueError, match="no field 'nigth'; did you mean night"):
        fields(['nigth=0.5'])
    for wrong in ('night=dark', 'night=1,2', 'jpeg_quality=30', 'night=', 'night'):
        with pytest.raises(ValueError, match='must look like'):
            fields([wrong])
