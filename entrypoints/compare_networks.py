"""Patient networks side by side: each on each endpoint of a study, with intervals and paired differences."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch, names_in
from nic.patients.choices import Recipe


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/phantom.yaml")
    """Study file with the endpoints and their cohorts."""
    codes: Path = Path("work/codes")
    """Folder with a folder of compressed slides for each cohort, named <cohort> or <cohort>-<encoder>."""
    encoder: str = ""
    """First letters of the encoder's digest, where a cohort was compressed by several encoders; else empty."""
    endpoints: str = ""
    """Names of endpoints, with commas between; empty: all of the study."""
    networks: str = "context-mil,grid-cnn,crop-cnn,attention-mil,pooled-linear"
    """Networks, with commas between; each is compared with the first."""
    folds: int = 5
    """Number of folds; all networks have the same folds."""
    epochs: int = 0
    """Epochs of each network; 0: as many as 160 steps of the optimizer take, 240 of classes, at least 40."""
    learning_rate: float = 1e-2
    """Highest learning rate of the one-cycle schedule."""
    seed: int = 0
    """Seed of the folds, the training and the bootstrap."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages import compare_networks

    return compare_networks.inputs(config.study, names_in(config.endpoints), config.codes, config.encoder)


def run(config: Config) -> dict[str, Any]:
    """Train every network on every endpoint with the same folds, and compare them on the external patients."""
    from nic.stages import compare_networks
    from nic.tracking.runs import stage_run

    recipe = Recipe(epochs=config.epochs, learning_rate=config.learning_rate)
    training = compare_networks.FoldTraining(recipe, config.folds, config.seed)
    with stage_run("compare_networks", config, inputs(config)) as stage:
        named = config.study, names_in(config.endpoints), config.codes, config.encoder
        results = compare_networks.compare(*named, names_in(config.networks), training, stage)
        stage.result.update(results)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
