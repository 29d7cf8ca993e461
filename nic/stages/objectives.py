"""What `train_encoder` does with the labelled tiles of a study, objective by objective."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from nic.encoder.bigan import BiGan
from nic.encoder.contrastive import Contrastive
from nic.encoder.model_card import comparison_text
from nic.encoder.multitask import Multitask, uniform_weights
from nic.encoder.objective import Objective
from nic.encoder.references import MeanRgb, random_encoder
from nic.encoder.training import Schedule, fit, fit_multitask
from nic.encoder.tuned_fit import fit_tuned, short_trial
from nic.encoder.tuning import Setting, tune
from nic.encoder.vae import Vae
from nic.stages.registration import Trained, log_tuning
from nic.tasks.tile_task import TileSet
from nic.tracking.digests import digest
from nic.tracking.runs import StageRun, log_trial
from nic.tracking.source_digest import source_digest


@dataclass(frozen=True)
class Search:
    """How the weights of tasks are searched for.

    epochs, tiles: of each trial; tiles an epoch. tuned: weights, learning_rate, augmentation, or some of them. storage:
    a journal's path or a database's URL. in_full: whether the best setting and the first are both trained in full.
    """

    trials: int
    epochs: int
    tiles: int
    tuned: Sequence[str]
    storage: str | Path
    workers: int
    in_full: bool


@dataclass(frozen=True)
class Teaching:
    """What an encoder learns and how. gamma: weight of the KL term of vae. search: where the weighting is tuned."""

    objective: Literal["multitask", "vae", "contrastive", "bigan", "mean-rgb", "random"]
    weighting: Literal["tuned", "uniform", "uncertainty"]
    gamma: float
    schedule: Schedule
    search: Search


def taught(teaching: Teaching, tile_sets: Sequence[TileSet], tasks: str, stage: StageRun, folder: Path) -> Trained:
    """An encoder for the objective. tasks: digest of the tiles. folder: keeps what a killed training needs to go on."""
    schedule = teaching.schedule
    match teaching.objective:
        case "multitask" if teaching.weighting == "tuned":
            return multitask_tuned(tile_sets, tasks, schedule, teaching.search, stage, folder)
        case "multitask":
            return multitask(tile_sets, teaching.weighting == "uniform", schedule, stage, folder)
        case "vae":
            return unsupervised(partial(Vae, teaching.gamma), tile_sets, schedule, stage, folder)
        case "contrastive":
            return unsupervised(Contrastive, tile_sets, schedule, stage, folder)
        case "bigan":
            return unsupervised(BiGan, tile_sets, schedule, stage, folder)
        case "random":
            words = f"Nothing: its weights are as drawn with seed {schedule.seed}."
            return Trained(random_encoder(schedule.seed), "random", words)
        case "mean-rgb":
            return Trained(MeanRgb(), "mean-rgb", "Nothing: a code is the mean colour of its tile.")


def multitask_tuned(
    tile_sets: Sequence[TileSet], tasks: str, schedule: Schedule, search: Search, stage: StageRun, folder: Path
) -> Trained:
    """All tasks, weighted as a search decides."""
    seed = schedule.seed
    short = partial(fit_multitask, tile_sets, batch_size=schedule.batch_size, seed=seed)
    tuning = tune(
        short_trial(short, search.epochs, search.tiles, seed),
        Setting(uniform_weights(names_of(tile_sets)), schedule.learning_rate, schedule.augmentation),
        search.tuned,
        trials=search.trials,
        epochs=search.epochs,
        seed=seed,
        name=search_name(schedule, search, tasks),
        storage=search.storage,
        workers=search.workers,
        on_trial=lambda trial: log_trial(trial.number, trial.parameters, trial.value, trial.state),
    )
    log_tuning(tuning, stage)
    full = partial(short, patience=schedule.patience, checkpoints=folder)
    setting, fitted, comparison = fit_tuned(
        full, tuning, epochs=schedule.epochs, seed=seed, in_full=search.in_full, log=stage.log
    )
    outcome = comparison_text(comparison) if comparison else str(tuning)
    print(outcome)
    stage.result.update(weights=setting.weights, tuning=outcome)
    return Trained.of(fitted, str(setting), comparison)


def multitask(
    tile_sets: Sequence[TileSet], uniform: bool, schedule: Schedule, stage: StageRun, folder: Path
) -> Trained:
    """All tasks, weighted alike or as their uncertainties are learned."""
    weights = uniform_weights(names_of(tile_sets)) if uniform else None
    fitted = fit_multitask(tile_sets, weights, log=stage.log, checkpoints=folder, **asdict(schedule))
    assert isinstance(fitted.objective, Multitask)
    learned = fitted.objective.weighting.weights
    stage.result.update(weights=learned)
    return Trained.of(fitted, str(Setting(learned, schedule.learning_rate, schedule.augmentation)))


def unsupervised(
    make: Callable[[], Objective], tile_sets: Sequence[TileSet], schedule: Schedule, stage: StageRun, folder: Path
) -> Trained:
    """The same stream of tiles without their labels."""
    fitted = fit(make, tile_sets, schedule, log=stage.log, checkpoints=folder)
    rest = f"learning rate {schedule.learning_rate:.2g}; augmentation {schedule.augmentation}"
    return Trained.of(fitted, f"tiles of {', '.join(names_of(tile_sets))} without their labels; {rest}")


def names_of(tile_sets: Sequence[TileSet]) -> list[str]:
    return [tile_set.task.name for tile_set in tile_sets]


def search_name(schedule: Schedule, search: Search, tasks: str) -> str:
    """Trials of one name are of one search: same data, code and kind of training, whatever is done with it."""
    alike = {
        "tasks": tasks,
        "code": source_digest("train_encoder"),
        "trial": (search.epochs, search.tiles, tuple(search.tuned)),
        "schedule": (schedule.batch_size, schedule.learning_rate, schedule.augmentation, schedule.seed),
    }
    return digest(alike)
