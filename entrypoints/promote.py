"""Let a registered version be served, if its gate says so."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    model: str
    """Version to promote: models:/nic-<endpoint>/<version>; one of nic-<endpoint>.dev is copied to nic-<endpoint>."""
    gates: Path = Path("registry/promotion.yaml")
    """What each registered name must show."""
    strict: bool = False
    """Exit with code 1 when the version is refused."""


def run(config: Config) -> dict[str, Any]:
    """Give a version the alias champion if it passes its gate and is no worse than the champion; say why if not."""
    from entrypoints.stages import promote  # here: --help and a mistyped word need neither MLflow nor torch

    return promote.run(config)


if __name__ == "__main__":
    launch(run, Config)
