"""What is kept after a search: the tuned encoder where held-out tiles say so beyond chance, else the other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from nic.encoder.multitask import FixedWeights, Multitask
from nic.encoder.objective import Judgement
from nic.encoder.training import FittedEncoder
from nic.encoder.tuned_fit import fit_tuned, short_trial
from nic.encoder.tuning import Setting, Trial, Tuning
from nic.tasks.tile_auc import TileScores, mean_auc

START, TUNED = Setting({"a": 1.0}, 1e-3, "heavy"), Setting({"a": 1.0}, 3e-3, "heavy")


def fitted(signal: float) -> FittedEncoder:
    """Scores of the same 400 tiles of 40 slides, the better the higher the signal."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    score = (rng.normal(size=400) + signal * labels).astype(np.float32)
    scores = TileScores("a", labels, np.stack([-score, score], 1), rng.integers(40, size=400).astype(str))
    objective = Multitask([2], FixedWeights({"a": 1.0}))
    return FittedEncoder(objective, Judgement(0.5, {"auc.a": 0.5}, (scores,)), 400, 0)


class Recorder:
    """Trains by looking up what a learning rate is worth; keeps what it was asked."""

    def __init__(self, worth: Mapping[float, float]) -> None:
        self.worth, self.asked = worth, []

    def __call__(self, weights: dict[str, float], *, learning_rate: float, **how: Any) -> FittedEncoder:
        self.asked.append((learning_rate, how))
        how["log"]("validation.auc", self.worth[learning_rate], 0)
        return fitted(self.worth[learning_rate])


def searched(tuned: float, start: float) -> Tuning:
    scores = [mean_auc(fitted(signal).scores, 0) for signal in (start, tuned)]
    trials = tuple(
        Trial(i, s, score, "complete") for i, (s, score) in enumerate(zip((START, TUNED), scores, strict=True))
    )
    return Tuning(START, trials[1], scores[1] - scores[0], {}, trials)


def kept(worth: Mapping[float, float], tuning: Tuning, in_full: bool) -> tuple[Setting, Any, Recorder, list[str]]:
    fit, logged = Recorder(worth), []
    setting, _, comparison = fit_tuned(
        fit, tuning, epochs=7, seed=0, in_full=in_full, log=lambda name, value, step: logged.append(name)
    )
    assert all(how["epochs"] == 7 for _, how in fit.asked)
    return setting, comparison, fit, logged


def test_trials_decide_which_setting_is_trained_in_full() -> None:
    setting, comparison, fit, _ = kept({3e-3: 2}, searched(tuned=2, start=0.5), in_full=False)
    assert (setting, [rate for rate, _ in fit.asked]) == (TUNED, [3e-3])
    assert (comparison.scale, comparison.taken) == ("trial", True)
    setting, comparison, fit, _ = kept({1e-3: 2}, searched(tuned=0.51, start=0.5), in_full=False)
    assert (setting, [rate for rate, _ in fit.asked]) == (START, [1e-3])
    assert not comparison.taken


@pytest.mark.parametrize(("tuned", "taken"), [(2.0, True), (0.9, False), (0.5, False)])
def test_full_trainings_decide_where_asked(tuned: float, taken: bool) -> None:
    """Whatever the trials said."""
    setting, comparison, fit, logged = kept({3e-3: tuned, 1e-3: 0.9}, searched(tuned=2, start=0.5), in_full=True)
    assert [rate for rate, _ in fit.asked] == [3e-3, 1e-3]
    assert logged == ["validation.auc", "start.validation.auc"]
    assert (setting == TUNED, comparison.taken, comparison.scale) == (taken, taken, "full")
    expected = mean_auc(fitted(tuned).scores, 0).value - mean_auc(fitted(0.9).scores, 0).value
    assert comparison.gain == pytest.approx(expected)


def test_a_rival_that_is_below_the_first_is_not_trained_in_full() -> None:
    setting, comparison, fit, _ = kept({1e-3: 1}, searched(tuned=0.5, start=0.9), in_full=True)
    assert (setting, [rate for rate, _ in fit.asked]) == (START, [1e-3])
    assert (comparison.scale, comparison.taken) == ("trial", False)
    assert comparison.gain < 0


def test_without_trials_nothing_is_compared() -> None:
    setting, comparison, fit, _ = kept({1e-3: 1}, Tuning(START, None, None, {}, ()), in_full=True)
    assert (setting, comparison, len(fit.asked)) == (START, None, 1)


def test_a_trial_is_short_and_scored_by_the_mean_auc() -> None:
    fit = Recorder({3e-3: 1.0})
    report = torch.nn.Identity()
    score = short_trial(fit, 2, 640, 5)(TUNED, report)
    assert score.value == mean_auc(fitted(1.0).scores, 5).value
    assert (score.draws == mean_auc(fitted(1.0).scores, 5).draws).all()
    (rate, how) = fit.asked[0]
    assert (rate, how["epochs"], how["tiles_per_epoch"], how["on_epoch"]) == (3e-3, 2, 640, report)
