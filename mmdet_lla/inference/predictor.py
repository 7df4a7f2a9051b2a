"""Predictor: pictures and frames in, detections out, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from os import PathLike

import numpy as np
from mmengine.config import Config

from ..runtime import BrokenPicture, Detections, read_picture
from .ahead import ahead
from .model import load_detector
from .tiles import Tiles, View

#: What is shown where the model does not know the score that was best on validation.
USUAL_THRESHOLD = 0.3


@dataclass(frozen=True)
class Frame:
    """A picture, or a frame of a video, to detect in.

    Attributes:
        source (str): Path, address or name.
        image (np.ndarray, optional): BGR, uint8, (H, W, 3); None to read it from ``source``.
        index (int, optional): Number of the frame in its video, from 0.
        time (float, optional): Of the frame in its video, in seconds.
        fault (str, optional): Why it cannot be read.
    """

    source: str
    image: np.ndarray | None = None
    index: int | None = None
    time: float | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Result:
    """What came of a frame.

    Attributes:
        frame (Frame): With its picture.
        detections (Detections, optional): None where the frame is broken; ``frame.fault`` says why.
    """

    frame: Frame
    detections: Detections | None


class Predictor:
    """Finds people (or whatever the model detects) in pictures and frames.

    ::

        predictor = Predictor('config.py', 'checkpoint.pth')
        found = predictor('photo.jpg')
        found.boxes, found.scores

    Pictures of one size share a batch, and a picture gets the same detections in every batch. While
    a batch is detected in, the next pictures are read and resized by other threads.

    Args:
        model (str | PathLike | Config): A config, with ``weights``; a published checkpoint; an
            exported file; or the name of a model that ships.
        weights (str | PathLike, optional): Checkpoint of a config.
        threshold (float | str, optional): Least score. 'auto' is the one that was best on
            validation, which the model must know. Defaults to that if it knows it, else 0.3.
        device (str): Where torch runs. Defaults to 'auto', a GPU if there is one.
        batch_size (int): Pictures that go through the model together. Defaults to 1, which is best
            on CPUs.
        workers (int): Threads that read and resize pictures. Defaults to 2.
        tiles (Tiles, optional): How to cut large pictures. Defaults to not at all.
        cfg_options (dict, optional): Settings of the config to override.
        backend (str): 'onnxruntime', 'openvino' or 'auto', for exported files.
        threads (int, optional): Threads of the backend, for exported files.

    Attributes:
        classes (tuple[str]): Names of the classes.
        threshold (float): Least score.

    Raises:
        FileNotFoundError: Something named is not there.
        ValueError: An argument is not one of those above; the message says what was expected.
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
        self.detector = load_detector(model, weights, device, cfg_options, backend, threads)
        self.threshold = _threshold(threshold, self.detector.threshold, str(model))
        self.batch_size, self.workers, self.tiles = batch_size, workers, tiles

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.detector.classes

    def __call__(self, pictures):
        """Detect in one picture or in several.

        Args:
            pictures (str | PathLike | np.ndarray | Sequence): A path or a picture (BGR, uint8,
                (H, W, 3)), or a list of those.

        Returns:
            Detections | list[Detections]: One for one picture, a list for a list.

        Raises:
            BrokenPicture: One of them cannot be read; the message names it.
        """
        if isinstance(pictures, (str, PathLike, np.ndarray)):
            return self([pictures])[0]
        frames = [
            Frame(f'picture {i}', picture)
            if isinstance(picture, np.ndarray)
            else Frame(str(picture))
            for i, picture in enumerate(pictures)
        ]
        found = []
        for result in self.stream(frames):
            if result.detections is None:
                raise BrokenPicture(result.frame.fault)
            found.append(result.detections)
        return found

    def stream(
        self, frames: Iterable[Frame], threshold: float | None = None, live: bool = False
    ) -> Iterator[Result]:
        """Detect in frames as they come, in their order; memory does not grow with their number.

        Args:
            frames (Iterable[Frame]): Also without end.
            threshold (float, optional): Least score. Defaults to the predictor's.
            live (bool): Whether frames that come while the model is busy may be left out, but for
                the newest. Defaults to False.

        Yields:
            Result: One for every frame, broken ones too (with ``live``, for those not left out).
        """
        threshold = self.threshold if threshold is None else threshold
        size = 1 if live else self.batch_size
        with ThreadPoolExecutor(self.workers) as pool:
            coming = (pool.submit(self._load, frame) for frame in frames)
            loaded = (future.result() for future in ahead(coming, size + self.workers, live))
            # twice a batch, so that pictures of two sizes that alternate share batches too
            while window := list(islice(loaded, size if size == 1 else 2 * size)):
                found = self._detect([views for _, views in window])
                for (frame, views), detections in zip(window, found, strict=True):
                    yield Result(frame, detections.above(threshold) if views else None)

    def _load(self, frame: Frame) -> tuple[Frame, list[View]]:
        """Read a frame's picture and prepare it; no view where it is broken."""
        if frame.fault is not None:
            return frame, []
        try:
            image = read_picture(frame.source) if frame.image is None else frame.image
            views = (
                [View(self.detector.prepare(image))]
                if self.tiles is None
                else self.tiles.views(image, self.detector.prepare)
            )
        except BrokenPicture as error:
            fault = str(error)
            if frame.image is not None:
                fault = f'{frame.source}: {fault}'
            return Frame(frame.source, None, frame.index, frame.time, fault), []
        return Frame(frame.source, image, frame.index, frame.time), views

    def _detect(self, pictures: Sequence[list[View]]) -> list[Detections | None]:
        """Detect in every view of several pictures, those of one shape together, and merge."""
        views = [view for picture in pictures for view in picture]
        found: dict[int, Detections] = {}
        for shape in dict.fromkeys(view.prepared.shape for view in views):
            same = [i for i, view in enumerate(views) if view.prepared.shape == shape]
            for start in range(0, len(same), self.batch_size):
                batch = same[start : start + self.batch_size]
                results = self.detector.detect([views[i].prepared for i in batch])
                found.update(zip(batch, results, strict=True))
        parts = iter(range(len(views)))
        merged: list[Detections | None] = []
        for picture in pictures:
            own = [found[i] for i in islice(parts, len(picture))]
            if not picture:
                merged.append(None)
            elif self.tiles is None:
                merged.append(own[0])
            else:
                merged.append(self.tiles.merge(picture, own))
        return merged


def _threshold(asked: float | str | None, kept: float | None, model: str) -> float:
    if asked is None:
        return USUAL_THRESHOLD if kept is None else kept
    if asked == 'auto':
        if kept is None:
            raise ValueError(
                f'{model} does not keep the score that was best on validation, which '
                "threshold='auto' asks for; give a number, or let tools/analyze.py write it"
            )
        return kept
    try:
        value = float(asked)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"threshold must be between 0 and 1 or 'auto', got {asked!r}")
    return value
