"""Whether the patients that a registered model answers for are like those of its training; labels are not needed."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    model: str
    """Registered model whose answers are compared: models:/nic-<endpoint>@champion."""
    answers: Path
    """Its answers: the server's log (NIC_ANSWERS_LOG, .jsonl) or a table of `predict` (.csv, .parquet)."""
    out: Path = Path("monitor.html")
    """File of the report."""
    last: int = 1000
    """Number of answers that are compared, the latest ones."""
    strict: bool = False
    """Exit with code 1 when a check raises an alarm."""


def inputs(config: Config) -> dict[str, str]:
    from nic.errors import RequestRefused
    from nic.tracking.digests import file_sha256
    from nic.tracking.registry import find_version

    if not config.answers.is_file():
        raise RequestRefused(f"{config.answers}: no such file; a server writes it if NIC_ANSWERS_LOG names it")
    return {"model": find_version(config.model).uri, "answers": file_sha256(config.answers)}


def run(config: Config) -> dict[str, Any]:
    """Compare a model's answers with those it would give to patients like those of its training."""
    from nic.tracking.runs import stage_run

    with stage_run("monitor", config, inputs(config)) as stage:
        from nic.stages.monitor import compare_with_training

        stage.result.update(compare_with_training(config.model, config.answers, config.last, config.out, stage))
    if config.strict and stage.result["alarms"]:
        sys.exit(1)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
