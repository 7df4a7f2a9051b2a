"""Parameters of the crowd generator, and presets of them."""

from dataclasses import asdict, dataclass, replace

# Raise this whenever the same parameters would draw other images: it is part of what a data
# set records of itself, so that an older one beside it is not mistaken for the same.
GENERATOR_VERSION = 1
# Version of scenes that use any of the parameters in ``_VARIED``.
VARIED_VERSION = 2

# Mean people per image of the named densities; 22.6 is CrowdHuman's (arXiv 1805.00123, table 2).
DENSITIES: dict[str, float] = {'sparse': 8.0, 'default': 22.6, 'dense': 40.0}


# What a detector that is to work on real images learns from: everything varies, and far more
# than it does in the world.
_WIDE = dict(
    people=16.0,
    people_spread=0.8,
    min_height_px=38.0,
    max_height_px=(130.0, 560.0),
    height_shape=(1.7, 1.2),
    near_walls=(0.5, 2.5),
    margin=(0.12, 0.05),
    camera_heights=(0.62, 0.26, 0.12),
    clutter=(2, 14),
    jpeg_quality=(35, 96),
    figure_light=(0.4, 1.25),
    texture=0.75,
    backdrop=0.8,
    accessories=0.08,
    shade=0.45,
    night=0.07,
    rain=0.05,
    veil=0.15,
    colorfulness=(0.2, 1.15),
    defocus=0.2,
    motion_blur=0.12,
    sharpen=0.35,
    recompress=0.25,
)
PRESETS: dict[str, dict] = {
    'default': {},
    'wide': _WIDE,
    'varied': {
        **_WIDE,
        **dict(
            people=9.0,
            people_spread=1.0,
            min_height_px=34.0,
            max_height_px=(110.0, 640.0),
            height_shape=(1.6, 1.2),
            group_sizes=(0.3, 0.25, 0.2, 0.15, 0.1),
            tight=0.6,
            tight_offset=0.12,
            border=0.7,
            inside=0.25,
            margin=(0.06, 0.03),
            camera_heights=(0.75, 0.18, 0.07),
            clutter=(2, 12),
            backdrop=0.7,
            accessories=0.05,
            shade=0.35,
            night=0.05,
            rain=0.03,
            veil=0.12,
            defocus=0.25,
            motion_blur=0.08,
            sharpen=0.3,
            poses=0.55,
            close_ups=0.3,
            empty=0.15,
            objects=0.65,
            interiors=0.3,
            fronts=0.12,
        ),
    },
}

_VARIED = ('poses', 'close_ups', 'empty', 'objects', 'interiors', 'fronts', 'inside')


