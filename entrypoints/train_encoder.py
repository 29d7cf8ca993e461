"""Step 1: train a multitask encoder on labelled tiles, with tuned task weights, and register it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from entrypoints.cli import launch
from nic.encoder.export import export_encoder
from nic.encoder.training import fit_multitask
from nic.encoder.tuning import Report, tune_task_weights
from nic.study import read_study
from nic.tasks.reading import read_task
from nic.tasks.tile_task import TileTask, load_tiles
from nic.tracking.digests import digest
from nic.tracking.promotion import Figure, record_figures
from nic.tracking.registry import register_encoder
from nic.tracking.runs import lineage, log_trial, stage_run

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
    """Trials of the search for task weights; 0 trains with uniform weights."""
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


def tile_tasks(config: Config) -> list[TileTask]:
    return [read_task(entry) for entry in read_study(config.study).tile_tasks]


def inputs(config: Config) -> dict[str, str]:
    return {"tasks": digest({task.name: task.digest for task in tile_tasks(config)})}


def run(config: Config) -> dict[str, Any]:
    """Train a multitask encoder on the study's labelled tiles, with tuned task weights, and register it."""
    tasks = tile_tasks(config)
    names = [task.name for task in tasks]
    with stage_run("train_encoder", config, inputs(config)) as stage:
        tile_sets = [load_tiles(task, TILE_PX, TILE_MPP, config.work / "tiles") for task in tasks]
        fit = partial(
            fit_multitask,
            tile_sets,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            augmentation=config.augmentation,
            seed=config.seed,
        )

        def trial(weights: dict[str, float], report: Report) -> float:
            fitted = fit(
                weights, epochs=config.trial_epochs, log=quiet, tiles_per_epoch=config.trial_tiles, on_epoch=report
            )
            return fitted.score

        tuning = tune_task_weights(
            trial, names, trials=config.trials, seed=config.seed, epochs=config.trial_epochs, on_trial=log_trial
        )
        fitted = fit(tuning.weights, epochs=config.epochs, log=stage.log)
        graph = config.work / "encoder.onnx"
        sample = np.concatenate([tile_set.tiles[:16] for tile_set in tile_sets])
        spec, difference = export_encoder(fitted.encoder, "multitask", names, graph, sample)
        stage.log("parity", difference)
        stage.log("validation.auc", fitted.score)
        version = register_encoder(graph, lineage("train_encoder", encoder_sha256=spec.sha256, **inputs(config)))
        measured = Figure(fitted.score, fitted.held_out, inputs(config)["tasks"])
        record_figures(version, {"validation.auc": measured}, data=measured.data)
        print(f"{version.uri}: mean validation AUC {fitted.score:.3f}; task weights {tuning}")
        found = {"validation": fitted.validation, "weights": tuning.weights, "tuning_gain": tuning.gain}
        stage.result.update(version=version.uri, sha256=spec.sha256, **found)
    return stage.result


def quiet(name: str, value: float, step: int) -> None:
    """Trials log their score alone, as runs of their own."""


if __name__ == "__main__":
    launch(run, Config)
