"""Do a training step again from the dump that NaNGuardHook wrote, and print what it gives."""

import argparse
from pathlib import Path

from mmdet.registry import MODELS
from mmdet.utils import register_all_modules

from ..hooks.randomness import seed_everything
from ..hooks.step_dump import first_non_finite, load_step
from ..named_configs import read_config


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config of the training')
    parser.add_argument('dump', type=Path, help='the file named in the report')
    args = parser.parse_args(argv)
    register_all_modules()
    step = load_step(args.dump)
    print(f'Iteration {step["iteration"]}: {step["what"]}')
    print('Pictures:', *step['pictures'])
    model = MODELS.build(read_config(args.config).model)
    model.load_state_dict(step['state_dict'])
    model.train()
    print(
        'First module with an output that is not finite:',
        first_non_finite(model, step['batch']) or 'none up to the predictions',
    )
    seed_everything(step['seed'], step['iteration'] - 1, step['rank'])
    losses = model(**model.data_preprocessor(step['batch'], True), mode='loss')
    loss, terms = model.parse_losses(losses)
    for name, value in terms.items():
        print(f'{name}: {value.item()}')
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            print(f'The gradient of {name} is not finite')
    return 0
