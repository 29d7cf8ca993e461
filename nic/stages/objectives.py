"""Step 1 by objective: how the tiles of a study train an encoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from nic.encoder.bigan import BiGan
from nic.encoder.contrastive import Contrastive
from nic.encoder.model_card import comparison_text
from nic.encoder.multitask import Multitask, multitask, uniform_weights
from nic.encoder.network import MeanRgb, random_encoder
from nic.encoder.objective import Objective
from nic.encoder.train import Hooks, Schedule, TrainedEncoder, train
from nic.encoder.tuning import Hyperparameters, SearchPlan, Trial, short_trial, train_tuned, tune
from nic.encoder.vae import Vae
from nic.stages.registration import EncoderCandidate, log_tuning
from nic.tasks.tile_task import TileSet
from nic.tracking.digests import digest
from nic.tracking.runs import StageRun, log_trial
from nic.tracking.source_digest import source_digest


@dataclass(frozen=True)
class TrainingPlan:
    """What an encoder learns and how. gamma: weight of the KL term of vae. search: for weighting="tuned"."""

    objective: Literal["multitask", "vae", "contrastive", "bigan", "mean-rgb", "random"]
    weighting: Literal["tuned", "uniform", "uncertainty"]
    gamma: float
    schedule: Schedule
    search: SearchPlan


def train_objective(
    plan: TrainingPlan, tile_sets: Sequence[TileSet], tasks: str, stage: StageRun, folder: Path
) -> EncoderCandidate:
    """An encoder for the objective. tasks: digest of the tiles. folder: keeps the state of a killed training."""
    schedule, hooks = plan.schedule, Hooks(stage.log, checkpoints=folder)
    match plan.objective:
        case "multitask" if plan.weighting == "tuned":
            return _tuned(tile_sets, schedule, plan.search, hooks, stage, search_name(schedule, plan.search, tasks))
        case "multitask":
            return _weighted(tile_sets, schedule, hooks, stage, learned=plan.weighting == "uncertainty")
        case "vae":
            return _unsupervised(tile_sets, partial(Vae, plan.gamma), schedule, hooks)
        case "contrastive":
            return _unsupervised(tile_sets, Contrastive, schedule, hooks)
        case "bigan":
            return _unsupervised(tile_sets, BiGan, schedule, hooks)
        case "random":
            words = f"Nothing: its weights are as drawn with seed {schedule.seed}."
            return EncoderCandidate(random_encoder(schedule.seed), "random", words)
        case "mean-rgb":
            return EncoderCandidate(MeanRgb(), "mean-rgb", "Nothing: a code is the mean colour of its tile.")


def _tuned(
    tile_sets: Sequence[TileSet], schedule: Schedule, search: SearchPlan, hooks: Hooks, stage: StageRun, name: str
) -> EncoderCandidate:
    """All tasks, with the hyperparameters of a search. name: of the search."""

    def train_with(hyperparameters: Hyperparameters, schedule: Schedule, hooks: Hooks) -> TrainedEncoder:
        return train(tile_sets, multitask(tile_sets, hyperparameters.weights), schedule, hooks)

    start = Hyperparameters(uniform_weights(names_of(tile_sets)), schedule.learning_rate, schedule.augmentation)
    trial = short_trial(train_with, search.of_trial(schedule))
    tuning = tune(trial, start, search, seed=schedule.seed, name=name, on_trial=_log_trial)
    log_tuning(tuning, stage)
    chosen, trained, comparison = train_tuned(train_with, tuning, schedule, hooks, in_full=search.in_full)
    outcome = comparison_text(comparison) if comparison else str(tuning)
    print(outcome)
    stage.result.update(weights=chosen.weights, tuning=outcome)
    return EncoderCandidate.of(trained, str(chosen), comparison)


def _weighted(
    tile_sets: Sequence[TileSet], schedule: Schedule, hooks: Hooks, stage: StageRun, *, learned: bool
) -> EncoderCandidate:
    """All tasks, with equal weights or with weights learned as their uncertainties."""
    weights = None if learned else uniform_weights(names_of(tile_sets))
    trained = train(tile_sets, multitask(tile_sets, weights), schedule, hooks)
    assert isinstance(trained.objective, Multitask)
    final = trained.objective.weighting.weights
    stage.result.update(weights=final)
    return EncoderCandidate.of(trained, str(Hyperparameters(final, schedule.learning_rate, schedule.augmentation)))


def _unsupervised(
    tile_sets: Sequence[TileSet], objective: Callable[[], Objective], schedule: Schedule, hooks: Hooks
) -> EncoderCandidate:
    """The same tiles without their labels."""
    trained = train(tile_sets, objective, schedule, hooks)
    rest = f"learning rate {schedule.learning_rate:.2g}; augmentation {schedule.augmentation}"
    return EncoderCandidate.of(trained, f"tiles of {', '.join(names_of(tile_sets))} without their labels; {rest}")


def _log_trial(trial: Trial) -> None:
    log_trial(trial.number, trial.parameters, trial.value, trial.state)


def names_of(tile_sets: Sequence[TileSet]) -> list[str]:
    return [tile_set.task.name for tile_set in tile_sets]


def search_name(schedule: Schedule, search: SearchPlan, tasks: str) -> str:
    """Trials of one name belong to one search: same data, code and kind of training, whatever is done with it."""
    alike = {
        "tasks": tasks,
        "code": source_digest("train_encoder"),
        "trial": (search.epochs, search.tiles_per_epoch, search.tuned),
        "schedule": (schedule.batch_size, schedule.learning_rate, schedule.augmentation, schedule.seed),
    }
    return digest(alike)
