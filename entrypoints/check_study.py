"""A study checked whole before anything long begins; all problems in one table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/phantom.yaml")
    """Study file to check: docs/study.md explains each key."""
    work: Path = Path("work")
    """Folder in which `main` keeps compressed slides and decoded tiles; its disk must have the space."""
    gates: Path = Path("registry/promotion.yaml")
    """File of gates, for endpoints without a gate in the study file."""
    sample: int = 12
    """Number of slides that are opened, spread over sites and folders. All slides are looked for."""


def run(config: Config) -> dict[str, Any]:
    """Check the study file, tables, labels, folds, covariates, gates, tile tasks, encoder, slides and disk space.

    All problems are printed in one table, and kept as problems.csv. The exit code is 1 if one stops the study.
    """
    from nic.tracking.runs import stage_run

    with stage_run("check_study", config, {}) as stage:
        from nic.stages.check_study import check_study

        stage.result.update(check_study(config.study, config.work, config.gates, config.sample, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
