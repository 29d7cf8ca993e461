"""The search begins at the start, finds better hyperparameters, resumes after a kill, and says when it did not help."""

import os
from pathlib import Path

import numpy as np
import pytest

from nic.encoder.encoder_pictures import search_history, search_importance
from nic.encoder.train import OnEpoch
from nic.encoder.tuning import CLEARLY, Hyperparameters, SearchPlan, Trial, Tuning, tune
from nic.errors import EncoderError
from nic.tasks.tile_auc import Resampled

START = Hyperparameters({"a": 1.0, "b": 1.0}, 1e-3, "heavy")


def resampled(value: float, spread: float = 0.0) -> Resampled:
    """A score with draws about it; two of them are drawn alike, as of the same tiles."""
    return Resampled(value, value + spread * np.random.default_rng(0).normal(size=50), 10, 5)


def peak(hyperparameters: Hyperparameters, report: OnEpoch) -> Resampled:
    """Highest where task b weighs four times task a."""
    score = float(-((np.log(hyperparameters.weights["b"] / hyperparameters.weights["a"]) - np.log(4)) ** 2))
    report(0, score)
    return resampled(score)


def search(train_trial=peak, tuned=("weights",), trials=5, **changed) -> Tuning:  # type: ignore[no-untyped-def]
    of_search = {key: changed.pop(key) for key in ("on_trial", "name", "seed") if key in changed}
    plan = SearchPlan(tuned, **{"trials": trials, "epochs": 1} | changed)
    return tune(train_trial, START, plan, **{"seed": 0} | of_search)


def test_it_begins_at_the_start_and_finds_the_better_weights() -> None:
    seen: list[Trial] = []
    tuning = search(trials=25, on_trial=seen.append)
    assert (seen[0].number, seen[0].hyperparameters) == (0, START)
    assert [trial.number for trial in seen] == list(range(25))
    assert tuning.helped
    assert tuning.chosen.weights["b"] / tuning.chosen.weights["a"] == pytest.approx(4, rel=0.5)
    assert sum(tuning.chosen.weights.values()) == pytest.approx(2)
    assert (tuning.chosen.learning_rate, tuning.chosen.augmentation) == (1e-3, "heavy")
    assert "tuning helped" in str(tuning)


def test_rate_and_augmentation_are_tuned_when_asked() -> None:
    def strong(hyperparameters: Hyperparameters, report: OnEpoch) -> Resampled:
        distance = abs(np.log(hyperparameters.learning_rate / 3e-3))
        return resampled(float(hyperparameters.augmentation == "light") - distance)

    tuning = search(strong, ("learning_rate", "augmentation"), trials=30)
    assert tuning.trials[0].hyperparameters == START
    assert tuning.chosen.augmentation == "light"
    assert tuning.chosen.learning_rate == pytest.approx(3e-3, rel=0.3)
    assert tuning.chosen.weights == START.weights
    assert set(tuning.importance) == {"learning_rate", "augmentation"}


def test_importance_shows_which_hyperparameter_mattered() -> None:
    tuning = search(lambda s, report: resampled(np.log(s.learning_rate)), ("weights", "learning_rate"), trials=20)
    assert max(tuning.importance, key=tuning.importance.__getitem__) == "learning_rate"
    assert sum(tuning.importance.values()) == pytest.approx(1)


def test_a_gain_that_may_be_luck_leaves_the_start() -> None:
    tuning = search(lambda s, report: resampled(0.9 + peak(s, report).value / 100), trials=12)
    assert tuning.gain is not None
    assert 0 < tuning.gain.value < CLEARLY
    assert tuning.chosen == START
    assert "did not help" in str(tuning)


def test_a_gain_within_the_chance_of_few_tiles_leaves_the_start() -> None:
    """The gain itself is large, but it turns on which slides were held out."""

    def unsure(hyperparameters: Hyperparameters, report: OnEpoch) -> Resampled:
        value = peak(hyperparameters, report).value
        return resampled(value, spread=5 * value)

    tuning = search(unsure, trials=25)
    assert tuning.gain is not None
    assert tuning.gain.value > CLEARLY
    assert tuning.gain.low < 0
    assert tuning.chosen == START


def test_a_start_that_stays_the_best_is_compared_with_the_best_other() -> None:
    tuning = search(lambda s, report: resampled(-sum(np.log(w) ** 2 for w in s.weights.values())), trials=8)
    others = [trial.value for trial in tuning.trials[1:]]
    assert tuning.best is not None
    assert tuning.gain is not None
    assert tuning.best.value == max(others)
    assert tuning.gain.value == pytest.approx(max(others) - tuning.trials[0].value)
    assert tuning.gain.value < 0
    assert tuning.chosen == START
    assert "did not help" in str(tuning)


def test_no_trials_leave_the_start() -> None:
    tuning = search(trials=0)
    assert tuning.chosen == START
    assert "nothing to compare" in str(tuning)


