"""What a registered model, or the model behind an answer, was made of."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from entrypoints.cli import inputs_today, launch

if TYPE_CHECKING:
    from nic.tracking.trace import Node


@dataclass(frozen=True)
class Config:
    of: str
    """A model, as models:/<name>/<version> or models:/<name>@<alias>; or a file of answers: .json of a server, .csv or
    .parquet of `predict`."""


def run(config: Config) -> "list[Node]":
    """Print what a model was made of, and which of it no longer exists."""
    from nic.stages.lineage import show_lineage

    return show_lineage(config.of, inputs_today)


if __name__ == "__main__":
    launch(run, Config)
