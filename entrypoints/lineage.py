"""From a registered version, or an answer that one gave, to the bytes it was made of."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from entrypoints.cli import launch

if TYPE_CHECKING:
    from nic.tracking.trace import Node


@dataclass(frozen=True)
class Config:
    of: str
    """models:/<name>/<version>, models:/<name>@<alias>, or a file of answers: .json of a server, .csv or .parquet of
    `predict`."""


def run(config: Config) -> "list[Node]":
    """Print what a model, or the model behind an answer, was made of, and what of that no longer exists."""
    from entrypoints.cli import inputs_today
    from nic.stages.lineage import show_lineage

    return show_lineage(config.of, inputs_today)


if __name__ == "__main__":
    launch(run, Config)
