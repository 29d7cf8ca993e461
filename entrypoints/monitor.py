"""Whether the patients a registered model is asked for are like those it learned from: a small report, no labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    model: str
    """Registered model whose answers are looked at: models:/nic-<endpoint>@champion."""
    answers: Path
    """What it answered: the server's log (NIC_ANSWERS_LOG, .jsonl), or a table of `predict` (.csv, .parquet)."""
    out: Path = Path("monitor.html")
    """The report."""
    last: int = 1000
    """Answers that are looked at, the latest."""
    strict: bool = False
    """Exit with code 1 when something is to be looked at."""


def run(config: Config) -> dict[str, Any]:
    """Compare the answers of a model with what it would answer patients like those of its training."""
    from entrypoints.stages import monitor  # here: --help and a mistyped word need neither MLflow nor torch

    return monitor.run(config)


if __name__ == "__main__":
    launch(run, Config)
