"""Predictor: images and frames in, detections out, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from ..models import UnsuitableModelError
from ..runtime import BrokenImageError, Detections, read_image
from ..runtime.detector import PreparedImage
from ..runtime.images import is_pil_image, to_bgr
from .loading import load_detector
from .prefetch import prefetch
from .tiles import Tiles, View

if TYPE_CHECKING:
    from mmengine.config import Config

#: For models without a score threshold chosen on a validation set.
DEFAULT_THRESHOLD = 0.3


@dataclass(frozen=True)
class Frame:
    """An image, or a frame of a video.

    Attributes:
        source (str): Path, address or name.
        image (np.ndarray | PIL.Image.Image, optional): None to read it from ``source``.
        index (int, optional): Index of the frame in its video.
        time (float, optional): Time of the frame in its video, in seconds.
        error (str, optional): Why it cannot be read.

    Example:
        >>> Frame('street.mp4', np.zeros((4, 6, 3), np.uint8), index=25, time=1.0).index
        25
    """

    source: str
    image: object = None
    index: int | None = None
    time: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Result:
    """A frame with its detections.

    Attributes:
        frame (Frame): With its image as BGR array.
        detections (Detections, optional): None if the frame failed; ``frame.error`` says why.
    """

    frame: Frame
    detections: Detections | None


class Predictor:
    """Detects people (or the other classes of the model) in images and frames.

    Images of the same size share a batch, and an image has the same detections in every batch.
    Other threads read and resize the next images while the model is busy.

    Args:
        model (str | PathLike | Config): A config, with ``weights``; a published checkpoint; an
            exported file, which needs neither torch nor mmdet; the name of a shipped model; or a
            loaded detector.
        weights (str | PathLike, optional): Checkpoint for a config.
        threshold (float | str, optional): Score threshold. 'auto' is the one chosen on the
            validation set, which the model must have. Defaults to that if there is one, else 0.3.
        device (str): Device of torch. Defaults to 'auto', a GPU if there is one.
        batch_size (int): Images per batch. Defaults to 1, which is fastest on CPUs.
        workers (int): Threads that read and resize images. Defaults to 2.
        tiles (Tiles, optional): How to tile large images. Defaults to no tiling.
        cfg_options (dict, optional): Settings of the config to override.
        backend (str): 'onnxruntime', 'openvino' or 'auto', for exported files.
        threads (int, optional): Compute threads; torch has one number for the whole process.
            Defaults to the backend's choice.

    Attributes:
        classes (tuple[str]): Class names.
        threshold (float): Score threshold.

    Raises:
        FileNotFoundError: A named file does not exist.
        ValueError: An argument is invalid; the message says what was expected.

    Example::

        predictor = Predictor('lla-s')
        found = predictor('photo.jpg')
        found.boxes, found.scores
    """

    def __init__(
        self,
        model: str | PathLike | Config,
        weights: str | PathLike | None = None,
        *,
        threshold: float | str | None = None,
        device: str = 'auto',
        batch_size: int = 1,
        workers: int = 2,
        tiles: Tiles | None = None,
        cfg_options: dict | None = None,
        backend: str = 'auto',
        threads: int | None = None,
    ) -> None:
        for name, value in (('batch_size', batch_size), ('workers', workers)):
            if value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        if threshold is not None:
            threshold = parse_threshold(threshold)
        self.detector = load_detector(model, weights, device, cfg_options, backend, threads)
        if threshold in (None, 'auto'):
            found = self.detector.threshold
            if found is None and threshold == 'auto':
                raise ValueError(
                    f"{model} has no score threshold for threshold='auto': give a number, or write "
                    'one with mmdet-lla analyze --write-threshold'
                )
            threshold = DEFAULT_THRESHOLD if found is None else found
        self.threshold = threshold
        self.batch_size, self.workers, self.tiles = batch_size, workers, tiles

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.detector.classes

    def __call__(self, images):
        """Detect in one image or in several.

        Args:
            images (str | PathLike | np.ndarray | PIL.Image.Image | Iterable): A path, an array or a
                PIL image (see :func:`~mmdet_lla.runtime.images.to_bgr`), or an iterable of these.

        Returns:
            Detections | list[Detections]: One for a single image, a list for an iterable.

        Raises:
            BrokenImageError: An image cannot be read or used; the message names it.
        """
        if isinstance(images, (str, PathLike, np.ndarray)) or is_pil_image(images):
            return self([images])[0]
        if not isinstance(images, Iterable):
            to_bgr(images)  # raises
        frames = (_make_frame(i, image) for i, image in enumerate(images))
        found = []
        for result in self.stream(frames):
            if result.detections is None:
                raise BrokenImageError(result.frame.error)
            found.append(result.detections)
        return found

    def stream(
        self, frames: Iterable[Frame], threshold: float | None = None, live: bool = False
    ) -> Iterator[Result]:
        """Detect in frames as they come, in their order, with bounded memory.

        Args:
            frames (Iterable[Frame]): May be endless.
            threshold (float, optional): Score threshold. Defaults to the predictor's.
            live (bool): Whether to drop all but the newest frame while the model is busy. Defaults
                to False.

        Yields:
            Result: One per frame, also for broken ones (with ``live``, per frame not dropped).
        """
        threshold = self.threshold if threshold is None else threshold
        size = 1 if live else self.batch_size
        with ThreadPoolExecutor(self.workers) as pool:
            futures = (pool.submit(self._load, frame) for frame in frames)
            loaded = (one.result() for one in prefetch(futures, size + self.workers, live))
            # two batches at a time, so that images of two alternating sizes share batches too
            while window := list(islice(loaded, size if size == 1 else 2 * size)):
                found = self._detect([views for _, views in window])
                for (frame, _), detections in zip(window, found, strict=True):
                    if isinstance(detections, Detections):
                        yield Result(frame, detections.above(threshold))
                    else:
                        yield Result(_failed(frame, detections), None)

    def _load(self, frame: Frame) -> tuple[Frame, list[View]]:
        """Read and prepare a frame's image; a broken one has no views."""
        if frame.error is not None:
            return frame, []
        try:
            image = read_image(frame.source) if frame.image is None else to_bgr(frame.image)
            if self.tiles is None:
                views = [View(self.detector.prepare(image))]
            else:
                views = self.tiles.views(image, self.detector.prepare)
        except Exception as error:  # decoders and transforms raise many types
            return _failed(frame, error), []
        return replace(frame, image=image), views

    def _detect(self, images: Sequence[list[View]]) -> list[Detections | Exception | None]:
        """Detect in all views of several images, batched by shape, and merge them per image."""
        views = [view for image in images for view in image]
        found: dict[int, Detections | Exception] = {}
        for shape in dict.fromkeys(view.prepared.shape for view in views):
            same = [i for i, view in enumerate(views) if view.prepared.shape == shape]
            for start in range(0, len(same), self.batch_size):
                batch = same[start : start + self.batch_size]
                results = self._run_batch([views[i].prepared for i in batch])
                found.update(zip(batch, results, strict=True))
        indices = iter(range(len(views)))
        merged: list[Detections | Exception | None] = []
        for image in images:
            own = [found[i] for i in islice(indices, len(image))]
            error = next((one for one in own if isinstance(one, Exception)), None)
            if error is not None or not own:
                merged.append(error)
            else:
                merged.append(own[0] if self.tiles is None else self.tiles.merge(image, own))
        return merged

    def _run_batch(self, batch: list[PreparedImage]) -> list[Detections | Exception]:
        """Detect in a batch; if it fails, one by one, so that one image does not fail others."""
        try:
            return self.detector.detect(batch)
        except UnsuitableModelError:
            raise
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [one for prepared in batch for one in self._run_batch([prepared])]


def parse_threshold(value: float | str) -> float | str:
    """Return a score threshold as a number in [0, 1], or 'auto'.

    Raises:
        ValueError: It is neither.

    Example:
        >>> parse_threshold('0.5'), parse_threshold('auto')
        (0.5, 'auto')
    """
    if value == 'auto':
        return value
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError(f"threshold must be between 0 and 1 or 'auto', got {value!r}")
    return number


def _make_frame(index: int, image) -> Frame:
    if isinstance(image, (str, PathLike)):
        return Frame(str(image))
    name = getattr(image, 'filename', '') or f'image {index}'
    # an image of None would be read from a file
    return Frame(
        name, image, error=f'{name}: expected an image, got None' if image is None else None
    )


def _failed(frame: Frame, error: Exception | None) -> Frame:
    """Return the frame with an error that names its source."""
    if error is None:
        return frame
    message = str(error) if isinstance(error, BrokenImageError) else _first_line(error)
    if frame.source not in message:
        message = f'{frame.source}: {message}'
    return replace(frame, image=None, error=message)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f'{type(error).__name__}: {lines[0].strip()}' if lines else type(error).__name__
