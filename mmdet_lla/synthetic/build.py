"""Builds data sets of scenes in parallel; the number of workers has no effect on them."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..datasets.odgt import iter_records, write_odgt
from ..datasets.text import read_bytes
from .annotations import sizes, to_record
from .params import CrowdParams
from .scene import make_scene

MANIFEST = 'crowd_generator.json'
SPLITS = ('train', 'val')
#: Fields of CrowdParams that were named otherwise in version 0.2.
_RENAMED = {'weave': 'texture', 'colourfulness': 'colorfulness'}


def image_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """Create the random generator of one image, independent of all others."""
    return np.random.default_rng([seed, SPLITS.index(split), index])


def _single_threaded() -> None:
    cv2.setNumThreads(1)


def _make_image(job: tuple[str, int, str, int, CrowdParams]) -> dict:
    """Draw one image into the data set's directory and return its annotation."""
    root, seed, split, index, params = job
    rng = image_rng(seed, split, index)
    scene = make_scene(rng, params)
    name = f'crowd_{split}_{index:06d}'
    quality = int(rng.integers(params.jpeg_quality[0], params.jpeg_quality[1] + 1))
    path = Path(root) / 'Images' / f'{name}.jpg'
    done, data = cv2.imencode('.jpg', scene.image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError(f'OpenCV could not encode {path.name}')
    path.write_bytes(data.tobytes())
    return to_record(name, scene.people, params.width, params.height)


def _manifest(counts: dict[str, int], seed: int, params: CrowdParams) -> dict:
    return {
        'generator': 'mmdet_lla crowd generator',
        'version': params.version,
        'seed': seed,
        'counts': counts,
        'params': params.to_dict(),
    }


def _standing(root: Path) -> dict | None:
    """Read the manifest of a directory, None without one."""
    path = root / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding='utf-8'))
        params = manifest.get('params')
        if isinstance(params, dict):  # fields that are newer than the data set, or renamed since
            params = {_RENAMED.get(name, name): value for name, value in params.items()}
            manifest['params'] = {**CrowdParams().to_dict(), **params}
        return manifest
    except ValueError as error:
        raise ValueError(
            f'{path} is damaged ({error}); remove the directory and generate again'
        ) from error


def _is_complete(root: Path, counts: dict[str, int]) -> bool:
    for split in SPLITS:
        if counts[split] == 0:
            continue
        annotation, size = root / f'annotation_{split}.odgt', root / f'id_hw_{split}.json'
        if not (annotation.is_file() and size.is_file()):
            return False
        names = json.loads(size.read_text(encoding='utf-8'))
        if len(names) != counts[split]:
            return False
        if not all((root / 'Images' / f'{n}.jpg').is_file() for n in names):
            return False
    return True


def _remove(root: Path) -> None:
    """Remove the images and annotations of a generated data set, and nothing else."""
    for split in SPLITS:
        for path in (root / 'Images').glob(f'crowd_{split}_*.jpg'):
            path.unlink()
        for name in (f'annotation_{split}.odgt', f'id_hw_{split}.json'):
            (root / name).unlink(missing_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)


def build_dataset(
    root: str,
    train: int,
    val: int,
    params: CrowdParams | None = None,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> bool:
    """Generate a data set in CrowdHuman's layout, unless the same one exists already.

    Args:
        root (str): Folder of the data set.
        train (int): Number of training images.
        val (int): Number of validation images.
        params (CrowdParams | None): What scenes look like.
        seed (int): The same seed and parameters make the same data set.
        workers (int): Number of processes; scripts that ask for more than one need the usual
            ``if __name__ == '__main__'``.
        overwrite (bool): Replace another generated data set that stands there.
        progress (bool): Show a progress bar.

    Returns:
        bool: Whether anything had to be generated.

    Raises:
        FileExistsError: If another data set stands in ``root``; one that this generator did not
            make is never overwritten.
        ValueError: If a number is out of range.
    """
    params = params or CrowdParams()
    for name, value, least in (
        ('train', train, 0),
        ('val', val, 0),
        ('seed', seed, 0),
        ('workers', workers, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f'{name} must be an integer of at least {least}, got {value!r}')
    if train + val == 0:
        raise ValueError('train and val are both 0: nothing to generate')
    directory, counts = Path(root), {'train': int(train), 'val': int(val)}
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(f'{root} is a file, expected a directory')
    wanted, standing = _manifest(counts, int(seed), params), _standing(directory)
    if standing is not None:
        if standing == wanted and _is_complete(directory, counts):
            return False
        if standing != wanted and not overwrite:
            differing = [k for k in wanted if standing.get(k) != wanted[k]]
            raise FileExistsError(
                f'another generated data set stands in {root} (it differs in '
                f'{", ".join(differing)}); choose another directory, or ask to '
                'overwrite it (--overwrite)'
            )
        _remove(directory)
    elif any(directory.glob('*.odgt')) or any(directory.glob('Images/*')):
        raise FileExistsError(
            f'{root} holds a data set that this generator did not make; choose another directory'
        )
    (directory / 'Images').mkdir(parents=True, exist_ok=True)
    # Written first: an interrupted run leaves a directory that the same command completes.
    (directory / MANIFEST).write_text(json.dumps(wanted, indent=1) + '\n', encoding='utf-8')
    jobs = [
        (str(directory), int(seed), split, index, params)
        for split in SPLITS
        for index in range(counts[split])
    ]
    records = _run(jobs, workers, progress)
    for split in SPLITS:
        lines = [r for r, job in zip(records, jobs, strict=True) if job[2] == split]
        if not lines:
            continue
        size = sizes(lines, params.width, params.height)
        write_odgt(lines, str(directory / f'annotation_{split}.odgt'))
        (directory / f'id_hw_{split}.json').write_text(json.dumps(size), encoding='utf-8')
    return True


def _run(jobs: list[tuple], workers: int, progress: bool) -> list[dict]:
    bar = {'total': len(jobs), 'unit': 'image', 'disable': not progress, 'desc': 'crowd scenes'}
    if workers == 1:
        threads = cv2.getNumThreads()
        _single_threaded()
        try:
            return [_make_image(job) for job in tqdm(jobs, **bar)]
        finally:
            cv2.setNumThreads(threads)
    # Never fork this process: a child inherits the locks of OpenCV's and torch's threads, but not
    # the threads, and hangs. A fork server imports the package once, before there are threads.
    if 'forkserver' in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload([__name__])
    else:
        context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _single_threaded) as pool:
        return list(tqdm(pool.map(_make_image, jobs, chunksize=4), **bar))


def load_records(root: str) -> dict[str, list[dict]]:
    """Read the annotations of a data set by split; splits without a file are left out."""
    paths = {s: Path(root) / f'annotation_{s}.odgt' for s in SPLITS}
    return {
        split: [record for _, record in iter_records(read_bytes(str(path)), str(path))]
        for split, path in paths.items()
        if path.is_file()
    }
