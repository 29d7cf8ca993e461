"""The search for an encoder's hyperparameters, and the training that follows it. The only importer of optuna."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from joblib import Parallel, delayed
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from nic.encoder.certificate import Comparison
from nic.encoder.multitask import normalised
from nic.encoder.train import Hooks, OnEpoch, Schedule, TrainedEncoder
from nic.errors import EncoderError
from nic.tasks.tile_auc import Resampled, mean_auc

TUNABLE = ("weights", "learning_rate", "augmentation")
AUGMENTATIONS = ("none", "light", "heavy")
"""Those that are searched."""
LOW, HIGH = 0.1, 10.0
FASTER = 4.0
"""The learning rate is searched up to this factor above and below the first one."""
STARTUP = 4
"""Trials before the sampler learns from earlier ones: the start and three random draws."""
CLEARLY = 0.05
"""Least gain of a short trial that is believed: trials with equal hyperparameters differ by 0.04 from seed to seed."""
ENOUGH = 8
"""Completed trials from which the importance of each hyperparameter is estimated."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
DRAWS_KEPT = 5
"""Decimals of each draw in the storage; a trial's draws stay below the 64 kB of the narrowest database."""


@dataclass(frozen=True)
class Hyperparameters:
    """The part of a training that is searched. weights: of the tasks, mean 1. augmentation: none, light or heavy."""

    weights: dict[str, float]
    learning_rate: float
    augmentation: str

    def __str__(self) -> str:
        weights = ", ".join(f"{task} {weight:.2f}" for task, weight in self.weights.items())
        return f"{weights}; learning rate {self.learning_rate:.2g}; augmentation {self.augmentation}"

    def applied_to(self, schedule: Schedule) -> Schedule:
        return replace(schedule, learning_rate=self.learning_rate, augmentation=self.augmentation)


TrainTrial = Callable[[Hyperparameters, OnEpoch], Resampled]
"""Trains with hyperparameters, reports (epoch, score) on its way; the score of held-out tiles with its draws."""
Train = Callable[[Hyperparameters, Schedule, Hooks], TrainedEncoder]
"""A training of the tasks of a search; see `short_trial` and `train_tuned`."""


@dataclass(frozen=True)
class SearchPlan:
    """What is searched, how long, and where.

    tuned: which of TUNABLE; the others stay as in the start. Held-out tiles are from the labs of the training tiles,
    and so favour weaker augmentation than new labs need: tune augmentation knowingly. epochs, tiles_per_epoch: of a
    trial. storage: a journal's path or a database's URL; several machines with one storage share the searches of one
    name, and a killed search resumes with its finished trials; None keeps nothing. workers: processes here, each with
    its share of the cores. in_full: whether the best trial and the start are then both trained in full.
    """

    tuned: tuple[str, ...]
    trials: int
    epochs: int
    tiles_per_epoch: int | None = None
    storage: str | Path | None = None
    workers: int = 1
    in_full: bool = False

    def of_trial(self, schedule: Schedule) -> Schedule:
        """The schedule of a trial: short, and without patience."""
        return replace(schedule, epochs=self.epochs, tiles_per_epoch=self.tiles_per_epoch, patience=None)


@dataclass(frozen=True)
class Trial:
    """One trial of the search. score: None unless complete. state: complete or pruned."""

    number: int
    hyperparameters: Hyperparameters
    score: Resampled | None
    state: str

    @property
    def value(self) -> float:
        return self.score.value if self.score else math.nan

    @property
    def parameters(self) -> dict[str, Any]:
        """The hyperparameters as one flat dictionary."""
        return _flat(self.hyperparameters)


@dataclass(frozen=True)
class Tuning:
    """The outcome of a search.

    start: the first trial's hyperparameters. best: the completed trial of the highest score with others, if any. gain:
    its score minus that of the start, on the same draws of the same held-out groups; below 0 when the start stayed the
    best. importance: share of the score's variance by hyperparameter, empty when too few trials were completed.
    trials: all that finished, by number.
    """

    start: Hyperparameters
    best: Trial | None
    gain: Resampled | None
    importance: dict[str, float]
    trials: tuple[Trial, ...]

    @property
    def helped(self) -> bool:
        """Whether the gain is beyond chance over tiles (its interval is above 0) and over seeds (CLEARLY)."""
        return self.gain is not None and self.gain.low > 0 and self.gain.value > CLEARLY

    @property
    def chosen(self) -> Hyperparameters:
        """Those to train with: the start unless tuning helped.

        The highest of a few noisy scores is mostly luck, and skewed weights starve a task in the full training.
        """
        return self.best.hyperparameters if self.best and self.helped else self.start

    def __str__(self) -> str:
        if self.gain is None or self.best is None:
            return f"nothing to compare after {len(self.trials)} trials: the first hyperparameters stay"
        verdict = "tuning helped" if self.helped else "tuning did not help: the first hyperparameters stay"
        others = len(self.trials) - 1
        return f"trial {self.best.number}, best of {others} others, against the first: {self.gain} mean AUC; {verdict}"


