"""Poses of people who neither stand nor walk, as joint angles in a table."""

from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """Angles in degrees, each drawn from a range.

    Args:
        thighs (tuple[Range, Range]): How far each thigh is raised forward; hanging is 0.
        knees (tuple[Range, Range]): How far each knee is bent.
        lean (Range): How far the upper body leans forward.
        roll (float): Standard deviation of the sideways lean.
        spread (Range): How far thighs point outward.
        arms (tuple[str]): Gestures to choose from, see ``people._ARMS``.
        weight (float): How often the pose is drawn, relative to the others.
        seat (str): 'chair', 'ground', or '' for feet that carry the body; 'bicycle' or 'animal'
            is ridden.

    Example:
        >>> POSES['crouch'].lean
        (5, 50)
    """

    thighs: tuple[Range, Range]
    knees: tuple[Range, Range]
    lean: Range = (-5, 12)
    roll: float = 4.0
    spread: Range = (0, 12)
    arms: tuple[str, ...] = ('hang', 'folded', 'looking', 'reaching', 'knees', 'calling')
    weight: float = 1.0
    seat: str = ''


_HANDS = ('reaching', 'reaching', 'pointing')
_RIDE = ((45, 85), (15, 55)), ((50, 95), (20, 70)), (8, 48)

POSES: dict[str, Pose] = {
    'sit': Pose(
        ((65, 100),) * 2, ((50, 105),) * 2, (-14, 28), 6, (0, 24), weight=2.6, seat='chair'
    ),
    'sit_low': Pose(
        ((70, 125),) * 2, ((0, 130),) * 2, (-20, 30), 7, (0, 40), weight=1.2, seat='ground'
    ),
    'crouch': Pose(((95, 140),) * 2, ((105, 150),) * 2, (5, 50), 6, (0, 30), weight=1.2),
    'kneel': Pose(((70, 100), (-12, 12)), ((80, 110), (85, 112)), (-5, 40), 5),
    'bend': Pose(
        ((0, 25),) * 2, ((0, 30),) * 2, (35, 95), 6, arms=('hang', *_HANDS, 'knees'), weight=1.4
    ),
    'lean': Pose(((-10, 20),) * 2, ((0, 20),) * 2, (-14, 22), 16, (0, 20)),
    'run': Pose(
        ((-35, 10), (25, 75)), ((20, 90), (15, 80)), (4, 28), 6, arms=('running', 'raised')
    ),
    'lunge': Pose(
        ((30, 75), (-35, -5)), ((20, 80), (0, 40)), (0, 40), 12, (5, 40), ('swing', *_HANDS), 1.0
    ),
    'legs_apart': Pose(
        ((0, 25),) * 2, ((0, 35),) * 2, (-5, 30), 9, (14, 40), ('raised', 'swing', 'akimbo')
    ),
    'cycle': Pose(*_RIDE, 4, (0, 8), ('handlebar',), 1.2, 'bicycle'),
    'ride': Pose(
        ((35, 75),) * 2,
        ((30, 80),) * 2,
        (-5, 25),
        5,
        (5, 25),
        ('handlebar', 'knees'),
        0.6,
        'animal',
    ),
}


def choose_pose(rng: np.random.Generator) -> str:
    """Choose the name of a pose by the weights of the table.

    Example:
        >>> choose_pose(np.random.default_rng(0)) in POSES
        True
    """
    weights = np.array([pose.weight for pose in POSES.values()])
    return list(POSES)[rng.choice(len(weights), p=weights / weights.sum())]
