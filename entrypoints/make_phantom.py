"""The phantom study: synthetic slides, labelled tiles and patients whose truth is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    out: Path = Path("data/phantom")
    """Folder for the slides, tiles and tables. A run that was killed continues there."""
    seed: int = 0
    """Seed of all that is drawn; the same seed gives the same pixels."""
    train: int = 0
    """Training patients of each cohort; 0: 80 of breast and 100 of liver."""
    external: int = 0
    """External patients of each cohort; 0: 64."""
    workers: int = 2
    """Number of slides drawn at a time, each in a process."""


def inputs(config: Config) -> dict[str, str]:
    """It reads nothing."""
    return {}


def run(config: Config) -> dict[str, Any]:
    """Make the phantom study: slides, tile tasks, cohorts, and a table of the truth."""
    from nic.tracking.runs import stage_run

    with stage_run("make_phantom", config, inputs(config)) as stage:
        from nic.phantom.phantom_study import PhantomConfig, make_phantom

        drawn = PhantomConfig(config.seed).with_patients(config.train, config.external)
        study = make_phantom(config.out, drawn, workers=config.workers)
        stage.result.update(digest=study.digest, outputs=[str(config.out)])
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
