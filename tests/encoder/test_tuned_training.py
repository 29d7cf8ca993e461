"""What is kept after a search: the tuned encoder where held-out tiles say so beyond chance, else the other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nic.encoder.multitask import FixedWeights, Multitask
from nic.encoder.objective import Judgement
from nic.encoder.train import Hooks, Schedule, TrainedEncoder
from nic.encoder.tuning import Hyperparameters, Trial, Tuning, short_trial, train_tuned
from nic.tasks.tile_auc import TileScores, mean_auc

SCHEDULE = Schedule(epochs=7, batch_size=16, learning_rate=1e-4, augmentation="none", seed=0)
START, TUNED = Hyperparameters({"a": 1.0}, 1e-3, "heavy"), Hyperparameters({"a": 1.0}, 3e-3, "heavy")


def trained(signal: float) -> TrainedEncoder:
    """Scores of the same 400 tiles of 40 slides, the better the higher the signal."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    score = (rng.normal(size=400) + signal * labels).astype(np.float32)
    scores = TileScores("a", labels, np.stack([-score, score], 1), rng.integers(40, size=400).astype(str))
    objective = Multitask([2], FixedWeights({"a": 1.0}))
    return TrainedEncoder(objective, Judgement(0.5, {"auc.a": 0.5}, (scores,)), 400, 0)


class Recorder:
    """Trains by looking up what a learning rate is worth; keeps the schedules and hooks of its calls."""

    def __init__(self, worth: Mapping[float, float]) -> None:
        self.worth: Mapping[float, float] = worth
        self.schedules: list[Schedule] = []
        self.hooks: list[Hooks] = []

    def __call__(self, hyperparameters: Hyperparameters, schedule: Schedule, hooks: Hooks) -> TrainedEncoder:
        assert schedule == hyperparameters.applied_to(schedule)
        self.schedules.append(schedule)
        self.hooks.append(hooks)
        hooks.log("validation.auc", self.worth[schedule.learning_rate], 0)
        return trained(self.worth[schedule.learning_rate])

    @property
    def rates(self) -> list[float]:
        return [schedule.learning_rate for schedule in self.schedules]


def searched(tuned: float, start: float) -> Tuning:
    scores = [mean_auc(trained(signal).scores, 0) for signal in (start, tuned)]
    trials = tuple(
        Trial(i, s, score, "complete") for i, (s, score) in enumerate(zip((START, TUNED), scores, strict=True))
    )
    return Tuning(START, trials[1], scores[1] - scores[0], {}, trials)


def kept(
    worth: Mapping[float, float], tuning: Tuning, in_full: bool
) -> tuple[Hyperparameters, Any, Recorder, list[str]]:
    train, logged = Recorder(worth), []
    hooks = Hooks(lambda name, value, step: logged.append(name))
    chosen, _, comparison = train_tuned(train, tuning, SCHEDULE, hooks, in_full=in_full)
    assert all(schedule.epochs == 7 for schedule in train.schedules)
    return chosen, comparison, train, logged


def test_trials_decide_which_hyperparameters_are_trained_in_full() -> None:
    chosen, comparison, train, _ = kept({3e-3: 2}, searched(tuned=2, start=0.5), in_full=False)
    assert (chosen, train.rates) == (TUNED, [3e-3])
    assert (comparison.scale, comparison.taken) == ("trial", True)
    chosen, comparison, train, _ = kept({1e-3: 2}, searched(tuned=0.51, start=0.5), in_full=False)
    assert (chosen, train.rates) == (START, [1e-3])
    assert not comparison.taken


@pytest.mark.parametrize(("tuned", "taken"), [(2.0, True), (0.9, False), (0.5, False)])
def test_full_trainings_decide_where_asked(tuned: float, taken: bool) -> None:
    """Independent of the trials."""
    chosen, comparison, train, logged = kept({3e-3: tuned, 1e-3: 0.9}, searched(tuned=2, start=0.5), in_full=True)
    assert train.rates == [3e-3, 1e-3]
    assert logged == ["validation.auc", "start.validation.auc"]
    assert (chosen == TUNED, comparison.taken, comparison.scale) == (taken, taken, "full")
    expected = mean_auc(trained(tuned).scores, 0).value - mean_auc(trained(0.9).scores, 0).value
    assert comparison.gain == pytest.approx(expected)


def test_a_best_trial_below_the_start_is_not_trained_in_full() -> None:
    chosen, comparison, train, _ = kept({1e-3: 1}, searched(tuned=0.5, start=0.9), in_full=True)
    assert (chosen, train.rates) == (START, [1e-3])
    assert (comparison.scale, comparison.taken) == ("trial", False)
    assert comparison.gain < 0


def test_without_trials_nothing_is_compared() -> None:
    chosen, comparison, train, _ = kept({1e-3: 1}, Tuning(START, None, None, {}, ()), in_full=True)
    assert (chosen, comparison, len(train.schedules)) == (START, None, 1)


def test_a_trial_is_short_and_scored_by_the_mean_auc() -> None:
    train, report = Recorder({3e-3: 1.0}), torch.nn.Identity()
    short = replace(SCHEDULE, epochs=2, tiles_per_epoch=640, seed=5)
    score = short_trial(train, short)(TUNED, report)
    assert score.value == mean_auc(trained(1.0).scores, 5).value
    assert (score.draws == mean_auc(trained(1.0).scores, 5).draws).all()
    assert train.schedules == [replace(short, learning_rate=3e-3, augmentation="heavy")]
    assert [hooks.on_epoch for hooks in train.hooks] == [report]
