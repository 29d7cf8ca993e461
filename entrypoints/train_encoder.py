"""Step 1: train an encoder on labelled tiles, for one objective of several, and register it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/phantom.yaml")
    """Study file; its tile tasks are what the encoder learns."""
    work: Path = Path("work")
    """Folder for decoded tiles and the graph before it is registered."""
    objective: Literal["multitask", "vae", "contrastive", "bigan", "mean-rgb", "random"] = "multitask"
    """What the encoder learns; mean-rgb and random learn nothing, as references."""
    tasks: str = ""
    """Names of the study's tile tasks to take, joined by commas; empty takes all."""
    weighting: Literal["tuned", "uniform", "uncertainty"] = "tuned"
    """Of the tasks in multitask: searched, equal, or learned beside the network (Kendall et al. 2018)."""
    seed: int = 0
    """Seed of the splits, the weights' search and the training."""
    trials: int = 5
    """Trials of the search for tuned weights; 0 trains with equal ones."""
    trial_epochs: int = 2
    """Epochs of each trial, before pruning."""
    trial_tiles: int = 2000
    """Tiles of an epoch of a trial: enough to rank weights by."""
    epochs: int = 14
    """Epochs of the training, at most."""
    patience: int = 5
    """Epochs past the peak of the rate without a better score on held-out tiles, after which training ends."""
    batch_size: int = 64
    """Tiles a step, in equal shares of the tasks."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    augmentation: str = "heavy"
    """none, light or heavy; heavy colour augmentation is one of the paper's findings."""
    gamma: float = 1.0
    """Weight of the KL term of vae; larger makes smoother and poorer codes."""
    tune: str = "weights"
    """What is tuned, joined by +: weights, learning_rate, augmentation."""
    tuning_storage: str = ""
    """Journal or database URL (sqlite:///, postgresql://) that workers and machines share; empty: a journal in work."""
    workers: int = 1
    """Processes that run trials here, each with its share of the cores."""
    compare_in_full: bool = False
    """Train the best setting and the first both in full and keep the better; else trials decide, at half the time."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.tile_inputs import training_inputs

    return training_inputs(config.study, config.tasks)


def run(config: Config) -> dict[str, Any]:
    """Train an encoder on the study's labelled tiles, for the objective that is asked for, and register it.

    Where all but the code of serving is as it was, the encoder is registered anew with it, and nothing is trained.
    """
    from nic.tracking.runs import stage_run
    from nic.tracking.trained_before import register_again, result_again, trained_before

    with stage_run("train_encoder", config, inputs(config)) as stage:
        if trained := trained_before(stage):
            stage.result.update(result_again(trained, register_again(trained, stage)))
            return stage.result

        from nic.encoder.training import Schedule
        from nic.stages.objectives import Search, Teaching
        from nic.stages.train_encoder import train

        rate = config.learning_rate, config.augmentation, config.seed
        schedule = Schedule(config.epochs, config.batch_size, *rate, patience=config.patience)
        trials = config.trials, config.trial_epochs, config.trial_tiles
        storage = config.tuning_storage or config.work / "tuning.log"
        search = Search(*trials, config.tune.split("+"), storage, config.workers, config.compare_in_full)
        teaching = Teaching(config.objective, config.weighting, config.gamma, schedule, search)
        stage.result.update(train(config.study, config.tasks, config.work, teaching, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