def test_one_seed_gives_one_search() -> None:
    first, again, other = search(), search(), search(seed=1)
    assert [t.hyperparameters for t in first.trials] == [t.hyperparameters for t in again.trials]
    assert first.trials[1].hyperparameters != other.trials[1].hyperparameters


def test_a_killed_search_resumes_to_the_same_outcome(tmp_path: Path) -> None:
    calls: list[Hyperparameters] = []

    def dies(hyperparameters: Hyperparameters, report: OnEpoch) -> Resampled:
        calls.append(hyperparameters)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return peak(hyperparameters, report)

    with pytest.raises(KeyboardInterrupt):
        search(dies, storage=tmp_path / "trials.log")
    tuning = search(dies, storage=tmp_path / "trials.log")
    assert [t.state for t in tuning.trials] == ["complete"] * 5
    assert len(calls) == 6
    assert [t.hyperparameters for t in tuning.trials[:4]] == [t.hyperparameters for t in search().trials[:4]]


def test_a_search_killed_in_its_first_trial_begins_at_the_start_again(tmp_path: Path) -> None:
    def dies(hyperparameters: Hyperparameters, report: OnEpoch) -> Resampled:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(dies, storage=tmp_path / "trials.log")
    assert search(storage=tmp_path / "trials.log", trials=2).trials[0].hyperparameters == START


def test_draws_outlive_the_process_so_that_machines_can_be_compared(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/trials.db"
    score = resampled(0.7, spread=0.1)
    search(lambda s, report: score, trials=1, storage=storage)
    again = search(trials=1, storage=storage)
    assert again.trials[0].score is not None
    assert np.abs(again.trials[0].score.draws - score.draws).max() < 1e-5


def test_a_poor_trial_is_pruned_before_its_last_epoch_but_never_the_start() -> None:
    """Each score is below the one before it, so that all but the first are pruned, and none when all is spent."""
    scores = iter(np.linspace(1, 0, 50))
    epochs: list[int] = []

    def falling(hyperparameters: Hyperparameters, report: OnEpoch) -> Resampled:
        epochs.append(0)
        for epoch in range(2):
            epochs[-1] += 1
            score = float(next(scores))
            report(epoch, score)
        return resampled(score)

    tuning = search(falling, trials=4, epochs=2)
    assert [t.state for t in tuning.trials] == ["complete", "pruned", "pruned", "pruned"]
    assert epochs == [2, 1, 1, 1]
    assert tuning.chosen == START


def slow_peak(hyperparameters: Hyperparameters, report: OnEpoch) -> Resampled:
    return Resampled(peak(hyperparameters, report).value, np.zeros(3), os.getpid(), 1)


def test_machines_that_share_a_search_do_not_draw_the_same(tmp_path: Path) -> None:
    """A second machine joins while the first is in its first trial, and finishes three of the six."""
    storage, joined = tmp_path / "trials.log", []

    def slow(hyperparameters: Hyperparameters, report: OnEpoch) -> Resampled:
        if not joined:
            joined.append(True)
            search(storage=storage, trials=3)
        return peak(hyperparameters, report)

    tuning = search(slow, storage=storage, trials=6)
    assert len(tuning.trials) == 6
    drawn = {trial.hyperparameters.weights["a"] for trial in tuning.trials}
    assert len(drawn) >= 5  # both may have begun at the start


@pytest.mark.slow
def test_workers_share_one_search_each_in_a_process_of_its_own(tmp_path: Path) -> None:
    seen: list[Trial] = []
    tuning = search(slow_peak, trials=6, workers=2, storage=tmp_path / "trials.log", on_trial=seen.append)
    assert sorted(trial.number for trial in seen) == list(range(6))
    assert sum(trial.hyperparameters == START for trial in tuning.trials) == 1
    assert os.getpid() not in {trial.score.n for trial in tuning.trials if trial.score}


def test_unknown_hyperparameters_are_refused() -> None:
    with pytest.raises(EncoderError, match="tune depth: wanted some of weights, learning_rate, augmentation"):
        search(tuned=("weights", "depth"))
    with pytest.raises(EncoderError, match="2 workers need a storage"):
        search(workers=2)


def test_history_and_importance_are_drawn() -> None:
    tuning = search(trials=8)
    assert tuning.importance
    axes = search_history(tuning).axes[0]
    assert sorted(axes.collections[0].get_offsets()[:, 0]) == list(range(8))
    assert axes.lines[0].get_ydata()[-1] == max(t.score.value for t in tuning.trials if t.score)
    assert [label.get_text() for label in search_importance(tuning).axes[0].get_yticklabels()] == list(
        tuning.importance
    )


def test_a_search_without_scores_is_drawn_as_such() -> None:
    assert "no trial" in search_history(search(trials=0)).axes[0].get_title()
    assert "too few" in search_importance(search(trials=1)).axes[0].get_title()
