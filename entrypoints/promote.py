"""Make a registered version the one that is served, if it passes its gate."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    model: str
    """Version to promote: models:/nic-<endpoint>/<version>. A version of nic-<endpoint>.dev is copied to
    nic-<endpoint>."""
    gates: Path = Path("registry/promotion.yaml")
    """File of gates: what a version of each registered name must show."""
    study: str = ""
    """Study file; the gates of its endpoints replace those of `gates`. Empty: none."""
    strict: bool = False
    """Exit with code 1 when the version is refused."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages import promote

    return promote.inputs(config.model, promote.gates_in(config.gates, config.study))


def run(config: Config) -> dict[str, Any]:
    """Give a version the alias champion if it passes its gate and is no worse than the champion; else say why not."""
    from nic.stages import promote
    from nic.tracking.runs import stage_run

    gates = promote.gates_in(config.gates, config.study)
    with stage_run("promote", config, inputs(config)) as stage:
        stage.result.update(promote.promote(config.model, gates, stage))
    if config.strict and not stage.result["promoted"]:
        sys.exit(1)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
