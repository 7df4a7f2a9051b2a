"""Scenes: background, people and objects painted back to front, with visible boxes."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .accessories import make_accessory
from .backdrop import paint_backdrop
from .background import PLACES, paint_place
from .clutter import make_clutter, make_poster, make_statue
from .figure import Figure, Sprite
from .layout import Camera, Setting, Spot, make_setting, place_people
from .objects import make_front, make_mount, make_object
from .params import CrowdParams
from .people import make_person
from .photometry import develop
from .poses import POSES
from .textures import add_texture

Box = tuple[float, float, float, float]

#: Changes that turn a scene into a close-up.
_CLOSE_UP = dict(
    people=2.2,
    people_spread=0.5,
    min_height_px=180.0,
    max_height_px=(450.0, 1400.0),
    height_shape=(1.6, 1.0),
    border=1.4,
    inside=0.13,
    camera_heights=(1.0, 0.0, 0.0),
    clutter=(0, 5),
    far_crowd=0.0,
    fakes=0.0,
    drop_visible=0.02,
    ignore_visible=0.05,
)


@dataclass
class Annotated:
    """Annotation of a person or an ignore region; boxes are x0, y0, x1, y1.

    Args:
        fbox (tuple[float]): The whole body, beyond the image too.
        vbox (tuple[float]): What is seen of it.
        hbox (tuple[float]): The head.
        tag (str): 'person', or 'mask' for an ignored region.
        ignore (bool): Whether training and evaluation leave it out.
        visible (float): Seen share of the body's pixels, those beyond the border included.
    """

    fbox: Box
    vbox: Box
    hbox: Box
    tag: str
    ignore: bool
    visible: float


@dataclass
class Scene:
    """An image with its annotations and the owner of each pixel.

    Args:
        image (np.ndarray): ``(h, w, 3)`` BGR.
        people (list[Annotated]): People and ignored regions.
        owners (np.ndarray): ``(h, w)``; 0 nobody, else 1 + index into ``people`` of the person
            seen there, -1 where a person is seen that is not annotated.
    """

    image: np.ndarray
    people: list[Annotated]
    owners: np.ndarray


@dataclass
class _Actor:
    """Something to paint; ``boxes`` (fbox, hbox in pixels) only if it is annotated."""

    depth: float  # row of the ground it stands on: painted in this order
    spot: Spot
    sprite: Sprite
    boxes: tuple[Box, Box] | None = None
    kind: str = 'thing'  # 'person', 'thing', 'fake' or 'far'


@dataclass(frozen=True)
class _Lighting:
    """Light and air of a scene."""

    light: float
    haze: float
    tint: tuple[float, float, float]
    shadow: float
    slant: float


def _to_pixels(bounds: Box, spot: Spot, scale: float) -> Box:
    x0, y0, x1, y1 = bounds
    return (spot.x + x0 * scale, spot.y - y1 * scale, spot.x + x1 * scale, spot.y - y0 * scale)


def _fade(lighting: _Lighting, setting: Setting, spot: Spot) -> float:
    return float(np.clip(lighting.haze * setting.far / spot.scale, 0, 0.7))


def _people(
    rng, params: CrowdParams, setting: Setting, lighting: _Lighting, rain: bool
) -> list[_Actor]:
    # In a fuller scene a larger share ends up hidden or ignored: 2 % of 8 people, 5 % of 40.
    mean = params.people * (1.01 + 0.001 * params.people)
    shape = 1 / max(params.people_spread, 1e-3) ** 2
    count = int(
        np.clip(
            round(rng.gamma(shape, mean / shape)), 0 if params.people < 1 else 1, params.max_people
        )
    )
    actors = []
    for stand in place_people(rng, params, setting, count):
        spot, yaw, mount = stand.spot, stand.yaw, None
        if stand.pose and POSES[stand.pose].seat in ('bicycle', 'animal'):
            yaw = rng.normal(0, 0.25) + (np.pi / 2 if np.sin(yaw) > 0 else -np.pi / 2)
            mount = make_mount(rng, POSES[stand.pose].seat, lighting.light)
        person = make_person(
            rng,
            yaw,
            setting.camera.tilt(spot.scale),
            lighting.light,
            stand.child,
            stand.sitting,
            rain and rng.random() < 0.4,
            stand.pose,
            mount,
        )
        scale = stand.stature * spot.scale
        sprite = person.figure.draw(
            rng,
            scale,
            spot.x,
            spot.y,
            lighting.tint,
            _fade(lighting, setting, spot),
            rng.uniform(*params.figure_light),
        )
        sprite = _texture(rng, sprite, params)
        boxes = _to_pixels(person.fbox, spot, scale), _to_pixels(person.hbox, spot, scale)
        actors.append(_Actor(spot.y, spot, sprite, boxes, 'person'))
        front = params.fronts and rng.random() < params.fronts
        if front or (params.accessories and rng.random() < params.accessories):
            spot = Spot(spot.x + rng.normal(0, 0.3) * spot.scale, spot.y + 1, spot.scale)
            figure = (make_front if front else make_accessory)(rng, lighting.light)
            sprite = figure.draw(
                rng, spot.scale, spot.x, spot.y, lighting.tint, _fade(lighting, setting, spot)
            )
            actors.append(_Actor(spot.y, spot, _texture(rng, sprite, params)))
    return actors


def _texture(rng, sprite: Sprite, params: CrowdParams) -> Sprite:
    return add_texture(rng, sprite, params.texture) if params.texture else sprite


def _spot(rng, params: CrowdParams, setting: Setting, low: float = 0.0) -> Spot:
    scale = setting.far * 0.9 * (setting.near * 1.1 / setting.far) ** rng.uniform(low, 1)
    return Spot(rng.uniform(0, params.width), setting.camera.row(scale), scale)


def _things(
    rng, params: CrowdParams, setting: Setting, lighting: _Lighting, indoor: bool
) -> list[_Actor]:
    actors = []
    for _ in range(rng.integers(params.clutter[0], params.clutter[1] + 1)):
        if params.objects and rng.random() < params.objects:
            name, figure = make_object(rng, indoor, lighting.light)
            spot = _spot(rng, params, setting)
            # Small objects are also seen from close by.
            spot = replace(spot, scale=spot.scale * np.exp(rng.uniform(0, 0.9)))
            if spot.scale * figure.bounds()[3] > 1.4 * params.height:
                continue
        else:
            name, figure = make_clutter(
                rng, rng.random() < params.lookalikes, indoor, lighting.light
            )
            spot = _spot(rng, params, setting)
        if name in ('car', 'tree', 'clothes_rail') and spot.scale > 0.4 * params.height / 1.7:
            continue  # would hide half of the scene
        sprite = figure.draw(
            rng, spot.scale, spot.x, spot.y, lighting.tint, _fade(lighting, setting, spot)
        )
        actors.append(_Actor(spot.y, spot, _texture(rng, sprite, params)))
    if rng.random() < params.fakes:
        person = make_person(rng, rng.normal(0, 0.5), 0.0, lighting.light)
        figure, spot = Figure(lighting.light), _spot(rng, params, setting, 0.2)
        (make_poster if rng.random() < 0.5 else make_statue)(rng, figure, person.figure)
        scale = spot.scale * rng.uniform(1.4, 1.8)
        sprite = figure.draw(
            rng, scale, spot.x, spot.y, lighting.tint, _fade(lighting, setting, spot)
        )
        sprite = _texture(rng, sprite, params)
        box = _to_pixels(figure.bounds(), spot, scale)
        if 0 < spot.x < params.width and box[3] < params.height + 0.4 * (box[3] - box[1]):
            actors.append(_Actor(spot.y, spot, sprite, (box, box), 'fake'))
    return actors


def _far_crowd(rng, params: CrowdParams, setting: Setting, lighting: _Lighting) -> list[_Actor]:
    """Draw people too small to annotate, side by side."""
    x, span = rng.uniform(0, params.width), rng.uniform(0.06, 0.25) * params.width
    actors = []
    for _ in range(rng.integers(5, 16)):
        scale = setting.far * rng.uniform(0.45, 0.62)
        spot = Spot(x + rng.uniform(-0.5, 0.5) * span, setting.camera.row(scale), scale)
        if not 0 < spot.x < params.width or not 0 < spot.y < params.height:
            continue
        person = make_person(rng, rng.uniform(0, 2 * np.pi), 0.0, lighting.light)
        tall = 1.7 * scale
        sprite = person.figure.draw(
            rng, tall, spot.x, spot.y, lighting.tint, _fade(lighting, setting, spot)
        )
        boxes = _to_pixels(person.fbox, spot, tall), _to_pixels(person.hbox, spot, tall)
        actors.append(_Actor(spot.y, spot, sprite, boxes, 'far'))
    return actors


def _clip(sprite: Sprite, width: int, height: int) -> tuple | None:
    """Return the overlapping windows of image and sprite, None without overlap."""
    rows, cols = sprite.alpha.shape
    x0, y0 = max(sprite.left, 0), max(sprite.top, 0)
    x1, y1 = min(sprite.left + cols, width), min(sprite.top + rows, height)
    if x0 >= x1 or y0 >= y1:
        return None
    return (slice(y0, y1), slice(x0, x1)), (
        slice(y0 - sprite.top, y1 - sprite.top),
        slice(x0 - sprite.left, x1 - sprite.left),
    )


def _shadows(canvas: np.ndarray, actors: list[_Actor], lighting: _Lighting, camera: Camera) -> None:
    """Draw contact shadows under everything, and cast shadows where the sun shines."""
    height, width = canvas.shape[:2]
    dark = np.zeros((height, width), np.uint8)
    for actor in actors:
        spot, sprite = actor.spot, actor.sprite
        rx = 0.26 * spot.scale
        flat = np.clip((spot.y - camera.horizon) / camera.focal, 0.08, 0.5)
        cv2.ellipse(
            dark,
            (int(spot.x), int(spot.y)),
            (int(rx) + 1, int(rx * flat) + 1),
            0,
            0,
            360,
            int(110 * (0.5 + 0.5 * lighting.shadow)),
            -1,
        )
        if lighting.shadow > 0.3:  # the sprite laid down on the ground
            squash = flat * 1.3
            matrix = np.array(
                [
                    [
                        1,
                        lighting.slant * 0.7,
                        spot.x
                        - (spot.x - sprite.left)
                        - lighting.slant * 0.7 * (spot.y - sprite.top),
                    ],
                    [0, squash, spot.y - squash * (spot.y - sprite.top)],
                ],
                np.float32,
            )
            rows, cols = sprite.alpha.shape
            reach = abs(lighting.slant) * rows
            x0, x1 = int(max(0, sprite.left - reach)), int(min(width, sprite.left + cols + reach))
            y0 = int(max(0, spot.y - squash * rows - 2))
            y1 = int(min(height, spot.y + 0.1 * rows + 2))
            if x0 < x1 and y0 < y1:
                matrix[:, 2] -= (x0, y0)
                cast = cv2.warpAffine(sprite.alpha, matrix, (x1 - x0, y1 - y0))
                cast = cv2.multiply(cast, lighting.shadow * 0.62)
                window = dark[y0:y1, x0:x1]
                np.maximum(window, cast, out=window)
    dark = cv2.blur(dark, (5, 5))
    canvas[:] = cv2.multiply(canvas, cv2.merge([255 - dark] * 3), scale=1 / 255)


def _paint(canvas: np.ndarray, owners: np.ndarray, actor: _Actor, owner: int) -> None:
    windows = _clip(actor.sprite, canvas.shape[1], canvas.shape[0])
    if windows is None:
        return
    here, there = windows
    alpha = actor.sprite.alpha[there]
    under = cv2.multiply(canvas[here], cv2.merge([255 - alpha] * 3), scale=1 / 255)
    canvas[here] = cv2.add(under, np.ascontiguousarray(actor.sprite.color[there]))
    owners[here][alpha > 127] = owner


def _finish(rng, image: np.ndarray) -> np.ndarray:
    """Apply camera effects: exposure, color cast, lens, focus, sensor noise."""
    height, width = image.shape[:2]
    gain = rng.uniform(0.85, 1.22) * (1 + rng.normal(0, 0.035, 3))
    gamma = rng.uniform(0.8, 1.25)
    ramp = np.arange(256)[:, None] / 255
    table = np.clip(255 * ramp**gamma * gain, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table[None])
    if rng.random() < 0.6:  # light is never even
        patches = _uneven_light(rng, width, height)
        image = cv2.multiply(image, cv2.merge([patches] * 3), dtype=cv2.CV_8U)
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.95))
    sigma = rng.uniform(1.0, 7.0)
    grain = rng.integers(0, 256, (height + 64, width + 64, 1), dtype=np.uint8)
    grain = cv2.LUT(grain, _gauss_table(sigma))[:height, :width]
    color = cv2.merge([grain, np.roll(grain, 17, 1), np.roll(grain, 31, 0)])
    return cv2.add(image, color, dtype=cv2.CV_8U)


def _uneven_light(rng, width: int, height: int) -> np.ndarray:
    """Draw uneven light, about 1, float32, (height, width)."""
    grid = rng.uniform(0.7, 1.18, (3, 4)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def _gauss_table(sigma: float) -> np.ndarray:
    """Create the table that maps uniform bytes to normal noise, int16, (256,)."""
    grid = (np.arange(256) + 0.5) / 256
    # Logistic quantiles stand in for normal ones.
    return np.clip(sigma * 0.5513 * np.log(grid / (1 - grid)), -60, 60).astype(np.int16)


def make_scene(rng: np.random.Generator, params: CrowdParams) -> Scene:
    """Draw a scene.

    Args:
        rng (np.random.Generator): Decides everything; the same state makes the same scene.
        params (CrowdParams): What scenes look like.
    """
    width, height = params.width, params.height
    if params.empty and rng.random() < params.empty:
        params = replace(params, people=0.0, people_spread=0.0, far_crowd=0.0, fakes=0.0)
    elif params.close_ups and rng.random() < params.close_ups:
        params = replace(params, **_CLOSE_UP)
    setting = make_setting(rng, params)
    camera = setting.camera
    place = PLACES[rng.choice(len(PLACES), p=(0.45, 0.2, 0.22, 0.13))]
    if params.interiors and rng.random() < params.interiors:
        place = 'hall'
    indoor = place == 'hall'
    sunny = not indoor and rng.random() < 0.5
    lighting = _Lighting(
        light=rng.uniform(-1, 1),
        haze=0.0 if indoor else rng.uniform(0, 0.35),
        tint=tuple(rng.uniform(150, 215) + rng.normal(0, 8, 3)),
        shadow=rng.uniform(0.5, 1.0) if sunny else rng.uniform(0, 0.3),
        slant=rng.uniform(-1.2, 1.2),
    )
    metre = setting.far * rng.uniform(0.3, 0.45)
    busy = bool(params.backdrop) and rng.random() < params.backdrop
    if busy:
        metre = setting.far * np.exp(rng.uniform(*np.log(params.near_walls)))
    canvas = paint_place(rng, camera, width, height, metre, place)
    if busy:
        base = int(np.clip(camera.row(metre), 0, height))
        paint_backdrop(rng, canvas, base, metre, rng.uniform(0.5, 1.0))
    actors = _things(rng, params, setting, lighting, indoor)
    actors += _people(rng, params, setting, lighting, not indoor and rng.random() < 0.1)
    far = _far_crowd(rng, params, setting, lighting) if rng.random() < params.far_crowd else []
    actors = sorted(actors + far, key=lambda a: a.depth)
    _shadows(canvas, actors, lighting, camera)
    owners = np.zeros((height, width), np.int32)
    for k, actor in enumerate(actors):
        _paint(canvas, owners, actor, k + 1 if actor.boxes else 0)
    people, owners = _annotate(actors, owners, params)
    return Scene(develop(rng, _finish(rng, canvas), params), people, owners)


def _annotate(
    actors: list[_Actor], owners: np.ndarray, params: CrowdParams
) -> tuple[list[Annotated], np.ndarray]:
    """Compute the visible parts, and renumber owners to the annotated ones."""
    seen = np.bincount(owners.ravel(), minlength=len(actors) + 1)
    number = np.full(len(actors) + 1, -1, np.int32)
    number[0] = 0
    people: list[Annotated] = []
    for k, actor in enumerate(actors):
        if actor.boxes is None or actor.kind == 'far' or not seen[k + 1]:
            continue
        fbox, hbox = actor.boxes
        vbox = _visible_box(owners, k + 1, fbox)
        visible = seen[k + 1] / max(1, np.count_nonzero(actor.sprite.alpha > 127))
        if vbox is None or (visible < params.drop_visible and actor.kind == 'person'):
            continue
        person = actor.kind == 'person'
        people.append(
            Annotated(
                _grown(fbox, params.margin) if person else fbox,
                vbox,
                hbox,
                'person' if person else 'mask',
                not person or bool(visible < params.ignore_visible),
                float(visible),
            )
        )
        number[k + 1] = len(people)
    far = [k for k, a in enumerate(actors) if a.kind == 'far' and seen[k + 1]]
    if far:
        height, width = owners.shape
        corners = np.array([actors[k].boxes[0] for k in far])
        box = (
            max(0.0, corners[:, 0].min()),
            max(0.0, corners[:, 1].min()),
            min(float(width), corners[:, 2].max()),
            min(float(height), corners[:, 3].max()),
        )
        people.append(Annotated(box, box, box, 'mask', True, 1.0))
        number[np.array(far) + 1] = len(people)
    return people, number[owners]


def _grown(box: Box, margin: tuple[float, float]) -> Box:
    x, y = (box[2] - box[0]) * margin[0] / 2, (box[3] - box[1]) * margin[1] / 2
    return (box[0] - x, box[1] - y, box[2] + x, box[3] + y)


def _visible_box(owners: np.ndarray, owner: int, fbox: Box) -> Box | None:
    """Return the bounds of an owner's pixels inside the body's box, None without pixels."""
    height, width = owners.shape
    x0, y0 = max(0, int(np.floor(fbox[0]))), max(0, int(np.floor(fbox[1])))
    x1, y1 = min(width, int(np.ceil(fbox[2]))), min(height, int(np.ceil(fbox[3])))
    if x0 >= x1 or y0 >= y1:
        return None
    mine = owners[y0:y1, x0:x1] == owner
    rows, cols = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
    if not len(rows):
        return None
    return (
        max(float(x0 + cols[0]), fbox[0]),
        max(float(y0 + rows[0]), fbox[1]),
        min(float(x0 + cols[-1] + 1), fbox[2]),
        min(float(y0 + rows[-1] + 1), fbox[3]),
    )
