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


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.endpoint_inputs import evaluation_inputs

    return evaluation_inputs(config.study, config.endpoint, config.codes, config.model, config.subgroups)


def run(config: Config) -> dict[str, Any]:
    """Measure a registered model on one part of a cohort, beside the oracle where the truth is known, and report."""
    from nic.tracking.runs import stage_run

    with stage_run("evaluate", config, inputs(config)) as stage:
        from nic.stages.evaluate import evaluate

        model = config.study, config.endpoint, config.codes, config.model
        stage.result.update(evaluate(*model, config.split, config.subgroups, config.seed, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
