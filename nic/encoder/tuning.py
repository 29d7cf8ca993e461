"""The search for what to train an encoder with: task weights, rate, augmentation. The only importer of optuna."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from joblib import Parallel, delayed
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from nic.encoder.multitask import normalised
from nic.errors import EncoderError
from nic.tasks.augment import STRENGTHS
from nic.tasks.tile_auc import Resampled

TUNABLE = ("weights", "learning_rate", "augmentation")
LOW, HIGH = 0.1, 10.0
FASTER = 4.0
"""The learning rate is sought up to this factor above and below the one to start from."""
STARTUP = 4
"""The setting to start from and three random draws, before the sampler learns from what it saw."""
CLEARLY = 0.05
"""Least gain of a short trial that is believed: with equal settings they differ by 0.04 from seed to seed."""
ENOUGH = 8
"""Completed trials from which on it is told what mattered among them."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
DRAWS_KEPT = 5
"""Decimals of each draw in the storage; a trial's draws stay below the 64 kB of the narrowest database."""


@dataclass(frozen=True)
class Setting:
    """What an encoder is trained with. weights: of the tasks, mean 1. augmentation: none, light or heavy."""

    weights: dict[str, float]
    learning_rate: float
    augmentation: str

    def __str__(self) -> str:
        weights = ", ".join(f"{task} {weight:.2f}" for task, weight in self.weights.items())
        return f"{weights}; learning rate {self.learning_rate:.2g}; augmentation {self.augmentation}"


Report = Callable[[int, float], None]
TrainTrial = Callable[[Setting, Report], Resampled]


