"""Serve the version that was served before."""

from dataclasses import dataclass
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    name: str
    """Registered model: nic-<endpoint>."""
    reason: str = ""
    """Why, for the record."""


def run(config: Config) -> dict[str, Any]:
    """Make the previous champion champion again; the one that it replaces becomes previous."""
    from entrypoints.stages import rollback  # here: --help and a mistyped word need neither MLflow nor torch

    return rollback.run(config)


if __name__ == "__main__":
    launch(run, Config)
