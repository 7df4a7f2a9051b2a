"""Runs a predictor over files, cameras and streams and writes the results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..runtime import Detections
from ..utils.files import atomic_write, check_outputs
from .annotators import DetectionAnnotator
from .predictor import Predictor, Result
from .sources import (
    Images,
    Sources,
    Video,
    check_coordinates,
    find_sources,
    hide_secrets,
)
from .video import VideoReader, VideoWriter, printable
from .writers import WRITERS, JsonLines, Writer, write_bytes

#: Where results go by default; further runs take predict_2, predict_3, ...
DEFAULT_OUT_DIR = Path('work_dirs/predict')
#: Directory of the drawn images, as mmdet names it.
VIS = 'vis'
#: List of the outputs of a run, by which the next run in the directory replaces them.
RECORD = 'predict.json'
#: JPEG allows no longer side.
_MAX_JPEG = 65500


@dataclass
class RunPlan:
    """A run whose inputs, options and outputs have been checked.

    Attributes:
        sources (Sources): What the inputs contain.
        out_dir (Path): Directory of the results.
        outputs (list[str]): Files and directories to write, relative to ``out_dir``.
        previous (list[str]): Those of an earlier run, which are replaced.
        formats, draw, track, lines, zones, max_frames: See :func:`plan_run`.
    """

    sources: Sources
    out_dir: Path
    outputs: list[str]
    previous: list[str]
    formats: Sequence[str]
    draw: bool
    track: bool
    lines: Sequence[Sequence[float]]
    zones: Sequence[Sequence[float]]
    max_frames: int | None


@dataclass
class RunSummary:
    """The outcome of a run.

    Attributes:
        frames (int): Images and frames with detections or without, not counting failed ones.
        detections (int): Number of detections.
        failed (list[str]): What could not be read or written, and why.
        counts (dict): Counts of lines and zones, by video.
        written (list[Path]): Complete files and directories.
        incomplete (list[Path]): Files that could not be completed.
    """

    frames: int = 0
    detections: int = 0
    failed: list[str] = field(default_factory=list)
    counts: dict[str, dict] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)
    incomplete: list[Path] = field(default_factory=list)


def plan_run(
    inputs: Sequence[str],
    out_dir: Path | None = None,
    formats: Sequence[str] = (),
    draw: bool = True,
    track: bool = False,
    lines: Sequence[Sequence[float]] = (),
    zones: Sequence[Sequence[float]] = (),
    max_frames: int | None = None,
) -> RunPlan:
    """Find the inputs of a run and check everything that needs no model.

    Args:
        inputs (Sequence[str]): See :func:`~mmdet_lla.inference.sources.find_sources`.
        out_dir (Path, optional): Directory for the results. Results of an earlier run in it are
            replaced, other files are not. Defaults to a new directory, ``DEFAULT_OUT_DIR`` or the
            next free number.
        formats (Sequence[str]): Keys of ``WRITERS``, in addition to JSON lines.
        draw (bool): Whether to draw images and videos. Defaults to True.
        track (bool): Whether to track people through videos. Defaults to False.
        lines, zones: See :class:`~mmdet_lla.inference.tracking.Counters`; for videos.
        max_frames (int, optional): Frames per video. Defaults to all.

    Raises:
        ValueError: No input can be used, options contradict each other, or an output would
            overwrite an input or another file.
        ImportError: Tracking, lines or zones need the extra ``predict``.

    Example:
        >>> plan_run(['rtsp://host/gate'], Path('new'), ['coco']).outputs
        ['detections.jsonl', 'detections.coco.json', 'gate.mp4']
    """
    check_coordinates(lines, zones)
    if lines and not track:
        raise ValueError('--line counts tracks, so it needs --track')
    if max_frames is not None and max_frames < 1:
        raise ValueError(f'--max-frames must be at least 1, got {max_frames}')
    if out_dir is None:
        out_dir = _next_directory(DEFAULT_OUT_DIR)
    previous = _read_record(out_dir)
    replaced = {Path(os.path.realpath(out_dir / name)) for name in previous}
    sources = find_sources(inputs, exclude=replaced)
    if not sources.found:
        raise ValueError('\n'.join(sources.errors))
    videos = [source for source in sources.found if isinstance(source, Video)]
    if (track or zones) and not videos:
        raise ValueError('--track, --line and --zone need a video, camera or stream')
    if track or zones:
        _require('supervision', '--track, --line, --zone')
    if track:
        _require('trackers', '--track')
    writers = [JsonLines, *(WRITERS[name] for name in dict.fromkeys(formats))]
    outputs = [writer.target for writer in writers]
    if draw:
        outputs += [VIS] * (len(videos) < len(sources.found))
        outputs += [f'{video.name}.mp4' for video in videos]
    check_outputs([out_dir / name for name in [*outputs, *previous]], sources.paths)
    blocked = [
        name
        for name in (*outputs, RECORD)
        if os.path.lexists(out_dir / name) and name not in (*previous, *([RECORD] * bool(previous)))
    ]
    if blocked:
        raise ValueError(
            f'{out_dir} already contains {", ".join(blocked)}, which no earlier run is known to '
            'have written: choose another --out-dir'
        )
    return RunPlan(
        sources, out_dir, outputs, previous, formats, draw, track, lines, zones, max_frames
    )


def predict_files(
    predictor: Predictor,
    plan: RunPlan,
    progress: bool = True,
    report: Callable[[str], None] = print,
) -> RunSummary:
    """Detect in the inputs of a plan and write the results.

    A broken input is reported and skipped. If a result cannot be written, the run stops, and the
    summary says so. Interrupted by an exception, it completes the files written so far.

    Args:
        predictor (Predictor): The detector.
        plan (RunPlan): See :func:`plan_run`.
        progress (bool): Whether to show a progress bar. Defaults to True.
        report (Callable): Called with each message.

    Raises:
        OSError: The output directory cannot be created.

    Example::

        summary = predict_files(Predictor('lla-s'), plan_run(['photos'], Path('out')))
    """
    plan.out_dir.mkdir(parents=True, exist_ok=True)
    _remove_previous(plan)
    with atomic_write(plan.out_dir / RECORD) as file:
        json.dump({'outputs': plan.outputs}, file)
    run = _Run(predictor, plan, RunSummary(), progress, report)
    classes = predictor.classes
    for name in ('jsonl', *dict.fromkeys(plan.formats)):
        run.writers.append({'jsonl': JsonLines, **WRITERS}[name](plan.out_dir, classes))
    for error in plan.sources.errors:
        run.fail(error)
    if plan.sources.skipped:
        counts = ', '.join(f'{n} {suffix}' for suffix, n in plan.sources.skipped.most_common())
        report(printable(f'neither image nor video in directories: {counts}'))
    stopped = False
    try:
        for source in plan.sources.found:
            if isinstance(source, Video):
                run.process_video(source)
            else:
                run.process_images(source)
    except OSError as error:
        stopped = True
        run.fail(f'stopped: {error}')
    finally:
        run.close(stopped)
    return run.summary


def _require(library: str, option: str) -> None:
    if find_spec(library) is None:
        raise ImportError(
            f"{option} needs {library}, which is not installed: pip install 'mmdet-lla[predict]'"
        )


def _next_directory(default: Path) -> Path:
    """Return the first of NAME, NAME_2, NAME_3, ... that does not exist or is empty."""
    path, number = default, 2
    while os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        path, number = default.with_name(f'{default.name}_{number}'), number + 1
    return path


def _read_record(out_dir: Path) -> list[str]:
    """Return the outputs of an earlier run in a directory, relative to it."""
    try:
        names = json.loads((out_dir / RECORD).read_text(encoding='utf-8'))['outputs']
        return [name for name in names if not Path(name).is_absolute() and '..' not in name]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _remove_previous(plan: RunPlan) -> None:
    """Remove the results of an earlier run; other files in its directories stay."""
    for name in plan.previous:
        path = plan.out_dir / name
        if not path.is_dir():
            path.unlink(missing_ok=True)
            continue
        suffixes = ('.txt',) if name == WRITERS['yolo'].target else ('.jpg', '.png')
        for directory, _, names in os.walk(path, topdown=False):
            for one in names:
                if one.endswith(suffixes):
                    os.unlink(os.path.join(directory, one))
            with suppress(OSError):
                os.rmdir(directory)


@dataclass
class _Run:
    """A run in progress."""

    predictor: Predictor
    plan: RunPlan
    summary: RunSummary
    progress: bool
    report: Callable[[str], None]
    writers: list[Writer] = field(default_factory=list)

    def fail(self, message: str) -> None:
        """Report what could not be read or written."""
        self.summary.failed.append(printable(message))
        self.report(f'failed: {self.summary.failed[-1]}')

    def process_images(self, source: Images) -> None:
        results = self.predictor.stream(source.frames())
        watched = self._watch(results, len(source), 'image')
        for path, name, result in zip(source.paths, source.names, watched, strict=True):
            if result.detections is None:
                continue
            ignored = source.ignored_images(path)
            if ignored:
                self.report(printable(f'{path}: the first image is used, {ignored} more are not'))
            self._write(name, result, result.detections)
            if self.plan.draw:
                self._draw_image(name, result)

    def process_video(self, source: Video) -> None:
        try:
            reader = VideoReader(source.source, hide_secrets(source.source))
        except ValueError as error:
            self.fail(str(error))
            return
        frames, limit = reader.frames(), self.plan.max_frames
        count = reader.count
        if limit is not None:
            frames, count = islice(frames, limit), min(count or limit, limit)
        threshold, tracker, counters = self.predictor.threshold, None, None
        if self.plan.track:
            from .tracking import LOW_SCORE_FRACTION, Tracker

            tracker = Tracker(threshold, reader.rate)
            threshold *= LOW_SCORE_FRACTION
        if self.plan.lines or self.plan.zones:
            from .tracking import Counters

            counters = Counters(self.plan.lines, self.plan.zones)
        path = self.plan.out_dir / f'{source.name}.mp4'
        drawn = _DrawnVideo(path, reader.rate, tracker is not None) if self.plan.draw else None
        results = self.predictor.stream(frames, threshold, reader.live)
        try:
            for result in self._watch(results, count, 'frame'):
                found = result.detections
                if found is None:
                    continue
                if tracker is not None:
                    found = tracker.update(found, result.frame.time)
                if counters is not None:
                    counters.update(found)
                self._write(f'{source.name}_{result.frame.index:06d}', result, found)
                if drawn is not None:
                    drawn.add(result, found, counters)
        finally:
            if drawn is not None:
                self._finish(drawn)
            if counters is not None:
                self.summary.counts[reader.name] = counters.counts()

    def close(self, stopped: bool) -> None:
        """Complete all files; after a failed write they count as incomplete."""
        for writer in self.writers:
            complete = not stopped
            try:
                writer.close()
            except OSError as error:
                complete = False
                self.fail(f'{writer.path}: {error.strerror or error}')
            if complete:
                self.summary.written.insert(0, writer.path)
            elif writer.path.exists():
                self.summary.incomplete.append(writer.path)

    def _watch(self, results: Iterator[Result], count: int | None, unit: str) -> Iterator[Result]:
        """Yield results with a progress bar and report failed ones at once."""
        with tqdm(total=count, unit=unit, disable=not self.progress, dynamic_ncols=True) as bar:
            for result in results:
                if result.detections is None:
                    bar.clear()
                    self.fail(result.frame.error or result.frame.source)
                yield result
                bar.update()

    def _write(self, name: str, result: Result, found: Detections) -> None:
        self.summary.frames += 1
        self.summary.detections += len(found)
        for writer in self.writers:
            writer.write(name, result.frame, found)

    def _draw_image(self, name: str, result: Result) -> None:
        """Write a drawn image; one that cannot be drawn does not end the run."""
        image = result.frame.image
        suffix = '.jpg' if max(image.shape) <= _MAX_JPEG else '.png'
        try:
            drawn = DetectionAnnotator(image.shape[1::-1]).draw(image, result.detections)
            data = cv2.imencode(suffix, drawn, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        except cv2.error as error:
            self.fail(f'{result.frame.source}: cannot be drawn ({error.err or error})')
            return
        path = self.plan.out_dir / VIS / f'{name}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
        if self.plan.out_dir / VIS not in self.summary.written:
            self.summary.written.append(self.plan.out_dir / VIS)

    def _finish(self, drawn: _DrawnVideo) -> None:
        try:
            if drawn.close():
                self.summary.written.append(drawn.path)
        except OSError as error:
            self.fail(str(error))


class _DrawnVideo:
    """The drawn video of a source; created with its first frame."""

    def __init__(self, path: Path, rate: float, tracked: bool) -> None:
        self.path, self.rate, self.tracked = path, rate, tracked
        self.annotator: DetectionAnnotator | None = None
        self.writer: VideoWriter | None = None

    def add(self, result: Result, found: Detections, counters) -> None:
        image: np.ndarray = result.frame.image
        if self.annotator is None or self.writer is None:
            size = image.shape[1::-1]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.annotator = DetectionAnnotator(size, self.tracked, self.rate)
            self.writer = VideoWriter(self.path, size, self.rate)
        lines: tuple[str, ...] = ()
        if counters is not None:
            image, lines = counters.draw(image.copy()), counters.texts()
        self.writer.write(self.annotator.draw(image, found, lines), result.frame.time)

    def close(self) -> bool:
        """Complete the file, if there is one; see :class:`VideoWriter`."""
        if self.writer is not None:
            self.writer.close()
        return self.writer is not None