@dataclass(frozen=True)
class Trial:
    """One trial of the search. score: None unless complete. state: complete or pruned."""

    number: int
    setting: Setting
    score: Resampled | None
    state: str

    @property
    def value(self) -> float:
        return self.score.value if self.score else math.nan

    @property
    def parameters(self) -> dict[str, Any]:
        """The setting, flat."""
        weights = {f"weight {task}": weight for task, weight in self.setting.weights.items()}
        others = {"learning_rate": self.setting.learning_rate, "augmentation": self.setting.augmentation}
        return weights | others


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    start: the first trial's setting. best: of the trials with another one, that of the highest score, if any was
    completed. gain: its score minus that of the start, on the same draws of the same held-out groups; below 0 when the
    start stayed the best. importance: share of the score's variance by what was tuned, empty when too few trials were
    completed. trials: all that finished, by number.
    """

    start: Setting
    best: Trial | None
    gain: Resampled | None
    importance: dict[str, float]
    trials: tuple[Trial, ...]

    @property
    def helped(self) -> bool:
        """The gain is beyond chance over tiles (its interval lies above zero) and over seeds (CLEARLY)."""
        return self.gain is not None and self.gain.low > 0 and self.gain.value > CLEARLY

    @property
    def setting(self) -> Setting:
        """The one to train with: the start unless tuning helped.

        The highest of a few noisy scores is mostly luck, and skewed weights starve a task in the full training.
        """
        return self.best.setting if self.best and self.helped else self.start

    def __str__(self) -> str:
        if self.gain is None or self.best is None:
            return f"nothing to compare after {len(self.trials)} trials: the setting to start from stays"
        verdict = "tuning helped" if self.helped else "tuning did not help: the setting to start from stays"
        others = len(self.trials) - 1
        return f"trial {self.best.number}, best of {others} others, against the first: {self.gain} mean AUC; {verdict}"


def tune(
    train_trial: TrainTrial,
    start: Setting,
    tuned: Sequence[str],
    *,
    trials: int,
    epochs: int,
    seed: int,
    name: str = "search",
    storage: str | Path | None = None,
    workers: int = 1,
    on_trial: Callable[[Trial], None] | None = None,
) -> Tuning:
    """Search by TPE and Hyperband for the setting of the highest score, beginning with `start`.

    train_trial: trains with a setting, reports (epoch, score) on its way, returns the score of held-out tiles with its
    draws; a poor trial is pruned by what it reports before its last epoch. tuned: which of TUNABLE; the others stay as
    in `start`. Tiles held out are of the labs that were trained on, and so speak for weaker augmentation than new labs
    do: tune it knowingly.

    storage: a journal's path, or a database's URL; several machines with one storage and `name` share one search. One
    that was killed goes on, and what finished counts; None forgets. workers: processes here, each with its share of
    the cores. Trials depend on the seed, their place and those before them, so that one worker's are the same again.
    Raises EncoderError when it is asked to tune what it cannot, or for workers without a storage.
    """
    if unknown := set(tuned) - set(TUNABLE):
        raise EncoderError(f"tune {', '.join(sorted(unknown))}: wanted some of {', '.join(TUNABLE)}")
    if workers > 1 and storage is None:
        raise EncoderError(f"{workers} workers need a storage that they share; give a path or a URL")
    place = optuna.storages.InMemoryStorage() if storage is None else storage
    search = _Search(train_trial, start, tuple(tuned), trials, epochs, seed, name, place)
    study = search.study()
    begun = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.WAITING))
    if not any(search.is_start(trial) for trial in begun):  # one that was killed does not count
        study.enqueue_trial(search.parameters)
    turns = range(trials - len(study.get_trials(deepcopy=False, states=FINISHED)))
    numbers = Parallel(n_jobs=workers, return_as="generator_unordered")(delayed(search.run)() for _ in turns)
    for number in numbers:
        if on_trial and number is not None:
            on_trial(search.trial(study.get_trials()[number]))
    return search.found()


@dataclass(frozen=True)
class _Search:
    """A search as every worker has it."""

    train_trial: TrainTrial
    start: Setting
    tuned: tuple[str, ...]
    trials: int
    epochs: int
    seed: int
    name: str
    storage: str | Path | optuna.storages.BaseStorage

    def study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=self.epochs, reduction_factor=3)
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
        if len(study.get_trials(deepcopy=False, states=FINISHED)) < self.trials:
            study.optimize(self.objective, 1, callbacks=[lambda _, trial: numbers.append(trial.number)])
        return numbers[0] if numbers else None

    def objective(self, trial: optuna.Trial) -> float:
        trial.study.sampler = self.sampler(trial)
        setting = self.suggested(trial)

        def report(epoch: int, score: float) -> None:
            trial.report(score, epoch + 1)  # resources spent, as Hyperband counts them
            poor = trial.should_prune()  # asked of every trial, for the others to be judged by
            if poor and epoch + 1 < self.epochs and setting != self.start:
                raise optuna.TrialPruned

        score = self.train_trial(setting, report)
        draws = score.draws.round(DRAWS_KEPT).tolist()
        trial.set_user_attr("score", {"value": score.value, "draws": draws, "n": score.n, "groups": score.groups})
        return score.value

    def sampler(self, trial: optuna.Trial) -> optuna.samplers.TPESampler:
        """Made for each trial and seeded by how many stand before: the same after a kill, another on each machine."""
        before = trial.study.get_trials(deepcopy=False)[: trial.number]
        place = sum(other.state != TrialState.FAIL for other in before)
        return optuna.samplers.TPESampler(seed=self.seed + place, n_startup_trials=STARTUP, constant_liar=True)

    @property
    def parameters(self) -> dict[str, Any]:
        """The start as the sampler would have drawn it."""
        weights = {f"weight {task}": weight for task, weight in self.start.weights.items()}
        others = {name: value for name, value in asdict(self.start).items() if name != "weights"}
        return {**(weights if "weights" in self.tuned else {}), **{n: v for n, v in others.items() if n in self.tuned}}

    def suggested(self, trial: optuna.Trial) -> Setting:
        rate = self.start.learning_rate
        if "weights" in self.tuned:
            for task in self.start.weights:
                trial.suggest_float(f"weight {task}", LOW, HIGH, log=True)
        if "learning_rate" in self.tuned:
            trial.suggest_float("learning_rate", rate / FASTER, rate * FASTER, log=True)
        if "augmentation" in self.tuned:
            trial.suggest_categorical("augmentation", list(STRENGTHS))
        return self.setting(trial.params)

    def setting(self, parameters: dict[str, Any]) -> Setting:
        weights = {task: parameters.get(f"weight {task}", weight) for task, weight in self.start.weights.items()}
        known = {name: parameters.get(name, getattr(self.start, name)) for name in ("learning_rate", "augmentation")}
        return Setting(normalised(weights), **known)

    def is_start(self, trial: optuna.trial.FrozenTrial) -> bool:
        queued: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
        return self.setting({**queued, **trial.params}) == self.start

    def trial(self, trial: optuna.trial.FrozenTrial) -> Trial:
        kept = trial.user_attrs.get("score")
        score = Resampled(**{**kept, "draws": np.array(kept["draws"])}) if kept else None
        return Trial(trial.number, self.setting(trial.params), score, trial.state.name.lower())

    def found(self) -> Tuning:
        study = self.study()
        trials = tuple(self.trial(trial) for trial in study.get_trials(states=FINISHED))
        complete = [(trial.score, trial) for trial in trials if trial.score]
        begin = next((trial for _, trial in complete if trial.setting == self.start), None)
        others = [pair for pair in complete if pair[1].setting != self.start]
        best = max(others, key=lambda pair: pair[0].value, default=(None, None))[1]
        gain = best.score - begin.score if best and best.score and begin and begin.score else None
        importance: dict[str, float] = {}
        if len({score.value for score, _ in complete}) >= ENOUGH:
            judge = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
            importance = optuna.importance.get_param_importances(study, evaluator=judge)
        return Tuning(self.start, best, gain, importance, trials)


def _opened(storage: str | Path | optuna.storages.BaseStorage) -> optuna.storages.BaseStorage:
    if isinstance(storage, optuna.storages.BaseStorage):
        return storage
    if "://" in str(storage):
        return optuna.storages.get_storage(str(storage))
    path = Path(storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
