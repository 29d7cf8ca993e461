"""Step 1: train an encoder on labelled tiles and register it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch, names_in


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/phantom.yaml")
    """Study file whose tile tasks the encoder learns."""
    work: Path = Path("work")
    """Folder for decoded tiles, for the journal of the search, and for unfinished trainings."""
    objective: Literal["multitask", "vae", "contrastive", "bigan", "mean-rgb", "random"] = "multitask"
    """What the encoder learns. mean-rgb and random learn nothing; they are references to compare with."""
    tasks: str = ""
    """Names of the tile tasks to learn, with commas between; empty: all of the study."""
    weighting: Literal["tuned", "uniform", "uncertainty"] = "tuned"
    """How multitask weighs its tasks: tuned by a search, uniform, or learned as uncertainty (Kendall et al. 2018)."""
    seed: int = 0
    """Seed of the split into training and held-out tiles, of the search, and of the training."""
    trials: int = 5
    """Number of trials in the search for task weights; 0 trains with equal weights."""
    trial_epochs: int = 2
    """Most epochs of a trial; a poor trial is stopped earlier."""
    trial_tiles: int = 2000
    """Tiles in an epoch of a trial; 2000 are enough to rank weights."""
    epochs: int = 14
    """Most epochs of the training."""
    patience: int = 5
    """Training ends after this many epochs without a better score on held-out tiles; epochs before the peak of the
    learning rate do not count."""
    batch_size: int = 64
    """Tiles in a training step, equally many of each task."""
    learning_rate: float = 2e-3
    """Highest learning rate of the one-cycle schedule."""
    augmentation: str = "heavy"
    """none, light, heavy, or no-colour, which is heavy without changes of colour. The paper found that heavy colour
    augmentation helps on slides of other laboratories."""
    gamma: float = 1.0
    """Weight of the KL term in the loss of vae; a larger one makes codes smoother and less detailed."""
    tune: str = "weights"
    """What the search tunes: weights, learning_rate, augmentation, or several of them with + between."""
    tuning_storage: str = ""
    """Where the search keeps its trials, for several machines to share: a journal's path or a database URL (sqlite:///,
    postgresql://); empty: a journal in `work`."""
    workers: int = 1
    """Processes that run trials on this machine, each with its share of the cores."""
    compare_in_full: bool = False
    """Train with the best setting and with the first one in full, and keep the better; takes twice the time. Otherwise
    the trials decide."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.tile_inputs import training_inputs

    return training_inputs(config.study, names_in(config.tasks))


def run(config: Config) -> dict[str, Any]:
    """Train an encoder on the study's labelled tiles and register it.

    Where only the code of serving has changed since a training, its encoder is registered again with the new code.
    """
    from nic.tracking.runs import stage_run
    from nic.tracking.trained_before import register_again, result_again, trained_before

    with stage_run("train_encoder", config, inputs(config)) as stage:
        if trained := trained_before(stage):
            stage.result.update(result_again(trained, register_again(trained, stage)))
            return stage.result

        from nic.encoder.train import Schedule
        from nic.encoder.tuning import SearchPlan
        from nic.stages.objectives import TrainingPlan
        from nic.stages.train_encoder import train

        rate = config.learning_rate, config.augmentation, config.seed
        schedule = Schedule(config.epochs, config.batch_size, *rate, patience=config.patience)
        storage = config.tuning_storage or config.work / "tuning.log"
        trials = tuple(config.tune.split("+")), config.trials, config.trial_epochs, config.trial_tiles
        search = SearchPlan(*trials, storage, config.workers, config.compare_in_full)
        plan = TrainingPlan(config.objective, config.weighting, config.gamma, schedule, search)
        stage.result.update(train(config.study, names_in(config.tasks), config.work, plan, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
