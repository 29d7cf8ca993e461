"""A registered model on patients it has not seen: figures with intervals, tagged on the version for the gates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch, names_in
from nic.patients.choices import CohortPart


@dataclass(frozen=True)
class Config:
    study: Path
    """Study file that names the endpoint and its cohort."""
    endpoint: str
    """Name of an endpoint of the study."""
    codes: Path
    """Folder of compressed slides, made by the model's own encoder."""
    model: str
    """Registered model: models:/nic-<endpoint>/<version> or models:/nic-<endpoint>@champion."""
    split: CohortPart = "external"
    """Which patients of the cohort are measured. cross_validated: the training patients, each by the networks that were
    trained without that patient."""
    seed: int = 0
    """Seed of the bootstrap over patients."""
    subgroups: str = "site"
    """Columns of the cohort's table, with commas between; the report gives the main figure for each of their groups."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.endpoint_inputs import evaluation_inputs

    return evaluation_inputs(config.study, config.endpoint, config.codes, config.model, names_in(config.subgroups))


def run(config: Config) -> dict[str, Any]:
    """Measure a registered model on one part of a cohort, in a phantom study also the oracle, and write the report."""
    from nic.stages.endpoint_inputs import cohort_file
    from nic.tracking.runs import stage_run

    with stage_run("evaluate", config, inputs(config), cohort_file(config.study, config.endpoint)) as stage:
        from nic.stages.evaluate import evaluate

        model = config.study, config.endpoint, config.codes, config.model
        stage.result.update(evaluate(*model, config.split, names_in(config.subgroups), config.seed, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
