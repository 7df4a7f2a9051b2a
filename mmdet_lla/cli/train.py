"""Train a detector: a config with mmdet's options, or a model that ships on your own images.

  mmdet-lla train CONFIG --work-dir work_dirs/mine --amp
  mmdet-lla train --from lla-s --data data/people

CONFIG is a file or 'mmdet::...', one of mmdet's. With --from, a config for the dataset that
`mmdet-lla convert` wrote is saved in the work directory first. Edit it to change the training.
"""

import argparse
import sys
from pathlib import Path

from .mmdet_tools import add_mmdet_options, run_mmdet_tool
from .options import EXPECTED_ERRORS, CommandParser, report_error

#: Config that trains a model that ships further, by name.
FINE_TUNING = {
    'lla-n': 'mmdet_lla::lla_n/lla-n_mobilenetv2_fpn_1xb2-12e_people.py',
    'lla-s': 'mmdet_lla::lla_s/lla-s_mobilenetv2_fpn_1xb2-12e_people.py',
}
TEMPLATE = """\
# Trains {model} further on {data}. After changes train again with
#   mmdet-lla train {config} --work-dir {work_dir}
_base_ = '{base}'

data_root = {data!r}
batch_size = 2  # images per step
num_workers = 1  # processes that read images
learning_rate = 5e-4
max_epochs = 12

train_dataloader = dict(
    batch_size=batch_size, num_workers=num_workers, dataset=dict(data_root=data_root)
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotation_val.odgt')
test_evaluator = val_evaluator

load_from = 'mmdet_lla://{model}'
optim_wrapper = dict(optimizer=dict(lr=learning_rate))
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=max_epochs,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
"""


def build_parser() -> CommandParser:
    parser = CommandParser('train', __doc__)
    parser.add_argument('config', nargs='?', metavar='CONFIG', help='config of the training')
    parser.add_argument(
        '--from',
        dest='model',
        metavar='MODEL',
        help=f'model that ships to train further: {", ".join(FINE_TUNING)} (default: none)',
    )
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='with --from: directory that `mmdet-lla convert` wrote (default: none)',
    )
    add_mmdet_options(parser)
    parser.add_argument(
        '--amp', action='store_true', help='train in automatic mixed precision, on a GPU'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the batch size over all processes',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='FILE',
        help='continue from a checkpoint, or without FILE from the last one in the work directory '
        '(default: start anew)',
    )
    return parser


def write_config(model: str, data: Path, work_dir: str | None) -> tuple[str, str]:
    """Write a config that trains a model that ships on a dataset.

    An existing config of that name, which may have been edited, is kept.

    Returns:
        tuple[str, str]: Config and work directory.

    Raises:
        FileNotFoundError: The directory is no dataset.
        ValueError: No model has that name.
    """
    from ..models import MODELS
    from ..utils.files import atomic_write
    from ..utils.names import did_you_mean

    if model not in FINE_TUNING:
        raise ValueError(
            f'--from {model}: no model of that name ships{did_you_mean(model, MODELS)}'
            f' Choose from: {", ".join(FINE_TUNING)}'
        )
    for name in ('annotation_train.odgt', 'annotation_val.odgt'):
        if not (data / name).is_file():
            raise FileNotFoundError(
                f'--data {data} has no {name}; `mmdet-lla convert` writes such a directory'
            )
    directory = Path(work_dir or f'work_dirs/{model}_{data.resolve().name}')
    path = directory / f'{model}_{data.resolve().name}.py'
    if path.exists():
        print(f'config: {path} (exists and is used as it is)')
    else:
        directory.mkdir(parents=True, exist_ok=True)
        text = TEMPLATE.format(
            model=model,
            base=FINE_TUNING[model],
            data=f'{data.resolve()}/',
            config=path,
            work_dir=directory,
        )
        with atomic_write(path) as file:
            file.write(text)
        print(f'config: {path} (edit it to change the training)')
    return str(path), str(directory)


def _split_arguments(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Separate our options from those of mmdet's tool."""
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ours.add_argument('--from', dest='model')
    ours.add_argument('--data', type=Path)
    return ours.parse_known_args(argv)


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    args, _ = parser.parse_known_args(argv)
    if (args.model is None) != (args.data is None):
        parser.error('--from and --data belong together')
    if (args.model is None) == (args.config is None):
        parser.error('expected either CONFIG or --from and --data')
    if args.model is None:
        return run_mmdet_tool(parser.prog, 'train.py', argv, ('train_dataloader', 'val_dataloader'))
    _, argv = _split_arguments(argv)
    try:
        config, work_dir = write_config(args.model, args.data, args.work_dir)
    except EXPECTED_ERRORS as error:
        return report_error(parser.prog, error)
    status = run_mmdet_tool(
        parser.prog,
        'train.py',
        [config, *argv, '--work-dir', work_dir],
        ('train_dataloader', 'val_dataloader'),
    )
    if status == 0:
        checkpoint = (Path(work_dir) / 'last_checkpoint').read_text().strip()
        print(f'test it:  mmdet-lla test {config} {checkpoint}')
        print(f'use it:   mmdet-lla predict {config} photo.jpg --weights {checkpoint}')
    return status
