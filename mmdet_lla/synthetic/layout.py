"""Layout of a scene: the camera, and the places of people on the ground."""

from dataclasses import dataclass

import numpy as np

from .params import CrowdParams
from .poses import choose_pose

_STATURE = 1.7  # metres of an average adult


@dataclass(frozen=True)
class Camera:
    """A camera that looks along a flat ground.

    Args:
        horizon (float): Row of the horizon; may lie above the image.
        above (float): Height of the camera over the ground in metres.
        focal (float): Focal length in pixels.
        center (float): Column straight ahead.
    """

    horizon: float
    above: float
    focal: float
    center: float

    def row(self, scale: float) -> float:
        """Return the row of the ground where a metre is ``scale`` pixels."""
        return self.horizon + scale * self.above

    def depth(self, scale: float) -> float:
        """Return the distance of that ground in metres."""
        return self.focal / scale

    def tilt(self, scale: float) -> float:
        """Return the angle by which the camera looks down on a person there, in radians."""
        return float(np.clip(np.arctan2(self.above - 1.2, self.depth(scale)), -0.1, 0.6))


@dataclass(frozen=True)
class Spot:
    """A place on the ground: column, row, and pixels per metre there."""

    x: float
    y: float
    scale: float


@dataclass(frozen=True)
class Stand:
    """Place, stature in metres and direction in radians (0 faces the viewer) of a person."""

    spot: Spot
    stature: float
    yaw: float
    child: bool
    sitting: bool
    pose: str | None = None

    @property
    def height(self) -> float:
        """Return the approximate body height as a fraction of the stature."""
        return 0.78 if self.sitting or self.pose else 1.0


@dataclass(frozen=True)
class Setting:
    """A camera, with the scales (pixels per metre) of the farthest and the nearest people."""

    camera: Camera
    far: float
    near: float


def make_setting(rng: np.random.Generator, params: CrowdParams) -> Setting:
    """Place the camera: at eye level, on a step, or high above the ground."""
    tall = np.exp(rng.uniform(*np.log(params.max_height_px))) * params.unit
    small = params.min_height_px * params.unit
    above = (rng.uniform(1.4, 2.1), rng.uniform(2.2, 4.5), rng.uniform(4.5, 8.0))[
        rng.choice(3, p=params.camera_heights)
    ]
    near = tall / _STATURE
    low = rng.uniform(0.85, 1.0) * params.height + rng.uniform(0, params.border) * tall * 0.8
    horizon = float(np.clip(low - near * above, -2.0 * params.height, 0.5 * params.height))
    camera = Camera(
        horizon, above, params.width * rng.uniform(0.8, 1.3), params.width * rng.uniform(0.35, 0.65)
    )
    near = min(near, (params.height + params.border * tall - horizon) / above)
    return Setting(camera, small / _STATURE, max(near, 1.6 * small / _STATURE))


def place_people(
    rng: np.random.Generator, params: CrowdParams, setting: Setting, count: int
) -> list[Stand]:
    """Place groups of people on the ground, so that no box is hidden by the others."""
    cover = _Cover(params)
    stands: list[Stand] = []
    weights = np.array(params.group_sizes) / sum(params.group_sizes)
    for _ in range(12 * count + 12):
        if len(stands) >= count:
            break
        size = min(int(rng.choice(len(weights), p=weights)) + 1, count - len(stands))
        for stand in _group(rng, params, setting, size):
            if cover.admits(stand):
                cover.add(stand)
                stands.append(stand)
    return stands


def _group(
    rng: np.random.Generator, params: CrowdParams, setting: Setting, size: int
) -> list[Stand]:
    camera = setting.camera
    share = rng.beta(*params.height_shape)
    scale = setting.far * (setting.near / setting.far) ** share
    x = (rng.uniform(-0.04, 1.04) * params.width - camera.center) / scale
    z = camera.depth(scale)
    yaw = rng.uniform(0, 2 * np.pi)
    abreast = rng.uniform(0, 2 * np.pi)
    stands: list[Stand] = []
    at = x, z
    for k in range(size):
        if k and rng.random() < params.tight:
            at = at[0] + rng.normal(0, params.tight_offset), at[1] + rng.uniform(0.15, 0.5)
        elif k:
            step = rng.uniform(0.45, 0.85)
            turn = abreast + rng.normal(0, 0.5)
            at = at[0] + step * np.cos(turn), at[1] + step * np.sin(turn)
        child = rng.random() < params.children
        stature = rng.uniform(1.0, 1.4) if child else np.clip(rng.normal(1.7, 0.085), 1.48, 2.0)
        here = camera.focal / max(at[1], 0.3)
        if not 0.92 * setting.far <= here <= 1.25 * setting.near:
            continue
        sitting = bool(rng.random() < params.sitting)
        if stature * here * (0.78 if sitting else 1) < 0.75 * params.min_height_px * params.unit:
            continue
        spot = Spot(camera.center + at[0] * here, camera.row(here), here)
        same = rng.random() < 0.65
        stands.append(
            Stand(
                spot,
                float(stature),
                float(yaw + rng.normal(0, 0.3) if same else rng.uniform(0, 2 * np.pi)),
                child,
                sitting,
                choose_pose(rng) if params.poses and rng.random() < params.poses else None,
            )
        )
    return stands


class _Cover:
    """The frontmost person in each cell of a coarse grid."""

    cell = 8

    def __init__(self, params: CrowdParams):
        self.params = params
        self.shape = (-(-params.height // self.cell), -(-params.width // self.cell))
        self.boxes: list[tuple] = []

    def _box(self, stand: Stand) -> tuple:
        tall = stand.stature * stand.spot.scale * stand.height
        x, y = stand.spot.x, stand.spot.y
        return (y, x - 0.13 * tall, y - tall, x + 0.13 * tall, y)

    def _grid(self, boxes) -> np.ndarray:
        front = np.full(self.shape, -1, np.int32)
        for k in sorted(range(len(boxes)), key=lambda k: boxes[k][0]):
            front[self._cells(boxes[k])] = k
        return front

    def _cells(self, box) -> tuple:
        x0, y0, x1, y1 = (int(round(v / self.cell)) for v in box[1:])
        return slice(max(0, y0), max(0, y1, y0 + 1)), slice(max(0, x0), max(0, x1, x0 + 1))

    def admits(self, stand: Stand) -> bool:
        """Return whether the person would be in the image and leave everybody a visible part."""
        params, new = self.params, self._box(stand)
        _, x0, y0, x1, y1 = new
        inside = max(0.0, min(x1, params.width) - max(x0, 0)) * max(
            0.0, min(y1, params.height) - max(y0, 0)
        )
        low = params.height + params.border * (y1 - y0)
        if inside < params.inside * (x1 - x0) * (y1 - y0) or y1 > low:
            return False
        boxes = [*self.boxes, new]
        seen = np.bincount(self._grid(boxes).ravel() + 1, minlength=len(boxes) + 1)[1:]
        for k, box in enumerate(boxes):
            rows, cols = self._cells(box)
            rows = range(*rows.indices(self.shape[0]))
            cols = range(*cols.indices(self.shape[1]))
            if seen[k] < 0.2 * max(1, len(rows) * len(cols)):
                return False
        return True

    def add(self, stand: Stand) -> None:
        """Add the person to the grid."""
        self.boxes.append(self._box(stand))
