"""People: a posed skeleton, dressed, turned to any side, as a :class:`Figure` of height 1."""

from dataclasses import dataclass

import cv2
import numpy as np

from .figure import Figure, box, capsule, ellipse
from .poses import POSES, Pose

# Arm gestures in degrees: pitch (forward) and spread (outward) of upper arm, then of forearm.
_ARMS = {
    'hang': ((-8, 8), (4, 12), (2, 22), (0, 8)),
    'pocket': ((-18, -6), (14, 26), (12, 26), (-14, 0)),
    'folded': ((12, 26), (4, 12), (68, 88), (-72, -55)),
    'calling': ((20, 45), (18, 32), (148, 166), (-14, 0)),
    'looking': ((8, 24), (4, 14), (78, 115), (-30, -12)),
    'carrying': ((-4, 6), (4, 12), (0, 12), (0, 5)),
    'raised': ((145, 175), (8, 35), (155, 185), (0, 20)),
    'pointing': ((60, 95), (0, 45), (70, 100), (0, 45)),
    'akimbo': ((-16, 0), (36, 50), (0, 14), (-56, -40)),
    # Only in poses; the first nine keep their order for the weights below.
    'reaching': ((40, 80), (0, 25), (50, 100), (-20, 15)),
    'knees': ((20, 45), (4, 16), (40, 75), (-15, 5)),
    'handlebar': ((45, 75), (5, 18), (55, 90), (-10, 5)),
    'running': ((-50, 40), (6, 20), (50, 100), (-25, -5)),
    'swing': ((0, 120), (10, 60), (20, 140), (-40, 40)),
}
_ARM_WEIGHTS = (0.34, 0.13, 0.07, 0.06, 0.14, 0.12, 0.05, 0.03, 0.06)

_SKIN = (
    (185, 205, 238),
    (165, 190, 228),
    (140, 172, 218),
    (110, 146, 198),
    (82, 116, 168),
    (58, 86, 132),
    (42, 62, 98),
    (32, 46, 72),
)
_HAIR = (
    (22, 20, 20),
    (28, 30, 36),
    (32, 44, 64),
    (40, 62, 96),
    (70, 110, 152),
    (110, 160, 196),
    (150, 152, 154),
    (200, 200, 202),
    (34, 52, 120),
)
_MUTED = (
    (48, 40, 36),
    (80, 72, 66),
    (120, 118, 116),
    (190, 190, 188),
    (96, 70, 44),
    (60, 84, 110),
    (74, 96, 84),
    (140, 170, 190),
    (66, 58, 100),
    (30, 30, 32),
    (224, 224, 222),
    (120, 86, 60),
)
_TROUSERS = (
    (92, 62, 40),
    (120, 88, 62),
    (60, 42, 30),
    (36, 34, 34),
    (52, 52, 54),
    (84, 100, 116),
    (110, 130, 148),
    (140, 166, 186),
    (60, 76, 66),
    (150, 120, 96),
    (200, 202, 204),
)


@dataclass
class _Body:
    """Measures of a body as fractions of its height."""

    girth: float
    shoulder: float
    hip: float
    head: float
    female: bool
    child: bool


def _pick(rng: np.random.Generator, colors) -> np.ndarray:
    color = np.array(colors[rng.integers(len(colors))], dtype=float)
    return np.clip(color * rng.uniform(0.8, 1.2) + rng.normal(0, 7, 3), 6, 245)


def cloth_color(rng: np.random.Generator) -> np.ndarray:
    """Choose the BGR color of a garment: mostly muted, sometimes bright."""
    if rng.random() < 0.62:
        return _pick(rng, _MUTED)
    hue, saturation = rng.integers(0, 180), rng.integers(90, 235)
    value = rng.integers(70, 235)
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(float)


def _span(rng: np.random.Generator, low_high: tuple[float, float]) -> float:
    return np.deg2rad(rng.uniform(*low_high))


def _toward(pitch: float, spread: float, side: int) -> np.ndarray:
    """Return the unit vector of a hanging limb that is pitched forward and spread outward."""
    return np.array(
        [side * np.sin(spread), -np.cos(pitch) * np.cos(spread), np.sin(pitch) * np.cos(spread)]
    )