@dataclass(frozen=True)
class CrowdParams:
    """Parameters that decide how a scene looks, together with its seed.

    Lengths named ``*_px`` are pixels of an image of ``height`` 480; they grow with the image.

    Args:
        width (int): Width of the images.
        height (int): Height of the images.
        people (float): Mean number of people (without ignored ones) per image.
        people_spread (float): Standard deviation of that number, as a share of the mean.
        max_people (int): No image has more people than this.
        min_height_px (float): Body height of the farthest people that are annotated
            (children and people who sit may be a quarter smaller).
        max_height_px (tuple[float]): Each scene draws the height of its nearest people from here.
        height_shape (tuple[float]): Shape of the beta distribution that places a body height on
            the logarithmic scale between the scene's smallest and largest.
        group_sizes (tuple[float]): Weights of groups of 1, 2, 3, ... people.
        tight (float): Fraction of group members who stand close behind another one of the group;
            decides the pairs with IoU > 0.5.
        tight_offset (float): Spread in metres, sideways, of those.
        children (float): Fraction of children.
        sitting (float): Fraction of people who sit.
        border (float): How far, in body heights, feet may stand below the image.
        clutter (tuple[int]): Least and most number of objects that are no people.
        lookalikes (float): Fraction of the objects that are shaped roughly like people.
        far_crowd (float): Fraction of images with an ignored crowd too far away to annotate.
        fakes (float): Fraction of images with a person on a poster or a statue, ignored.
        drop_visible (float): People with a smaller visible share are not annotated at all.
        ignore_visible (float): People with a smaller visible share are annotated as ignored.
        jpeg_quality (tuple[int]): Range of the JPEG quality.
        margin (tuple[float]): What annotators leave around bodies, as shares of the width and the
            height of the exact box.
        camera_heights (tuple[float]): Weights of a camera at eye level, on a step, and high up.
        figure_light (tuple[float]): Range of the brightness of single people.
        texture (float): Strength of light, stains and grain on people and things; 0 to 1.
        backdrop (float): Fraction of scenes before a busy backdrop: shop fronts, glass, lettering.
        near_walls (tuple[float]): Range of pixels a metre at those walls, in those of the
            farthest people; above 1 some people stand inside the shops.
        accessories (float): Fraction of people behind a pram, a bicycle, luggage, a dog.
        shade (float): Fraction of images with the shadows of roofs and houses.
        night (float): Fraction of images at night.
        rain (float): Fraction of images in the rain.
        veil (float): Fraction of images of low contrast.
        colorfulness (tuple[float]): Range of the saturation of images.
        defocus (float): Fraction of images out of focus, or enlarged.
        motion_blur (float): Fraction of images from a moving camera.
        sharpen (float): Fraction of images that the camera sharpened.
        recompress (float): Fraction of images saved at a low quality before.
        poses (float): Fraction of people in one of ``poses.POSES``.
        close_ups (float): Fraction of images with a few people close to the camera, truncated.
        empty (float): Fraction of images without people.
        objects (float): Fraction of the clutter that is drawn from ``objects.OBJECTS``.
        interiors (float): Fraction of images forced indoors.
        fronts (float): Fraction of people behind furniture.
        inside (float): Fraction of a body's box that must lie inside the image.
    """

    width: int = 640
    height: int = 480
    people: float = DENSITIES['default']
    people_spread: float = 0.45
    max_people: int = 120
    min_height_px: float = 34.0
    max_height_px: tuple[float, float] = (120.0, 350.0)
    height_shape: tuple[float, float] = (1.7, 1.7)
    group_sizes: tuple[float, ...] = (0.28, 0.27, 0.17, 0.12, 0.08, 0.08)
    tight: float = 0.55
    tight_offset: float = 0.09
    children: float = 0.12
    sitting: float = 0.06
    border: float = 0.45
    clutter: tuple[int, int] = (4, 12)
    lookalikes: float = 0.6
    far_crowd: float = 0.3
    fakes: float = 0.15
    drop_visible: float = 0.05
    ignore_visible: float = 0.12
    jpeg_quality: tuple[int, int] = (70, 95)
    # None of what follows draws a random number, or changes a pixel, at its default.
    margin: tuple[float, float] = (0.0, 0.0)
    camera_heights: tuple[float, float, float] = (0.48, 0.36, 0.16)
    figure_light: tuple[float, float] = (0.85, 1.08)
    texture: float = 0.0
    backdrop: float = 0.0
    near_walls: tuple[float, float] = (0.4, 1.5)
    accessories: float = 0.0
    shade: float = 0.0
    night: float = 0.0
    rain: float = 0.0
    veil: float = 0.0
    colorfulness: tuple[float, float] = (1.0, 1.0)
    defocus: float = 0.0
    motion_blur: float = 0.0
    sharpen: float = 0.0
    recompress: float = 0.0
    poses: float = 0.0
    close_ups: float = 0.0
    empty: float = 0.0
    objects: float = 0.0
    interiors: float = 0.0
    fronts: float = 0.0
    inside: float = 0.4

    def __post_init__(self) -> None:
        for name in ('width', 'height'):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 96 <= value <= 8192:
                raise ValueError(f'{name} must be an integer from 96 to 8192, got {value!r}')
        if not 0 <= self.people <= self.max_people:
            raise ValueError(
                f'people must lie between 0 and max_people = {self.max_people}, got {self.people!r}'
            )
        for name in (
            'tight',
            'children',
            'sitting',
            'lookalikes',
            'far_crowd',
            'fakes',
            'drop_visible',
            'ignore_visible',
            'texture',
            'backdrop',
            'accessories',
            'shade',
            'night',
            'rain',
            'veil',
            'defocus',
            'motion_blur',
            'sharpen',
            'recompress',
            *_VARIED,
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} must be a share from 0 to 1, got {getattr(self, name)!r}')
        if len(self.camera_heights) != 3 or not (
            min(self.camera_heights) >= 0 and abs(sum(self.camera_heights) - 1) < 1e-6
        ):
            raise ValueError(
                f'camera_heights must be three weights with sum 1, got {self.camera_heights!r}'
            )
        if len(self.margin) != 2 or not all(0 <= share <= 1 for share in self.margin):
            raise ValueError(f'margin must be two shares from 0 to 1, got {self.margin!r}')
        for name in (
            'max_height_px',
            'clutter',
            'jpeg_quality',
            'figure_light',
            'near_walls',
            'colorfulness',
        ):
            low, high = getattr(self, name)
            if low > high or low < 0:
                raise ValueError(
                    f'{name} must be (low, high) with 0 <= low <= high, got {getattr(self, name)!r}'
                )
        if not 8 <= self.min_height_px < self.max_height_px[0]:
            raise ValueError(
                'min_height_px must be at least 8 and below max_height_px[0] = '
                f'{self.max_height_px[0]}, got {self.min_height_px!r}'
            )
        if self.drop_visible > self.ignore_visible:
            raise ValueError(
                f'drop_visible = {self.drop_visible} must not exceed ignore_visible = '
                f'{self.ignore_visible}'
            )

    @property
    def version(self) -> int:
        """Generator version that decides how these parameters are drawn."""
        default = type(self)
        varied = any(getattr(self, name) != getattr(default, name) for name in _VARIED)
        return VARIED_VERSION if varied else GENERATOR_VERSION

    @property
    def unit(self) -> float:
        """Pixels of this image for one pixel of an image 480 pixels high."""
        return self.height / 480

    def to_dict(self) -> dict:
        """Convert to plain JSON values, for the manifest of a data set."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def preset(cls, name: str, **changes) -> 'CrowdParams':
        """Return the parameters of a preset, with changes.

        Raises:
            ValueError: If there is no such preset, or a value is out of range.
        """
        if name not in PRESETS:
            raise ValueError(f'preset must be one of {", ".join(PRESETS)}, got {name!r}')
        return cls(**{**PRESETS[name], **changes})

    def with_density(self, density: str | float) -> 'CrowdParams':
        """Return the parameters with another density: a name or a mean number of people.

        Raises:
            ValueError: If ``density`` is neither.
        """
        if density in DENSITIES:
            people = DENSITIES[density]
        else:
            try:
                people = float(density)
            except (TypeError, ValueError):
                raise ValueError(
                    f'density must be one of {", ".join(DENSITIES)} or a number of '
                    f'people, got {density!r}'
                ) from None
        return replace(self, people=people)
