"""Two registered models of one endpoint on the same patients, and the difference of each figure with its interval."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    study: Path
    """Study file that names the endpoint and its cohort."""
    endpoint: str
    """Name of an endpoint of the study."""
    codes: Path
    """Folder of compressed slides, made by the encoder of `model`."""
    model: str
    """Registered model: models:/nic-<endpoint>/<version> or models:/nic-<endpoint>@champion."""
    other: str
    """The model to compare with; differences are `model` minus `other`."""
    other_codes: str = ""
    """Folder of compressed slides for `other`, where another encoder made its codes; empty: the folder `codes`."""
    split: Literal["train", "external"] = "external"
    """Which patients of the cohort are measured."""
    seed: int = 0
    """Seed of the bootstrap over patients."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.endpoint_inputs import comparison_inputs

    return comparison_inputs(config.study, config.endpoint, *compared(config))


def run(config: Config) -> dict[str, Any]:
    """Measure two registered models on the patients that both can answer for, and their differences with intervals."""
    from nic.stages.endpoint_inputs import cohort_file
    from nic.tracking.runs import stage_run

    places = cohort_file(config.study, config.endpoint) | {"other_codes": compared(config)[3]}
    with stage_run("compare", config, inputs(config), places) as stage:
        from nic.stages.compare import compare

        difference = compare(config.study, config.endpoint, *compared(config), config.split, config.seed, stage)
        stage.result.update(difference)
    return stage.result


def compared(config: Config) -> tuple[str, Path, str, Path]:
    """Each model and the folder of its codes."""
    return config.model, config.codes, config.other, Path(config.other_codes or config.codes)


if __name__ == "__main__":
    launch(run, Config)
