"""Folds in processes side by side: the same networks as one after the other; an error ends them all."""

import os
import pickle
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from nic.errors import NoTissue, TrainingEnded
from nic.patients import fold_training
from nic.patients.choices import Recipe
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.fold_training import CrossValidation, processes_for, threads_of_folds, train_folds, train_in_processes
from nic.patients.targets import Survival

FOLDS, EPOCHS = 3, 4


@dataclass(frozen=True)
class FaultySlide:
    """A slide whose codes cannot be had. signal: sent to the process that asks for them; 0: an error."""

    signal: int
    shape: tuple[int, int] = (3, 3)
    codes_shape: tuple[int, int] = (9, 4)

    def opened(self) -> SlideCells:
        if self.signal:
            os.kill(os.getpid(), self.signal)
        raise NoTissue("s3: no cell has a code")


def training(faulty: Sequence[FaultySlide] = (), epochs: int = EPOCHS) -> CrossValidation:
    rng = np.random.default_rng(0)
    row, col = (torch.from_numpy(axis.ravel()) for axis in np.mgrid[:5, :5])
    slides = [SlideCells(torch.from_numpy(rng.normal(size=(25, 4)).astype(np.float16)), row, col) for _ in range(18)]
    cells = [PatientCells(str(number), (slide,)) for number, slide in enumerate(slides)]
    cells += [PatientCells("faulty", (slide,)) for slide in faulty]  # type: ignore[arg-type]
    targets = Survival(rng.exponential(10, len(cells)) + 0.1, np.arange(len(cells)) % 3 > 0)
    return CrossValidation(cells, targets, Recipe(epochs=epochs), np.arange(len(cells)) % FOLDS, 5)


def test_processes_train_the_same_networks_and_report_every_epoch() -> None:
    here: list[tuple[int, int, float]] = []
    there: list[tuple[int, int, float]] = []
    threads = torch.get_num_threads()
    one_by_one = []
    for number, count in enumerate((1, 1, 2)):  # as in the processes; other numbers of threads round differently
        torch.set_num_threads(count)
        one_by_one.append(training().train(number, lambda *epoch: here.append(epoch)))
    torch.set_num_threads(2)
    side_by_side = train_in_processes(training(), 2, lambda *epoch: there.append(epoch))
    torch.set_num_threads(threads)
    for (network, scores), (same, as_good) in zip(one_by_one, side_by_side, strict=True):
        assert all(
            torch.equal(ours, theirs) for ours, theirs in zip(network.parameters(), same.parameters(), strict=True)
        )
        np.testing.assert_array_equal(scores, as_good)
    assert sorted(here) == sorted(there)
    assert len(here) == FOLDS * EPOCHS


def test_small_trainings_and_single_threads_stay_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes_for(training()) == 1
    monkeypatch.setattr(fold_training, "CELLS_FOR_PROCESSES", 25 * 18 * FOLDS * EPOCHS)
    threads = torch.get_num_threads()
    for count in (1, 2, 8):
        torch.set_num_threads(count)
        assert processes_for(training()) == min(count, FOLDS)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("threads", "processes", "of_each"),
    [(2, 2, [1, 1, 1, 1, 2]), (16, 5, [3] * 5), (4, 4, [1, 1, 1, 1, 4]), (3, 3, [1, 1, 1, 1, 1]), (1, 2, [1] * 5)],
)
def test_the_folds_that_are_left_share_all_threads(threads: int, processes: int, of_each: list[int]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    assert threads_of_folds(5, processes) == of_each
    torch.set_num_threads(before)


def test_an_error_of_a_fold_is_raised_as_it_was_and_ends_the_others() -> None:
    """The first fold trains without the faulty patient: its epochs alone would take hours."""
    with pytest.raises(NoTissue, match="s3: no cell has a code"):
        train_in_processes(training([FaultySlide(0)], epochs=1_000_000), 2, lambda *epoch: None)


def test_a_process_that_is_ended_is_named_with_the_remedy() -> None:
    with pytest.raises(TrainingEnded, match="ended from outside, mostly because memory was full; 2 of them"):
        train_in_processes(training([FaultySlide(signal.SIGKILL)]), 2, lambda *epoch: None)


def test_what_a_process_gets_and_returns_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(training()))
    (network, scores), (same, as_good) = (train_folds(of, lambda *epoch: None)[0] for of in (training(), again))
    np.testing.assert_array_equal(scores, as_good)
    assert type(network) is type(same)
