"""From inputs to files: what ``tools/predict.py`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..runtime import Detections
from .predictor import Predictor, Result
from .sources import Pictures, Video, find_sources
from .writers import WRITERS, JsonLines, Writer


@dataclass
class Summary:
    """What came of a run.

    Attributes:
        frames (int): Pictures and frames detected in.
        people (int): Detections in all of them.
        broken (list[str]): What could not be read, and why.
        counts (dict): Of lines and zones, by video.
        written (list[Path]): Files and folders that came out.
    """

    frames: int = 0
    people: int = 0
    broken: list[str] = field(default_factory=list)
    counts: dict[str, dict] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)


def predict_files(
    predictor: Predictor,
    inputs: Sequence[str],
    out_dir: Path,
    formats: Sequence[str] = (),
    draw: bool = True,
    track: bool = False,
    lines: Sequence[Sequence[float]] = (),
    zones: Sequence[Sequence[float]] = (),
    max_frames: int | None = None,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> Summary:
    """Detect in inputs and write what was found.

    Args:
        predictor (Predictor): The detector.
        inputs (Sequence[str]): See :func:`~mmdet_lla.inference.sources.find_sources`.
        out_dir (Path): Folder for the results; it is made.
        formats (Sequence[str]): Keys of ``WRITERS``, beside JSON lines.
        draw (bool): Whether to draw pictures and videos. Defaults to True.
        track (bool): Whether to follow people through videos. Defaults to False.
        lines, zones: See :class:`~mmdet_lla.inference.tracking.Counters`; for videos.
        max_frames (int, optional): Frames of a video after which it ends. Defaults to all.
        progress (bool): Whether to show it. Defaults to True.
        report (Callable): Called with each line of what is said on the way.

    Raises:
        ValueError: An input names nothing, or arguments do not go together.
        ImportError: Drawing or tracking is asked for, and the extra ``predict`` is not installed.
    """
    sources = find_sources(inputs)
    videos = [source for source in sources if isinstance(source, Video)]
    if lines and not track:
        raise ValueError('counts at a line need identities: --line goes with --track')
    if (track or zones) and not videos:
        raise ValueError('--track, --line and --zone need a video, camera or stream')
    if track and predictor.batch_size > 1 and any(video.live for video in videos):
        raise ValueError('a camera is tracked frame by frame, got a batch size above 1')
    _need('supervision', '--track, --line, --zone' * bool(track or zones) or 'drawing' * draw)
    _need('trackers', '--track' * track)
    out_dir.mkdir(parents=True, exist_ok=True)
    writers: list[Writer] = [JsonLines(out_dir, predictor.classes)]
    writers += [WRITERS[name](out_dir, predictor.classes) for name in dict.fromkeys(formats)]
    summary = Summary(written=[writer.path for writer in writers])
    run = _Run(predictor, out_dir, writers, summary, draw, progress, report)
    try:
        for source in sources:
            if isinstance(source, Video):
                run.video(source, track, lines, zones, max_frames)
            else:
                run.pictures(source)
    finally:
        for writer in writers:
            writer.close()
    return summary


def _need(library: str, what: str) -> None:
    """Raise, before work is lost, if ``what`` is asked for and its library is not there."""
    if what and find_spec(library) is None:
        raise ImportError(
            f'{what} needs {library}, which is not installed; it comes with the extra predict: '
            "pip install 'mmdet-lla[predict]'" + '; or give --no-draw' * (what == 'drawing')
        )


@dataclass
class _Run:
    """What all sources of a run share."""

    predictor: Predictor
    out_dir: Path
    writers: list[Writer]
    summary: Summary
    draw: bool
    progress: bool
    report: Callable[[str], None]

    def pictures(self, source: Pictures) -> None:
        results = self.predictor.stream(source.frames())
        for name, result in zip(
            source.names, self._watched(results, len(source), 'picture'), strict=True
        ):
            if result.detections is not None:
                self._write(name, result, result.detections)
                if self.draw:
                    artist = _artist(result.frame.image)
                    drawn = artist.draw(result.frame.image, result.detections)
                    self._picture(self.out_dir / 'pictures' / f'{name}.jpg', drawn)

    def video(
        self,
        source: Video,
        track: bool,
        lines: Sequence[Sequence[float]],
        zones: Sequence[Sequence[float]],
        max_frames: int | None,
    ) -> None:
        frames = source.frames()
        if max_frames is not None:
            frames = _first(frames, max_frames)
        count = source.count if max_frames is None else min(source.count or max_frames, max_frames)
        threshold, follow = self.predictor.threshold, None
        if track:
            from .tracking import WEAK, Tracker

            follow = Tracker(threshold, source.rate)
            threshold *= WEAK
        counters = None
        if lines or zones:
            from .tracking import Counters

            counters = Counters(lines, zones)
        film = None
        results = self.predictor.stream(frames, threshold, source.live)
        try:
            for result in self._watched(results, count, 'frame'):
                found = result.detections
                if found is None:
                    continue
                if follow is not None:
                    found = follow.update(found)
                if counters is not None:
                    counters.update(found)
                self._write(f'{source.name}_{result.frame.index:06d}', result, found)
                if self.draw:
                    film = film or _Film(self._film_path(source), source.rate, track, found)
                    film.add(result.frame.image, found, counters)
        finally:
            if film is not None:
                film.close()
        if counters is not None:
            self.summary.counts[source.source] = counters.counts()

    def _watched(self, results: Iterator[Result], count: int | None, unit: str) -> Iterator[Result]:
        """Results, counted, with a bar; what is broken is named at once."""
        with tqdm(total=count, unit=unit, disable=not self.progress, dynamic_ncols=True) as bar:
            for result in results:
                if result.detections is None:
                    self.summary.broken.append(result.frame.fault or result.frame.source)
                    bar.clear()
                    self.report(f'skipped {self.summary.broken[-1]}')
                yield result
                bar.update()

    def _write(self, name: str, result: Result, found: Detections) -> None:
        self.summary.frames += 1
        self.summary.people += len(found)
        for writer in self.writers:
            writer.write(name, result.frame, found)

    def _picture(self, path: Path, image: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 92]):
            raise OSError(f'{path} could not be written')
        if self.out_dir / 'pictures' not in self.summary.written:
            self.summary.written.append(self.out_dir / 'pictures')

    def _film_path(self, source: Video) -> Path:
        path, number = self.out_dir / f'{source.name}.mp4', 2
        while path in self.summary.written:
            path, number = self.out_dir / f'{source.name}_{number}.mp4', number + 1
        self.summary.written.append(path)
        return path


class _Film:
    """The drawn video."""

    def __init__(self, path: Path, rate: float, tracked: bool, first: Detections) -> None:
        import supervision as sv

        from .drawing import Artist

        size = (first.width, first.height)
        self.artist = Artist(size, tracked, rate)
        self.sink = sv.VideoSink(str(path), sv.VideoInfo(*size, rate))
        self.sink.__enter__()

    def add(self, image: np.ndarray, found: Detections, counters) -> None:
        lines: tuple[str, ...] = ()
        if counters is not None:
            image, lines = counters.draw(image.copy()), counters.texts()
        self.sink.write_frame(self.artist.draw(image, found, lines))

    def close(self) -> None:
        self.sink.__exit__(None, None, None)


def _artist(image: np.ndarray):
    from .drawing import Artist  # supervision is needed for drawing alone

    return Artist(image.shape[1::-1])


def _first(frames, number: int):
    """The first frames, without asking for one more."""
    for _, frame in zip(range(number), frames, strict=False):
        yield frame
