"""Make the embedded study: synthetic slides, labelled tiles and patients whose truth is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    out: Path = Path("data/phantom")
    """Folder that receives slides, tiles and tables; a killed run goes on where it was."""
    seed: int = 0
    """The same seed gives the same pixels."""
    workers: int = 2
    """Slides drawn at a time."""


def run(config: Config) -> dict[str, Any]:
    """Make the phantom study: slides, tile tasks and cohorts, with the truth beside them."""
    from entrypoints.stages import make_phantom  # here: --help and a mistyped word need neither MLflow nor torch

    return make_phantom.run(config)


if __name__ == "__main__":
    launch(run, Config)
