"""Step 1: train a multitask encoder on labelled tiles, with tuned task weights, and register it."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from entrypoints.cli import launch
from entrypoints.registration import log_augmentation, log_tuning, register_trained
from nic.encoder.model_card import comparison_text
from nic.encoder.multitask import uniform_weights
from nic.encoder.training import fit_multitask
from nic.encoder.tuned_fit import fit_tuned, short_trial
from nic.encoder.tuning import Setting, tune
from nic.study import read_study
from nic.tasks.reading import read_task
from nic.tasks.tile_auc import mean_auc
from nic.tasks.tile_task import TileTask, load_tiles
from nic.tracking.digests import code_digest, digest
from nic.tracking.runs import log_trial, stage_run

TILE_PX, TILE_MPP = 64, 1.0  # the published encoder's field


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/phantom.yaml")
    """Study file; its tile tasks are what the encoder learns."""
    work: Path = Path("work")
    """Folder for decoded tiles and the graph before it is registered."""
    seed: int = 0
    """Seed of the splits, the weights' search and the training."""
    trials: int = 5
    """Trials of the search; 0 trains with uniform weights."""
    trial_epochs: int = 2
    """Epochs of each trial, before pruning."""
    trial_tiles: int = 2000
    """Tiles of an epoch of a trial: enough to rank weights by."""
    epochs: int = 10
    """Epochs of the training with the best weights."""
    batch_size: int = 64
    """Tiles a step, in equal shares of the tasks."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    augmentation: str = "heavy"
    """none, light or heavy; heavy colour augmentation is one of the paper's findings."""
    tune: str = "weights"
    """What is tuned, joined by +: weights, learning_rate, augmentation."""
    tuning_storage: str = ""
    """Journal or database URL (sqlite:///, postgresql://) that workers and machines share; empty: a journal in work."""
    workers: int = 1
    """Processes that run trials here, each with its share of the cores."""
    compare_in_full: bool = False
    """Train the best setting and the first both in full and keep the better; else trials decide, at half the time."""


def tile_tasks(config: Config) -> list[TileTask]:
    return [read_task(entry) for entry in read_study(config.study).tile_tasks]


def inputs(config: Config) -> dict[str, str]:
    return {"tasks": digest({task.name: task.digest for task in tile_tasks(config)})}


def search_name(config: Config) -> str:
    """Trials of one name are of one search: same data, code and kind of training, whatever came of it afterwards."""
    alike = replace(
        config, study=Path(), work=Path(), trials=0, epochs=0, tuning_storage="", workers=1, compare_in_full=False
    )
    return digest({"config": asdict(alike), "inputs": inputs(config), "code": code_digest("train_encoder")})


def run(config: Config) -> dict[str, Any]:
    """Train a multitask encoder on the study's labelled tiles, with tuned task weights, and register it."""
    tasks = tile_tasks(config)
    names = [task.name for task in tasks]
    with stage_run("train_encoder", config, inputs(config)) as stage:
        tile_sets = [load_tiles(task, TILE_PX, TILE_MPP, config.work / "tiles") for task in tasks]
        log_augmentation(tile_sets, config.augmentation, stage, config.seed)
        fit = partial(fit_multitask, tile_sets, batch_size=config.batch_size, seed=config.seed)
        tuning = tune(
            short_trial(fit, config.trial_epochs, config.trial_tiles, config.seed),
            Setting(uniform_weights(names), config.learning_rate, config.augmentation),
            config.tune.split("+"),
            trials=config.trials,
            epochs=config.trial_epochs,
            seed=config.seed,
            name=search_name(config),
            storage=config.tuning_storage or config.work / "tuning.log",
            workers=config.workers,
            on_trial=lambda trial: log_trial(trial.number, trial.parameters, trial.value, trial.state),
        )
        log_tuning(tuning, stage)
        setting, fitted, comparison = fit_tuned(
            fit, tuning, epochs=config.epochs, seed=config.seed, in_full=config.compare_in_full, log=stage.log
        )
        version = register_trained(
            fitted,
            "multitask",
            tile_sets,
            str(setting),
            comparison,
            config.work / "encoder.onnx",
            stage,
            inputs(config),
            config.seed,
        )
        print(f"{version.uri}: mean validation AUC {mean_auc(fitted.scores, config.seed)}; trained with {setting}")
        outcome = comparison_text(comparison) if comparison else str(tuning)
        print(outcome)
        found = {"validation": fitted.validation, "weights": setting.weights, "tuning": outcome}
        stage.result.update(version=version.uri, sha256=version.tags["nic.encoder_sha256"], **found)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
