"""A registered model on patients it has not seen: figures with intervals, tagged on the version for the gates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch
from nic.patients.choices import Part


@dataclass(frozen=True)
class Config:
    study: Path
    """Study file that names the endpoint and its cohort."""
    endpoint: str
    """Which endpoint of the study."""
    codes: Path
    """Folder of compressed slides, made by the model's own encoder."""
    model: str
    """Registered model: models:/nic-<endpoint>/<version> or models:/nic-<endpoint>@champion."""
    split: Part = "external"
    """Which part of the cohort; cross_validated: the training patients, each answered by the networks that never saw
    that patient."""
    seed: int = 0
    """Seed of the patient bootstrap."""
    subgroups: str = "site"
    """Columns of the cohort's table, separated by commas, by whose groups the report tells the figure that decides."""


def run(config: Config) -> dict[str, Any]:
    """Measure a registered model on one part of a cohort, beside the oracle where the truth is known, and report."""
    from entrypoints.stages import evaluate  # here: --help and a mistyped word need neither MLflow nor torch

    return evaluate.run(config)


if __name__ == "__main__":
    launch(run, Config)