def _pose(
    rng: np.random.Generator, body: _Body, sitting: bool
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Draw joints in the body's axes (x sideways, y up, z forward), and each arm's gesture."""
    joints, doing = {}, {}
    walking = not sitting and rng.random() < 0.55
    phase = rng.uniform(0, 2 * np.pi)
    stride = rng.uniform(0.6, 1.15)
    hip_y = 0.3 if sitting else 0.52
    lean = np.deg2rad(rng.normal(3, 4) + (6 if walking else 0))
    sway = rng.normal(0, 0.012)
    for side, name in ((-1, 'l'), (1, 'r')):
        swing = np.sin(phase + (0 if side > 0 else np.pi))
        spread = _span(rng, (0, 9))
        if sitting:
            thigh, knee = _span(rng, (78, 95)), _span(rng, (75, 100))
            spread = _span(rng, (0, 22))
        elif walking:
            thigh = np.deg2rad(26 * stride * swing + 4)
            knee = np.deg2rad(6 + 44 * stride * max(0, np.cos(phase + (0 if side > 0 else np.pi))))
        else:
            thigh, knee = _span(rng, (-4, 10)), _span(rng, (0, 12))
        hip = np.array([side * body.hip * 0.62 + sway, hip_y, 0])
        joints['hip_' + name] = hip
        joints['knee_' + name] = hip + 0.245 * _toward(thigh, spread, side)
        joints['ankle_' + name] = joints['knee_' + name] + 0.235 * _toward(
            thigh - knee, spread * 0.4, side
        )
        joints['toe_' + name] = joints['ankle_' + name] + (side * 0.02, -0.035, 0.085)
    # Feet on the ground, whatever the legs do.
    drop = min(joints['ankle_l'][1], joints['ankle_r'][1]) - 0.04
    for joint in joints.values():
        joint[1] -= drop
    hip_y -= drop
    up = np.array([0, np.cos(lean), np.sin(lean)])
    side_way = np.array([1, 0, 0])
    base = np.array([sway, hip_y, 0])
    joints['base'], joints['up'] = base, up
    joints['neck'] = base + 0.315 * up
    joints['head'] = base + (0.335 + 0.068 * body.head) * up + (0, 0, 0.012)
    gestures = list(_ARMS)[: len(_ARM_WEIGHTS)]
    both = rng.random() < 0.6
    chosen = gestures[rng.choice(len(gestures), p=_ARM_WEIGHTS)]
    for side, name in ((-1, 'l'), (1, 'r')):
        if not both and side == 1:
            chosen = gestures[rng.choice(len(gestures), p=_ARM_WEIGHTS)]
        if walking and chosen == 'hang':
            swing = -np.sin(phase + (0 if side > 0 else np.pi))
            pitch, spread = np.deg2rad(28 * stride * swing), _span(rng, (4, 12))
            fore, inward = pitch + _span(rng, (8, 45)), spread * 0.5
        else:
            pitch, spread, fore, inward = (_span(rng, r) for r in _ARMS[chosen])
        shoulder = base + 0.285 * up + side_way * side * body.shoulder
        joints['shoulder_' + name] = shoulder
        joints['elbow_' + name] = shoulder + 0.165 * _toward(pitch, spread, side)
        joints['wrist_' + name] = joints['elbow_' + name] + 0.145 * _toward(fore, inward, side)
        joints['hand_' + name] = joints['wrist_' + name] + 0.035 * _toward(fore, inward, side)
        doing[name] = chosen
    return joints, doing


def _pose_joints(
    rng: np.random.Generator, body: _Body, pose: Pose
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Draw joints of a pose of the table, in the axes of ``_pose``, and each arm's gesture."""
    joints, doing = {}, {}
    lean, roll = _span(rng, pose.lean), np.deg2rad(rng.normal(0, pose.roll))
    order = (0, 1) if rng.random() < 0.5 else (1, 0)
    for side, name, k in ((-1, 'l', order[0]), (1, 'r', order[1])):
        thigh, spread = _span(rng, pose.thighs[k]), _span(rng, pose.spread)
        shin = thigh - _span(rng, pose.knees[k])
        hip = np.array([side * body.hip * 0.62, 0.0, 0.0])
        knee = hip + 0.245 * _toward(thigh, spread, side)
        ankle = knee + 0.235 * _toward(shin, spread * 0.4, side)
        foot = np.array([side * 0.02, -0.035 * np.cos(shin), 0.085])
        joints |= {f'hip_{name}': hip, f'knee_{name}': knee, f'ankle_{name}': ankle}
        joints['toe_' + name] = ankle + foot
    ground = min(joints[f'ankle_{name}'][1] for name in 'lr') - 0.04
    ground = min([ground, *(joints[f'knee_{name}'][1] - 0.05 for name in 'lr')])
    if pose.seat == 'ground':
        ground = min(ground, -0.07)
    elif pose.seat == 'bicycle':
        ground = -0.54
    elif pose.seat == 'animal':
        ground = -0.72
    for joint in joints.values():
        joint[1] -= ground
    base = np.array([0.0, -ground, 0.0])
    up = np.array([np.sin(roll), np.cos(lean) * np.cos(roll), np.sin(lean) * np.cos(roll)])
    nod = rng.uniform(0.0, 0.7)  # the head stays upright while the trunk leans
    gaze = up * (1 - nod) + np.array([0, nod, 0])
    joints |= {'base': base, 'up': up, 'neck': base + 0.315 * up}
    joints['head'] = base + 0.325 * up + (0.01 + 0.068 * body.head) * gaze + (0, 0, 0.012)
    chosen = pose.arms[rng.integers(len(pose.arms))]
    for side, name in ((-1, 'l'), (1, 'r')):
        if side == 1 and rng.random() < 0.4:
            chosen = pose.arms[rng.integers(len(pose.arms))]
        pitch, spread, fore, inward = (_span(rng, r) for r in _ARMS[chosen])
        shoulder = base + 0.285 * up + np.array([side * body.shoulder, 0, 0])
        elbow = shoulder + 0.165 * _toward(pitch, spread, side)
        wrist = elbow + 0.145 * _toward(fore, inward, side)
        joints |= {f'shoulder_{name}': shoulder, f'elbow_{name}': elbow, f'wrist_{name}': wrist}
        joints['hand_' + name] = wrist + 0.035 * _toward(fore, inward, side)
        doing[name] = chosen
    return joints, doing


class _View:
    """Turns points of the body into the image: a turn about the upright axis, then a tilt."""

    def __init__(self, yaw: float, tilt: float):
        self.cos, self.sin = np.cos(yaw), np.sin(yaw)
        self.up, self.down = np.cos(tilt), np.sin(tilt)

    def __call__(self, point: np.ndarray) -> np.ndarray:
        x = point[0] * self.cos + point[2] * self.sin
        return np.array([x, point[1] * self.up - self.depth(point) * self.down])

    def depth(self, point: np.ndarray) -> float:
        """Return by how much a point is nearer than the body's axis."""
        return point[2] * self.cos - point[0] * self.sin

    def half_width(self, wide: float, deep: float) -> float:
        """Return half the visible width of an ellipse around the body's axis."""
        return float(np.hypot(wide * self.cos, deep * self.sin))


@dataclass
class Person:
    """A figure with its boxes.

    Args:
        figure (Figure): Drawn at a scale of pixels a body height.
        fbox (tuple[float]): x0, y0, x1, y1 of the body, in body heights, y up.
        hbox (tuple[float]): The same of the head.
    """

    figure: Figure
    fbox: tuple[float, float, float, float]
    hbox: tuple[float, float, float, float]


def make_person(
    rng: np.random.Generator,
    yaw: float,
    tilt: float = 0.0,
    light: float = 0.0,
    child: bool = False,
    sitting: bool = False,
    umbrella: bool = False,
    pose: str | None = None,
    mount: Figure | None = None,
) -> Person:
    """Draw a dressed person in a pose.

    Args:
        rng (np.random.Generator): Decides everything else.
        yaw (float): 0 faces the viewer, pi turns the back; radians.
        tilt (float): How far the camera looks down on the person; radians.
        light (float): Where light comes from, -1 (left) to 1 (right).
        child (bool): Proportions of a child.
        sitting (bool): Sits on a seat.
        umbrella (bool): Holds an umbrella.
        pose (str, optional): A name in ``POSES``; replaces standing, walking and sitting.
        mount (Figure, optional): What the person rides, in metres, looking to the right.

    Example:
        >>> person = make_person(np.random.default_rng(0), yaw=0.0, pose='crouch')
        >>> bool(person.fbox[3] < 0.85)
        True
    """
    female = rng.random() < 0.5
    body = _Body(
        girth=float(np.clip(rng.normal(1.02, 0.16), 0.78, 1.6)),
        shoulder=(0.095 if female else 0.11) * (0.9 if child else 1) * rng.uniform(0.94, 1.08),
        hip=(0.085 if female else 0.078) * rng.uniform(0.95, 1.1),
        head=rng.uniform(1.3, 1.5) if child else rng.uniform(0.94, 1.06),
        female=female,
        child=child,
    )
    posed = POSES[pose] if pose else None
    joints, doing = _pose_joints(rng, body, posed) if posed else _pose(rng, body, sitting)
    seat = posed.seat if posed else 'chair' if sitting else ''
    if umbrella:
        joints['elbow_r'] = joints['shoulder_r'] + 0.15 * _toward(0.3, 0.2, 1)
        joints['wrist_r'] = joints['elbow_r'] + 0.13 * _toward(2.3, -0.1, 1)
        joints['hand_r'] = joints['wrist_r'] + 0.03 * _toward(2.4, 0, 1)
        doing['r'] = 'umbrella'
    figure = Figure(light)
    view = _View(yaw, tilt)
    if mount is not None:  # in metres, and looks to the right
        figure.paste(mount, np.array([-1.0 if view.sin < 0 else 1.0, 1.0]) / 1.7, (0, 0))
    lap = posed is not None and view.cos > 0.2 and joints['knee_l'][2] + joints['knee_r'][2] > 0.2
    _ClothedBody(rng, figure, view, body, joints, doing, seat == 'chair', lap).dress()
    return Person(figure, figure.bounds('body', 'head'), figure.bounds('head'))


class _ClothedBody:
    """Puts skin, clothes, hair and bags on a posed body, far parts first."""

    def __init__(
        self, rng, figure: Figure, view: _View, body: _Body, joints, doing, sitting: bool, lap=False
    ):
        self.rng, self.fig, self.view, self.body = rng, figure, view, body
        self.joints, self.doing, self.sitting = joints, doing, sitting
        self.p = {k: view(v) for k, v in joints.items() if k != 'up'}
        self.lap = lap  # thighs lie in front of the trunk
        self.skin = figure.material(_pick(rng, _SKIN))
        self.hair_color = _pick(rng, _HAIR)
        self.hair = figure.material(self.hair_color)
        self.top = figure.material(cloth_color(rng), cloth=True)
        self.low = figure.material(
            _pick(rng, _TROUSERS) if rng.random() < 0.8 else cloth_color(rng), cloth=True
        )
        self.shoe = figure.material(_pick(rng, _MUTED) if rng.random() < 0.7 else cloth_color(rng))
        self.bag = figure.material(cloth_color(rng))
        self.dark = figure.material((30, 28, 30))
        kind = rng.random()
        if kind < 0.4:
            figure.pattern(
                self.top,
                ('stripes', 'columns', 'checks', 'dots', 'blocks')[rng.integers(5)],
                cloth_color(rng),
                rng.uniform(0.025, 0.075),
            )
        self.sleeves = rng.choice(['long', 'short', 'none'], p=(0.62, 0.3, 0.08))
        self.coat = self.sleeves == 'long' and rng.random() < 0.24
        self.open_jacket = self.sleeves == 'long' and rng.random() < 0.4
        lower = ['trousers', 'shorts', 'skirt', 'dress']
        weights = (0.58, 0.12, 0.16, 0.14) if body.female else (0.84, 0.16, 0, 0)
        self.lower = lower[rng.choice(4, p=weights)]
        self.width = rng.uniform(0.86, 1.22)  # of trousers and sleeves
        self.facing = view.cos  # 1 toward the viewer, -1 away

    def dress(self) -> None:
        """Paint everything, from the far side to the near."""
        rng, view, joints = self.rng, self.view, self.joints
        bag = rng.choice(
            ['none', 'backpack', 'shoulder', 'hand', 'case'], p=(0.46, 0.2, 0.16, 0.13, 0.05)
        )
        long_hair = rng.random() < (0.55 if self.body.female else 0.06)
        side = 1 if view.depth(joints['shoulder_r']) > view.depth(joints['shoulder_l']) else -1
        far, near = ('l', 'r') if side > 0 else ('r', 'l')
        if self.sitting:
            self._seat()
        if bag == 'case':
            self._suitcase(far)
        if bag == 'backpack' and self.facing > -0.2:
            self._backpack()
        if long_hair and self.facing > -0.3:
            self._long_hair()
        in_front = {
            s: (
                view.depth(joints['wrist_' + s]) + view.depth(joints['elbow_' + s])
                > 0.02 * (1 if s == near else 3)
            )
            for s in 'lr'
        }
        if self.doing['r'] == 'umbrella':
            in_front['r'] = True
        for s in (far, near):
            if not in_front[s]:
                self._arm(s)
        if self.lap:
            self._torso()
            self._legs(far, near)
        else:
            self._legs(far, near)
            self._torso()
        if bag == 'shoulder':
            self._shoulder_bag()
        if bag == 'backpack' and self.facing <= -0.2:
            self._backpack()
        elif bag == 'backpack':
            self._straps()
        self._head(long_hair)
        if long_hair and self.facing <= -0.3:
            self._long_hair()
        for s in (far, near):
            if in_front[s]:
                self._arm(s)
        if bag == 'hand':
            self._hand_bag(near if rng.random() < 0.7 else far)
        if self.doing['r'] == 'umbrella':
            self._umbrella()

    def _legs(self, far: str, near: str) -> None:
        fig, p, girth = self.fig, self.p, 0.7 + 0.3 * self.body.girth
        wide = self.width if self.lower == 'trousers' else 1.0
        bare = self.lower in ('skirt', 'dress', 'shorts')
        leg = self.skin if bare and self.rng.random() < 0.8 else self.low
        near_first = (
            self.view.depth(self.joints['knee_' + far])
            > self.view.depth(self.joints['knee_' + near]) + 0.03
        )
        for s in (near, far) if near_first else (far, near):
            tone = -14 if s == far else 0
            hip, knee, ankle, toe = (p[j + s] for j in ('hip_', 'knee_', 'ankle_', 'toe_'))
            heel = ankle + (ankle - toe) * 0.28 + (0, -0.012)
            fig.limb(heel, toe, 0.021, 0.016, self.shoe, 'body', tone)
            shin = leg if self.lower != 'trousers' else self.low
            r = (0.042 * wide * girth, 0.032 * wide) if shin == self.low else (0.037 * girth, 0.022)
            fig.limb(knee, ankle, *r, shin, 'body', tone)
            thigh = self.low if self.lower in ('trousers', 'shorts') else leg
            fig.limb(
                hip, knee, 0.062 * girth * (0.6 + 0.4 * wide), 0.046 * girth, thigh, 'body', tone
            )
            if self.lower == 'shorts':
                end = knee * 0.8 + hip * 0.2
                fig.limb(hip, end, 0.066 * girth, 0.062 * girth, self.low, 'body', tone)
        if self.lower in ('skirt', 'dress') or self.coat:
            self._skirt()

    def _skirt(self) -> None:
        """Draw a skirt, dress or coat over both legs."""
        p, girth, rng = self.p, self.body.girth, self.rng
        material = self.low if self.lower == 'skirt' and not self.coat else self.top
        fall = rng.uniform(0.35, 1.0) if not self.coat else rng.uniform(0.25, 0.85)
        waist = p['base'] + (0, 0.07)
        half = self.view.half_width(0.082 * girth, 0.064 * girth)
        ends = [p['hip_' + s] * (1 - fall) + p['knee_' + s] * fall for s in 'lr']
        flare = rng.uniform(0.028, 0.062) * (0.8 + 0.4 * fall)
        low = min(e[1] for e in ends) - 0.02
        left = min(e[0] for e in ends) - 0.04 - flare * 0.7
        right = max(e[0] for e in ends) + 0.04 + flare * 0.7
        hips = self.view.half_width(0.1 * girth, 0.08 * girth)
        outline = np.array(
            [
                [waist[0] - half, waist[1]],
                [waist[0] + half, waist[1]],
                [max(p['base'][0] + hips, right - 0.06), p['base'][1] - 0.02],
                [right, low],
                [(left + right) / 2, low - 0.012],
                [left, low],
                [min(p['base'][0] - hips, left + 0.06), p['base'][1] - 0.02],
            ]
        )
        self.fig.slab(outline, material, 'body', -4)

    def _torso(self) -> None:
        fig, view, body, rng = self.fig, self.view, self.body, self.rng
        base, up, g = self.joints['base'], self.joints['up'], body.girth
        s = body.shoulder
        waist = 0.066 if body.female else 0.078
        levels = (  # height above the hips, half width, half depth, shift forward
            (-0.035, body.hip * 1.12 * (0.5 + g / 2), 0.068 * g, 0.0),
            (0.03, body.hip * 1.08 * (0.5 + g / 2), 0.068 * g, 0.004),
            (0.10, waist * g, 0.056 * g * g, 0.012 * g),
            (0.19, s * 0.84 * (0.6 + 0.4 * g), 0.066 * g, 0.012 if body.female else 0.004),
            (0.26, s * 1.0, 0.062 * (0.5 + g / 2), 0.0),
            (0.295, s * 0.92, 0.05, -0.004),
            (0.318, 0.042, 0.036, 0.0),
        )
        left, right = [], []
        for height, wide, deep, forward in levels:
            center = view(base + up * height + np.array([0, 0, forward]))
            half = view.half_width(wide + 0.004, deep + 0.004)
            left.append(center + (-half, 0))
            right.append(center + (half, 0))
        outline = np.array(left + right[::-1])
        fig.slab(outline, self.top, 'body')
        fig.limb(
            self.p['neck'] - (0, 0.02),
            self.p['head'] - (0, 0.03),
            0.03 * (0.6 + 0.4 * g),
            0.027,
            self.skin,
            'body',
            -18,
        )
        if self.facing > 0.25:
            self._front(levels)
        if self.lower != 'dress' and not self.coat and rng.random() < 0.35:
            hem = np.array([left[0], right[0], right[1], left[1]])
            fig.add(hem, self.low, 96, 'body')

    def _front(self, levels) -> None:
        """Draw collar, open jacket and tie, which only the front shows."""
        fig, rng, view = self.fig, self.rng, self.view
        base, up = self.joints['base'], self.joints['up']

        def at(x, height, forward=0.06):
            return view(base + up * height + np.array([x, 0, forward]))

        if self.open_jacket:
            inner = fig.material(cloth_color(rng), cloth=True)
            gap = rng.uniform(0.012, 0.045)
            panel = np.array(
                [
                    at(-gap * 1.2, -0.03),
                    at(gap * 1.2, -0.03),
                    at(gap, 0.15),
                    at(0.035, 0.31, 0.02),
                    at(-0.035, 0.31, 0.02),
                    at(-gap, 0.15),
                ]
            )
            fig.add(panel, inner, 124)
            if rng.random() < 0.3:
                tie = fig.material(cloth_color(rng))
                fig.add(
                    np.array(
                        [
                            at(-0.012, 0.3, 0.03),
                            at(0.012, 0.3, 0.03),
                            at(0.014, 0.08),
                            at(0, 0.05),
                            at(-0.014, 0.08),
                        ]
                    ),
                    tie,
                    120,
                )
        else:
            fig.add(
                np.array(
                    [
                        at(-0.034, 0.315, 0.02),
                        at(0.034, 0.315, 0.02),
                        at(0, rng.uniform(0.24, 0.3), 0.05),
                    ]
                ),
                self.skin,
                112,
            )
            if rng.random() < 0.3:
                logo = fig.material(cloth_color(rng))
                corners = ((-0.04, 0.15), (0.04, 0.15), (0.04, 0.22), (-0.04, 0.22))
                fig.add(np.array([at(*c) for c in corners]), logo, 122)

    def _arm(self, s: str) -> None:
        fig, p, girth = self.fig, self.p, 0.65 + 0.35 * self.body.girth
        shoulder, elbow, wrist, hand = (
            p[joint + s] for joint in ('shoulder_', 'elbow_', 'wrist_', 'hand_')
        )
        shoulder = shoulder + (p['neck'] - shoulder) * 0.14
        tone = -10 if self.view.depth(self.joints['shoulder_' + s]) < 0 else 2
        w = 0.7 + 0.3 * self.width
        fig.ball(hand, 0.02, 0.024, self.skin, 'body', tone)
        if self.sleeves == 'long':
            fig.limb(elbow, wrist, 0.029 * girth * w, 0.024 * w, self.top, 'body', tone)
            fig.limb(shoulder, elbow, 0.037 * girth * w, 0.031 * girth * w, self.top, 'body', tone)
            return
        fig.limb(elbow, wrist, 0.023 * girth, 0.017, self.skin, 'body', tone)
        fig.limb(shoulder, elbow, 0.03 * girth, 0.024 * girth, self.skin, 'body', tone)
        if self.sleeves == 'short':
            end = shoulder * 0.35 + elbow * 0.65
            fig.limb(shoulder, end, 0.038 * girth * w, 0.037 * girth * w, self.top, 'body', tone)
        if self.doing[s] in ('calling', 'looking'):
            fig.add(capsule(hand - (0.006, 0.02), hand + (0.006, 0.025), 0.008, 0.008), self.dark)

    def _head(self, long_hair: bool) -> None:
        fig, view, rng, k = self.fig, self.view, self.rng, self.body.head
        center = self.p['head']
        rx, ry = 0.052 * k, 0.068 * k
        half = view.half_width(0.048 * k, 0.058 * k)
        side = view.sin  # where the face looks, -1 left to 1 right
        style = rng.choice(
            ['hair', 'bald', 'cap', 'beanie', 'brim', 'scarf', 'hood', 'afro'],
            p=(0.66, 0.05, 0.09, 0.06, 0.04, 0.04, 0.03, 0.03),
        )
        cover = fig.material(cloth_color(rng), cloth=True)
        fig.ball(center, half, ry, self.skin, 'head')
        behind = self.facing < -0.35
        if style == 'scarf':
            fig.slab(
                np.array(
                    [
                        self.p['neck'] + o
                        for o in ((-0.085, -0.05), (0.085, -0.05), (0.055, 0.05), (-0.055, 0.05))
                    ]
                ),
                cover,
                'body',
            )
            fig.ball(center, half * 1.16, ry * 1.1, cover, 'head')
        elif style == 'hood':
            fig.ball(center, half * 1.18, ry * 1.12, self.top, 'head')
        elif style == 'afro':
            fig.ball(center + (0, 0.012), half * 1.4, ry * 1.2, self.hair, 'head')
        elif style != 'bald':
            fig.ball(center + (0, 0.006), half * 1.07, ry * 1.06, self.hair, 'head')
        if not behind and style != 'bald':
            narrow = 0.62 + 0.3 * max(0.0, self.facing)
            face = center + (side * half * 0.3, -ry * rng.uniform(0.13, 0.24))
            fig.ball(face, half * narrow, ry * 0.84, self.skin, 'head', 4)
        if not behind:
            self._face(center, half, ry, side, style)
        if style in ('cap', 'beanie'):
            angles = np.linspace(0, np.pi, 12)
            dome = np.stack([np.cos(angles) * half * 1.12, np.sin(angles) * ry * 0.98], 1)
            fig.add(dome + center + (0, ry * 0.18), cover, 110, 'head')
            fig.add(dome * 0.6 + center + (0.2 * half * fig.light, ry * 0.35), None, 138)
            if style == 'cap' and not behind:
                tip = center + (side * half * 1.9, ry * 0.2 - max(0, self.facing) * ry * 0.16)
                fig.add(
                    capsule(center + (side * half * 0.4, ry * 0.26), tip, 0.4 * half, 0.18 * half),
                    cover,
                    92,
                    'head',
                )
        elif style == 'brim':
            fig.add(ellipse(center + (0, ry * 0.4), rx * 2.0, ry * 0.32), cover, 100, 'head')
            fig.ball(center + (0, ry * 0.68), half * 1.05, ry * 0.5, cover, 'head')
        elif style == 'hair' and not long_hair and self.body.female and rng.random() < 0.5:
            back = center + (-side * half * 0.95, ry * rng.uniform(0.1, 0.7))
            if rng.random() < 0.5:
                fig.ball(back, 0.026 * k, 0.026 * k, self.hair, 'head')
            elif abs(side) > 0.3 or behind:
                tail = back + (-side * 0.03, -0.11)
                fig.limb(back, tail, 0.017, 0.011, self.hair, 'body')

    def _face(self, center, half, ry, side, style) -> None:
        fig, rng = self.fig, self.rng
        white = fig.material((225, 225, 228))
        turn = side * half * 0.45
        spread = half * 0.36 * max(0.25, self.facing)
        if self.facing > -0.1:
            for sign in (-1, 1) if self.facing > 0.35 else (np.sign(side),):
                eye = center + (turn + sign * spread, -ry * 0.02)
                fig.add(ellipse(eye, half * 0.17, ry * 0.07), None, 84)
                fig.add(ellipse(eye, half * 0.09, ry * 0.05), self.dark)
            fig.add(
                capsule(
                    center + (turn * 1.25, -ry * 0.1),
                    center + (turn * 1.35, -ry * 0.3),
                    half * 0.07,
                    half * 0.12,
                ),
                None,
                104,
            )
            lip = fig.material((88, 84, 158))
            fig.add(
                ellipse(
                    center + (turn, -ry * 0.55), half * 0.26 * max(0.4, self.facing), ry * 0.05
                ),
                lip,
                110,
            )
        look = rng.random()
        if look < 0.1:
            fig.add(ellipse(center + (turn * 0.8, -ry * 0.5), half * 0.62, ry * 0.36), white, 116)
        elif look < 0.26 and not self.body.female and not self.body.child:
            angles = np.linspace(np.pi, 2 * np.pi, 12)
            beard = np.stack([np.cos(angles) * half * 0.8, np.sin(angles) * ry * 0.62], 1)
            fig.add(beard + center + (turn * 0.5, -ry * 0.36), self.hair, 116)
        elif look < 0.4:
            for sign in (-1, 1):
                fig.add(
                    ellipse(
                        center + (turn + sign * spread * 1.1, -ry * 0.03), half * 0.3, ry * 0.14
                    ),
                    self.dark,
                    120,
                )

    def _long_hair(self) -> None:
        center, k = self.p['head'], self.body.head
        half = self.view.half_width(0.054 * k, 0.05 * k)
        x = center[0] - self.view.sin * 0.024
        low = center[1] - self.rng.uniform(0.09, 0.2)
        outline = np.array(
            [
                [x - half, center[1] + 0.03],
                [x - half * 0.6, center[1] + 0.06],
                [x + half * 0.6, center[1] + 0.06],
                [x + half, center[1] + 0.03],
                [x + half * 1.16, low + 0.03],
                [x + half * 0.7, low],
                [x - half * 0.7, low],
                [x - half * 1.16, low + 0.03],
            ]
        )
        self.fig.slab(outline, self.hair, 'body')

    def _backpack(self) -> None:
        view, base, up = self.view, self.joints['base'], self.joints['up']
        rng = self.rng
        center = view(base + up * 0.19 + np.array([0, 0, -0.1]))
        half = view.half_width(0.085, 0.055)
        tall = rng.uniform(0.09, 0.13)
        outline = box(center[0] - half, center[1] - tall, center[0] + half, center[1] + tall)
        outline = np.concatenate([outline, [[center[0] - half * 1.05, center[1]]]])
        self.fig.slab(outline, self.bag)
        self.fig.add(
            box(
                center[0] - half * 0.7,
                center[1] - tall * 0.8,
                center[0] + half * 0.7,
                center[1] - tall * 0.1,
            ),
            None,
            104,
        )

    def _straps(self) -> None:
        if self.facing < 0.2:
            return
        base, up = self.joints['base'], self.joints['up']
        for sign in (-1, 1):
            a = self.view(base + up * 0.3 + np.array([sign * 0.055, 0, 0.03]))
            b = self.view(base + up * 0.13 + np.array([sign * 0.07, 0, 0.05]))
            self.fig.add(capsule(a, b, 0.011, 0.011), self.bag, 110)

    def _shoulder_bag(self) -> None:
        base, up, view = self.joints['base'], self.joints['up'], self.view
        sign = 1 if self.rng.random() < 0.5 else -1
        a = view(base + up * 0.295 - np.array([sign * 0.06, 0, 0]))
        b = view(base + up * 0.0 + np.array([sign * (self.body.hip + 0.02), 0, 0.0]))
        self.fig.add(capsule(a, b, 0.008, 0.008), self.bag, 100)
        w, h = self.rng.uniform(0.035, 0.07), self.rng.uniform(0.03, 0.055)
        self.fig.slab(box(b[0] - w, b[1] - h * 1.6, b[0] + w, b[1] + h * 0.4), self.bag)

    def _hand_bag(self, s: str) -> None:
        hand = self.p['hand_' + s]
        if hand[1] > 0.62:
            return
        w, h = self.rng.uniform(0.035, 0.075), self.rng.uniform(0.06, 0.14)
        top = hand[1] - 0.035
        for sign in (-1, 1):
            self.fig.add(capsule(hand, (hand[0] + sign * w * 0.6, top), 0.004, 0.004), self.bag, 90)
        low = max(top - h, 0.03)
        self.fig.slab(
            np.array(
                [
                    [hand[0] - w * 1.1, low],
                    [hand[0] + w * 1.1, low],
                    [hand[0] + w, top],
                    [hand[0] - w, top],
                ]
            ),
            self.bag,
        )

    def _suitcase(self, s: str) -> None:
        x = self.p['hand_' + s][0] + (0.05 if s == 'r' else -0.05) * (1 if self.facing > 0 else -1)
        w, h = self.rng.uniform(0.07, 0.1), self.rng.uniform(0.24, 0.34)
        self.fig.add(capsule((x, h), self.p['hand_' + s], 0.006, 0.006), self.dark)
        self.fig.slab(box(x - w, 0.02, x + w, h), self.bag)
        for k in (-0.6, 0, 0.6):
            self.fig.add(box(x + w * k - 0.004, 0.03, x + w * k + 0.004, h - 0.01), None, 92)

    def _seat(self) -> None:
        fig, rng = self.fig, self.rng
        seat = fig.material(_pick(rng, _MUTED))
        x, y = self.p['base'][0], self.p['base'][1] - 0.06
        half = self.view.half_width(0.14, 0.13)
        for sign in (-1, 1):
            fig.limb((x + sign * half * 0.9, y), (x + sign * half * 0.95, 0.0), 0.01, 0.01, seat)
        fig.slab(box(x - half, y - 0.03, x + half, y + 0.01), seat)
        if rng.random() < 0.6:
            back = x - self.view.sin * 0.13
            wide = self.view.half_width(0.14, 0.02)
            fig.slab(box(back - wide, y, back + wide, y + 0.26), seat)

    def _umbrella(self) -> None:
        fig, rng = self.fig, self.rng
        hand = self.p['hand_r']
        canopy = fig.material(cloth_color(rng))
        top = max(self.p['head'][1] + rng.uniform(0.16, 0.24), hand[1] + 0.2)
        wide = rng.uniform(0.24, 0.33)
        x = (hand[0] + self.p['head'][0]) / 2
        fig.limb(hand - (0, 0.03), (x, top), 0.005, 0.005, self.dark)
        angles = np.linspace(0, np.pi, 14)
        dome = np.stack([x + wide * np.cos(angles), top - 0.06 + 0.13 * np.sin(angles)], 1)
        fig.add(dome, canopy, 106)
        for k in range(5):
            a, b = np.cos(np.linspace(0, np.pi, 6))[[k, k + 1]]
            fig.add(
                np.array([[x, top + 0.07], [x + wide * a, top - 0.06], [x + wide * b, top - 0.06]]),
                None,
                int(96 + 22 * (k % 2) + 14 * (1 if (2 - k) * -fig.light > 0 else 0)),
            )
