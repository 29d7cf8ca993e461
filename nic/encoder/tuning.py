"""The search for task weights. The only importer of optuna."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend

from nic.encoder.multitask import normalised, uniform_weights

LOW, HIGH = 0.1, 10.0
STARTUP = 4
"""Uniform weights and three random draws, before the sampler learns from what it saw."""
CLEARLY = 0.05
"""Least gain over uniform weights: short trials with equal weights differ by 0.04 from seed to seed."""
FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Trial:
    """One trial of the search. score: NaN unless complete. state: complete, pruned or fail."""

    weights: dict[str, float]
    score: float
    state: str


@dataclass(frozen=True)
class Tuning:
    """weights: those to train with, mean 1. gain: score of the best trial minus that of uniform weights."""

    weights: dict[str, float]
    trials: tuple[Trial, ...]
    gain: float

    def __str__(self) -> str:
        shown = ", ".join(f"{task} {weight:.2f}" for task, weight in self.weights.items())
        found = f"best of {len(self.trials)} trials {self.gain:+.3f} mean AUC against uniform weights"
        verdict = "taken" if self.gain > CLEARLY else "not a clear gain, uniform weights stay"
        return f"{shown} ({found}: {verdict})"


def tune_task_weights(
    train_trial: Callable[[dict[str, float], Report], float],
    tasks: Sequence[str],
    *,
    trials: int,
    seed: int,
    epochs: int,
    storage: Path | None = None,
    on_trial: Callable[[int, dict[str, float], float, str], None] | None = None,
) -> Tuning:
    """Search task weights in [0.1, 10] on a log scale for the highest score; the first trial has uniform weights.

    Uniform weights stay unless the best trial is clearly better than they: the highest of a few noisy scores is
    mostly luck, and skewed weights starve a task in the full training.

    train_trial: trains with the weights, reports (epoch, score) on its way, returns the score; a poor trial is pruned
    by what it reports before its last epoch. storage: a journal, so that a killed search goes on; what finished counts.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="task-weights",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3),
        storage=_journal(storage),
        load_if_exists=True,
    )
    finished_before = len(study.get_trials(deepcopy=False, states=FINISHED))
    if finished_before == 0:  # a trial that was killed does not count
        study.enqueue_trial(uniform_weights(tasks))

    def objective(trial: optuna.Trial) -> float:
        weights = normalised({task: trial.suggest_float(task, LOW, HIGH, log=True) for task in tasks})

        def report(epoch: int, score: float) -> None:
            trial.report(score, epoch + 1)  # resources spent, as Hyperband counts them
            if epoch + 1 < epochs and trial.should_prune():
                raise optuna.TrialPruned

        return train_trial(weights, report)

    def finished(_: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if on_trial:
            done = _as_trial(trial)
            on_trial(trial.number, done.weights, done.score, done.state)

    if trials > finished_before:
        study.optimize(objective, trials - finished_before, callbacks=[finished])
    done = tuple(_as_trial(t) for t in study.get_trials(states=FINISHED))
    scores = [trial.score if trial.state == "complete" else -math.inf for trial in done]
    gain = max(scores) - scores[0] if scores else 0.0
    best = done[scores.index(max(scores))].weights if gain > CLEARLY else uniform_weights(tasks)
    return Tuning(best, done, gain)


def _as_trial(trial: optuna.trial.FrozenTrial) -> Trial:
    complete = trial.state == optuna.trial.TrialState.COMPLETE and trial.value is not None
    return Trial(normalised(trial.params), trial.value if complete else math.nan, trial.state.name.lower())  # type: ignore[arg-type]


def _journal(path: Path | None) -> optuna.storages.JournalStorage | None:
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
