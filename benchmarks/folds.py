"""How much faster the folds of an ensemble are trained side by side, in processes, than one after the other.

    python -m benchmarks.folds [--patients 80] [--side 32] [--tissue 0.6] [--endpoint survival] [--epochs 20]
        [--network grid-cnn] [--folds 5] [--folder work/benchmark] [--times 3]

Made codes of 128 numbers, as in benchmarks.patients. Both ways take turns, so that they suffer alike when the machine
is busy. The start of the processes counts. Where `train_patients` would not take processes, a line says so.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.patients import labels, make_codes
from nic.patients.choices import Recipe
from nic.patients.crops import gather_cells
from nic.patients.fold_training import CrossValidation, processes_for, train_in_processes
from nic.patients.splits import stratified_folds


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--patients", type=int, default=80)
    arguments.add_argument("--side", type=int, default=32, help="cells across a grid")
    arguments.add_argument("--tissue", type=float, default=0.6, help="share of the grid")
    arguments.add_argument("--endpoint", choices=("regression", "survival"), default="survival")
    arguments.add_argument("--network", default="grid-cnn")
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--folds", type=int, default=5)
    arguments.add_argument("--folder", type=Path, default=Path("work/benchmark"), help="where the codes are kept")
    arguments.add_argument("--times", type=int, default=3, help="how often both are measured")
    given = arguments.parse_args()
    patients = make_codes(given.folder, given.patients, given.side, given.tissue)
    cells, targets = gather_cells(patients, given.folder).cells, labels(given.endpoint, given.patients)
    fold = stratified_folds(targets, given.folds, 0)
    training = CrossValidation(cells, targets, Recipe(given.network, given.epochs, 1e-3), fold, 0)
    processes = min(training.folds, torch.get_num_threads())
    if processes_for(training) == 1:
        print("train_patients would train these folds one after the other")
    ratios = []
    for _ in range(given.times):
        one_by_one = seconds(lambda: [training.train(n, lambda *epoch: None) for n in range(training.folds)])
        side_by_side = seconds(lambda: train_in_processes(training, processes, lambda *epoch: None))
        ratios.append(one_by_one / side_by_side)
        print(
            f"one after the other {one_by_one:.1f} s, {processes} side by side {side_by_side:.1f} s: {ratios[-1]:.2f}"
        )
    print(f"side by side is {np.median(ratios):.2f} times as fast, median of {given.times}")


if __name__ == "__main__":
    main()
