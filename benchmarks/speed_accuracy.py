"""Draw accuracy against time of the detectors in ``detectors.csv``.

``python benchmarks/speed_accuracy.py docs/images/speed_accuracy.png`` draws AP and MR in percent
over the time per image as a multiple of YOLOX-nano's. Times are of ONNX Runtime with one thread,
with pre- and post-processing, and are divided within one run.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

TABLE = Path(__file__).with_name('detectors.csv')
COLORS = {'generated images': '#c2410c', 'photos (COCO)': '#1d4ed8'}
TITLES = {'street': 'Street (60 images)', 'campus': 'Campus (36 images)'}


def read_rows(path: Path = TABLE) -> list[dict]:
    """Read the table: one row per detector and test set, numbers as floats."""
    with open(path, newline='') as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.update({key: float(row[key]) for key in ('params', 'AP', 'MR', 'JI', 'recall', 'time')})
    return rows


def draw(rows: list[dict], out: Path) -> None:
    """Draw one panel per test set and metric."""
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout='constrained')
    panels = [(name, metric) for metric in ('AP', 'MR') for name in TITLES]
    for axis, (name, metric) in zip(axes, panels, strict=True):
        for row in rows:
            if row['set'] != name:
                continue
            axis.scatter(row['time'], row[metric], s=60, color=COLORS[row['trained on']])
            axis.annotate(
                row['detector'],
                (row['time'], row[metric]),
                xytext=(0, 7),
                textcoords='offset points',
                ha='center',
                fontsize=8,
            )
        axis.set(title=TITLES[name], xlabel='time / YOLOX-nano', ylabel=f'{metric} (%)')
        axis.margins(0.25)
        if metric == 'MR':
            axis.set_ylabel('MR (%), lower is better')
            axis.invert_yaxis()
        axis.grid(alpha=0.3)
        axis.spines[['top', 'right']].set_visible(False)
    for label, color in COLORS.items():
        axes[0].scatter([], [], color=color, label=f'trained on {label}')
    figure.legend(loc='outside lower center', ncols=2, frameon=False)
    figure.savefig(out, dpi=110)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='image file to write')
    draw(read_rows(), parser.parse_args().out)