def tune(
    train_trial: TrainTrial,
    start: Hyperparameters,
    plan: SearchPlan,
    *,
    seed: int,
    name: str = "search",
    on_trial: Callable[[Trial], None] | None = None,
) -> Tuning:
    """Search by TPE and Hyperband for the hyperparameters of the highest score, beginning with `start`.

    A poor trial is pruned by the scores that it reports before its last epoch. Trials depend on the seed, their place
    and earlier trials: one worker repeats them. name: of the search in its storage.
    Raises EncoderError when the plan tunes something else than TUNABLE, or has workers without a storage.
    """
    if unknown := set(plan.tuned) - set(TUNABLE):
        raise EncoderError(f"tune {', '.join(sorted(unknown))}: wanted some of {', '.join(TUNABLE)}")
    if plan.workers > 1 and plan.storage is None:
        raise EncoderError(f"{plan.workers} workers need a storage that they share; give a path or a URL")
    storage = optuna.storages.InMemoryStorage() if plan.storage is None else plan.storage
    search = _Search(train_trial, start, plan, seed, name, storage)
    study = search.study()
    begun = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.WAITING))
    if not any(search.is_start(trial) for trial in begun):  # one that was killed does not count
        study.enqueue_trial(search.parameters)
    open_trials = range(plan.trials - len(study.get_trials(deepcopy=False, states=FINISHED)))
    parallel = Parallel(n_jobs=plan.workers, return_as="generator_unordered")
    for number in parallel(delayed(search.run)() for _ in open_trials):
        if on_trial and number is not None:
            on_trial(search.trial(study.get_trials()[number]))
    return search.outcome()


def short_trial(train: Train, schedule: Schedule) -> TrainTrial:
    """A training just long enough to rank hyperparameters by the mean AUC of held-out tiles."""

    def trial(hyperparameters: Hyperparameters, report: OnEpoch) -> Resampled:
        trained = train(hyperparameters, hyperparameters.applied_to(schedule), Hooks(on_epoch=report))
        return mean_auc(trained.scores, schedule.seed)

    return trial


def train_tuned(
    train: Train, tuning: Tuning, schedule: Schedule, hooks: Hooks, *, in_full: bool
) -> tuple[Hyperparameters, TrainedEncoder, Comparison | None]:
    """Train with the hyperparameters that the search chose: these, the encoder, and how the best compare to the start.

    in_full: where the best trial was above the start, train with both and let the paired interval on held-out tiles
    decide. The figures of the start are then logged with the prefix "start.".
    """

    def trained(hyperparameters: Hyperparameters, hooks: Hooks) -> TrainedEncoder:
        return train(hyperparameters, hyperparameters.applied_to(schedule), hooks)

    if tuning.best is None or tuning.gain is None:
        return tuning.start, trained(tuning.start, hooks), None
    best, gain = tuning.best.hyperparameters, tuning.gain
    if not in_full or gain.value <= 0:
        chosen = tuning.chosen
        return chosen, trained(chosen, hooks), _comparison(best, tuning.start, gain, "trial", tuning.helped)
    log_start = replace(hooks, log=lambda name, value, step: hooks.log(f"start.{name}", value, step))
    of_best, of_start = trained(best, hooks), trained(tuning.start, log_start)
    gain = mean_auc(of_best.scores, schedule.seed) - mean_auc(of_start.scores, schedule.seed)
    comparison = _comparison(best, tuning.start, gain, "full", gain.low > 0)
    return (best, of_best, comparison) if comparison.taken else (tuning.start, of_start, comparison)


def _comparison(best: Hyperparameters, start: Hyperparameters, gain: Resampled, scale: str, taken: bool) -> Comparison:
    return Comparison(str(best), str(start), gain.value, gain.low, gain.high, scale, taken)


