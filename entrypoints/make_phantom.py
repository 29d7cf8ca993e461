"""Make the embedded study: synthetic slides, labelled tiles and patients whose truth is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch
from nic.phantom.study import PhantomConfig, make_phantom
from nic.tracking.runs import stage_run


@dataclass(frozen=True)
class Config:
    out: Path = Path("data/phantom")
    """Folder that receives slides, tiles and tables; a killed run goes on where it was."""
    seed: int = 0
    """The same seed gives the same pixels."""
    workers: int = 2
    """Slides drawn at a time."""


def inputs(config: Config) -> dict[str, str]:
    return {}


def run(config: Config) -> dict[str, Any]:
    """Make the phantom study: slides, tile tasks and cohorts, with the truth beside them."""
    with stage_run("make_phantom", config, inputs(config)) as stage:
        study = make_phantom(config.out, PhantomConfig(seed=config.seed), workers=config.workers)
        stage.result.update(digest=study.digest, outputs=[str(config.out)])
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
