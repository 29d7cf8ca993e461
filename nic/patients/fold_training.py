"""The networks of all folds: trained one after the other, or side by side in processes of a few threads each.

A step on the grids of some compressed slides is too small to keep several cores busy, so folds are trained side by
side where the training is long enough.
"""

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from queue import Empty
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nic.child_process import end_with_parent
from nic.errors import TrainingEnded
from nic.patients.choices import Recipe
from nic.patients.crops import PatientCells
from nic.patients.networks import CROP_CELLS, PatientNetwork
from nic.patients.schedule import schedules_of
from nic.patients.splits import Folds
from nic.patients.targets import Targets
from nic.patients.training import fit_network, scores_of
from nic.training_device import training_device

OnEpoch = Callable[[int, int, float], None]
"""Called with the number of the fold, its epoch and the loss."""
TrainedFold = tuple[PatientNetwork, NDArray[np.float64]]
"""The network of a fold, and its scores of all patients: [N], or of several classes [N, C]."""
CELLS_FOR_PROCESSES = 25_000_000
"""Cells of all epochs of a training from which processes are worth their start of some 8 s: a minute on two cores."""
LOOK_S = 0.5
"""Seconds between two looks at how far the processes are."""


@dataclass(frozen=True)
class CrossValidation:
    """What the folds have in common. cells, targets: of all patients. fold: [N]. seed: of the first fold's network."""

    cells: Sequence[PatientCells]
    targets: Targets
    recipe: Recipe
    fold: Folds
    seed: int

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1

    @property
    def epochs(self) -> int:
        """Of all folds together."""
        return sum(schedule.epochs for schedule in schedules_of(self.recipe, self.targets, self.fold))

    def train(self, number: int, on_epoch: OnEpoch) -> TrainedFold:
        """The network of one fold, trained on the patients of the others."""
        others = np.flatnonzero(self.fold != number)
        patients, targets = [self.cells[int(i)] for i in others], self.targets.take(others)
        network = fit_network(
            patients, targets, self.recipe, self.seed + number, lambda epoch, loss: on_epoch(number, epoch, loss)
        )
        return network, scores_of(network, self.cells)


def train_folds(training: CrossValidation, on_epoch: OnEpoch) -> list[TrainedFold]:
    """All folds, in their order. Raises what `fit_network` raises, TrainingEnded where the system ends a process."""
    processes = processes_for(training)
    if processes == 1:
        return [training.train(number, on_epoch) for number in range(training.folds)]
    return train_in_processes(training, processes, on_epoch)


def processes_for(training: CrossValidation) -> int:
    """As many as the folds and torch's threads allow; 1 on a GPU, and where the work is too small to part."""
    cells = sum(patient.cells_within(CROP_CELLS) for patient in training.cells)
    if training_device().type != "cpu" or cells * training.epochs < CELLS_FOR_PROCESSES:
        return 1
    return min(training.folds, torch.get_num_threads())


def train_in_processes(training: CrossValidation, processes: int, on_epoch: OnEpoch) -> list[TrainedFold]:
    """As `train_folds`. After the first error the others end with their epoch."""
    context = get_context("spawn")
    epochs: Any = context.Queue()
    failed = context.Event()
    # Pickled here, by value: left to multiprocessing, each tensor would take a shared file from the system.
    begin = (pickle.dumps(training), epochs, failed)
    threads = threads_of_folds(training.folds, processes)
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=begin) as pool:
        waiting = [pool.submit(_train, *of_fold) for of_fold in enumerate(threads)]
        try:
            while not _ended(waiting):
                _report(epochs, on_epoch, LOOK_S)
            for future in as_completed(waiting):  # an error before what goes on
                future.result()
            trained: list[TrainedFold] = [pickle.loads(future.result()) for future in waiting]
        except BrokenProcessPool as error:
            raise TrainingEnded(
                f"a process that trained a fold was ended from outside, mostly because memory was full; {processes} of "
                "them trained side by side; set OMP_NUM_THREADS to a smaller number, and run again"
            ) from error
        except BaseException:
            failed.set()
            pool.shutdown(cancel_futures=True)
            raise
    _report(epochs, on_epoch, 0)
    return trained


def threads_of_folds(folds: int, processes: int) -> list[int]:
    """Threads of torch for each fold, where `processes` folds are trained at a time; the last ones may have more."""
    together = [min(processes, folds - number // processes * processes) for number in range(folds)]
    return [max(1, torch.get_num_threads() // count) for count in together]


def _ended(waiting: Sequence[Future[bytes]]) -> bool:
    """Whether all have ended, or one with an error."""
    ended, others = wait(waiting, timeout=0, return_when=FIRST_EXCEPTION)
    return not others or any(future.exception() for future in ended)


def _report(epochs: Any, on_epoch: OnEpoch, wait_s: float) -> None:
    """Every epoch that has ended since the last look; waits for the first."""
    while True:
        try:
            on_epoch(*epochs.get(timeout=wait_s))
        except Empty:
            return
        wait_s = 0


_OF_PROCESS: list[tuple[CrossValidation, Any, Event]] = []
"""In a process of the pool: what it trains, the queue for its epochs, and whether another fold has failed."""


def _begin(training: bytes, epochs: Any, failed: Event) -> None:
    end_with_parent()
    _OF_PROCESS.append((pickle.loads(training), epochs, failed))


def _train(number: int, threads: int) -> bytes:
    ((training, epochs, failed),) = _OF_PROCESS
    torch.set_num_threads(threads)

    def on_epoch(fold: int, epoch: int, loss: float) -> None:
        epochs.put((fold, epoch, loss))
        if failed.is_set():
            raise TrainingEnded(f"fold {fold} was stopped after epoch {epoch}, because another fold failed")

    return pickle.dumps(training.train(number, on_epoch))