@dataclass(frozen=True)
class _Search:
    """A search, as each worker runs it."""

    train_trial: TrainTrial
    start: Hyperparameters
    plan: SearchPlan
    seed: int
    name: str
    storage: str | Path | optuna.storages.BaseStorage

    def study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=self.plan.epochs, reduction_factor=3)
        return optuna.create_study(
            study_name=self.name,
            direction="maximize",
            pruner=pruner,
            storage=_opened(self.storage),
            load_if_exists=True,
        )

    def run(self) -> int | None:
        """One trial; its number. None when others have finished the search."""
        numbers: list[int] = []
        study = self.study()
        if len(study.get_trials(deepcopy=False, states=FINISHED)) < self.plan.trials:
            study.optimize(self.objective, 1, callbacks=[lambda _, trial: numbers.append(trial.number)])
        return numbers[0] if numbers else None

    def objective(self, trial: optuna.Trial) -> float:
        trial.study.sampler = self.sampler(trial)
        hyperparameters = self.suggested(trial)

        def report(epoch: int, score: float) -> None:
            trial.report(score, epoch + 1)  # resources spent, as Hyperband counts them
            poor = trial.should_prune()  # of every trial: later ones are compared with it
            if poor and epoch + 1 < self.plan.epochs and hyperparameters != self.start:
                raise optuna.TrialPruned

        score = self.train_trial(hyperparameters, report)
        draws = score.draws.round(DRAWS_KEPT).tolist()
        trial.set_user_attr("score", {"value": score.value, "draws": draws, "n": score.n, "groups": score.groups})
        return score.value

    def sampler(self, trial: optuna.Trial) -> optuna.samplers.TPESampler:
        """Made for each trial, seeded by the number of earlier ones: the same after a kill, another on each machine."""
        before = trial.study.get_trials(deepcopy=False)[: trial.number]
        place = sum(other.state != TrialState.FAIL for other in before)
        return optuna.samplers.TPESampler(seed=self.seed + place, n_startup_trials=STARTUP, constant_liar=True)

    @property
    def parameters(self) -> dict[str, Any]:
        """The start as the sampler would have drawn it."""
        of_weights = {f"weight {task}" for task in self.start.weights} if "weights" in self.plan.tuned else set()
        return {name: value for name, value in _flat(self.start).items() if name in {*of_weights, *self.plan.tuned}}

    def suggested(self, trial: optuna.Trial) -> Hyperparameters:
        rate = self.start.learning_rate
        if "weights" in self.plan.tuned:
            for task in self.start.weights:
                trial.suggest_float(f"weight {task}", LOW, HIGH, log=True)
        if "learning_rate" in self.plan.tuned:
            trial.suggest_float("learning_rate", rate / FASTER, rate * FASTER, log=True)
        if "augmentation" in self.plan.tuned:
            trial.suggest_categorical("augmentation", AUGMENTATIONS)
        return self.hyperparameters(trial.params)

    def hyperparameters(self, parameters: dict[str, Any]) -> Hyperparameters:
        """Parameters of a trial, and the start's where a trial has none."""
        whole = _flat(self.start) | parameters
        weights = {task: whole[f"weight {task}"] for task in self.start.weights}
        return Hyperparameters(normalised(weights), whole["learning_rate"], whole["augmentation"])

    def is_start(self, trial: optuna.trial.FrozenTrial) -> bool:
        queued: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
        return self.hyperparameters({**queued, **trial.params}) == self.start

    def trial(self, trial: optuna.trial.FrozenTrial) -> Trial:
        kept = trial.user_attrs.get("score")
        score = Resampled(**{**kept, "draws": np.array(kept["draws"])}) if kept else None
        return Trial(trial.number, self.hyperparameters(trial.params), score, trial.state.name.lower())

    def outcome(self) -> Tuning:
        study = self.study()
        trials = tuple(self.trial(trial) for trial in study.get_trials(states=FINISHED))
        complete = [(trial.score, trial) for trial in trials if trial.score]
        first = next((trial for _, trial in complete if trial.hyperparameters == self.start), None)
        others = [pair for pair in complete if pair[1].hyperparameters != self.start]
        best = max(others, key=lambda pair: pair[0].value, default=(None, None))[1]
        gain = best.score - first.score if best and best.score and first and first.score else None
        importance: dict[str, float] = {}
        if len({score.value for score, _ in complete}) >= ENOUGH:
            judge = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
            importance = optuna.importance.get_param_importances(study, evaluator=judge)
        return Tuning(self.start, best, gain, importance, trials)


def _flat(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """As the parameters of a trial."""
    weights = {f"weight {task}": weight for task, weight in hyperparameters.weights.items()}
    rate, augmentation = hyperparameters.learning_rate, hyperparameters.augmentation
    return {**weights, "learning_rate": rate, "augmentation": augmentation}


def _opened(storage: str | Path | optuna.storages.BaseStorage) -> optuna.storages.BaseStorage:
    if isinstance(storage, optuna.storages.BaseStorage):
        return storage
    if "://" in str(storage):
        return optuna.storages.get_storage(str(storage))
    path = Path(storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
