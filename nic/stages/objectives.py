"""Step 1 by objective: how the tiles of a study train an encoder."""

from collections.abc import Callable, Sequence

from nic.encoder.model_card import comparison_text
from nic.encoder.multitask import Multitask, multitask, uniform_weights
from nic.encoder.network import MeanRgb, random_encoder
from nic.encoder.objective import Objective
from nic.encoder.training import Hooks, Schedule, TrainedEncoder, train
from nic.encoder.tuning import Hyperparameters, SearchPlan, short_trial, train_tuned, tune
from nic.stages.registration import EncoderCandidate, log_tuning
from nic.tasks.tile_task import TileSet
from nic.tracking.runs import StageRun, log_trial


def train_searched(
    tile_sets: Sequence[TileSet],
    schedule: Schedule,
    trial_schedule: Schedule,
    plan: SearchPlan,
    hooks: Hooks,
    stage: StageRun,
    *,
    in_full: bool,
) -> EncoderCandidate:
    """Multitask with the task weights of a search. in_full: see train_tuned."""

    def train_with(hyperparameters: Hyperparameters, schedule: Schedule, hooks: Hooks) -> TrainedEncoder:
        return train(tile_sets, multitask(tile_sets, hyperparameters.weights), schedule, hooks)

    tuning = tune(
        short_trial(train_with, trial_schedule),
        Hyperparameters(uniform_weights(names_of(tile_sets)), schedule.learning_rate, schedule.augmentation),
        plan,
        lambda trial: log_trial(trial.number, trial.parameters, trial.value, trial.state),
    )
    log_tuning(tuning, stage)
    chosen, trained, comparison = train_tuned(train_with, tuning, schedule, hooks, in_full=in_full)
    outcome = comparison_text(comparison) if comparison else str(tuning)
    print(outcome)
    stage.result.update(weights=chosen.weights, tuning=outcome)
    return EncoderCandidate.of(trained, str(chosen), comparison)


def train_weighted(
    tile_sets: Sequence[TileSet], schedule: Schedule, hooks: Hooks, stage: StageRun, *, learned: bool
) -> EncoderCandidate:
    """Multitask with equal task weights, or with weights learned as the uncertainties of the tasks."""
    weights = None if learned else uniform_weights(names_of(tile_sets))
    trained = train(tile_sets, multitask(tile_sets, weights), schedule, hooks)
    assert isinstance(trained.objective, Multitask)
    final = trained.objective.weighting.weights
    stage.result.update(weights=final)
    return EncoderCandidate.of(trained, str(Hyperparameters(final, schedule.learning_rate, schedule.augmentation)))


def train_unsupervised(
    tile_sets: Sequence[TileSet], objective: Callable[[], Objective], schedule: Schedule, hooks: Hooks
) -> EncoderCandidate:
    """An objective without labels, on the same tiles."""
    trained = train(tile_sets, objective, schedule, hooks)
    rest = f"learning rate {schedule.learning_rate:.2g}; augmentation {schedule.augmentation}"
    return EncoderCandidate.of(trained, f"tiles of {', '.join(names_of(tile_sets))} without their labels; {rest}")


def untrained(seed: int) -> EncoderCandidate:
    """The reference of random weights."""
    return EncoderCandidate(random_encoder(seed), "random", f"Nothing: its weights are as drawn with seed {seed}.")


def mean_rgb() -> EncoderCandidate:
    """The reference of mean colours."""
    return EncoderCandidate(MeanRgb(), "mean-rgb", "Nothing: a code is the mean colour of its tile.")


def names_of(tile_sets: Sequence[TileSet]) -> list[str]:
    return [tile_set.task.name for tile_set in tile_sets]
