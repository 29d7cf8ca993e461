"""Let a registered version be served, if its gate says so."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch
from nic.tracking import promotion
from nic.tracking.digests import file_sha256
from nic.tracking.gates import read_gates
from nic.tracking.registry import find_version
from nic.tracking.runs import stage_run
from nic.tracking.verdict_page import publish


@dataclass(frozen=True)
class Config:
    model: str
    """Version to promote: models:/nic-<endpoint>/<version>; one of nic-<endpoint>.dev is copied to nic-<endpoint>."""
    gates: Path = Path("registry/promotion.yaml")
    """What each registered name must show."""
    strict: bool = False
    """Exit with code 1 when the version is refused."""


def inputs(config: Config) -> dict[str, str]:
    rival = promotion.rival(find_version(config.model))
    return {"gates": file_sha256(config.gates), "rival": rival.version if rival else "none"}


def run(config: Config) -> dict[str, Any]:
    """Give a version the alias champion if it passes its gate and is no worse than the champion; say why if not."""
    gates = read_gates(config.gates)
    with stage_run("promote", config, inputs(config)) as stage:
        verdict = promotion.promote(config.model, gates)
        publish(verdict, stage.run_id)
        version, figure = verdict.served or verdict.version, f"{verdict.gate.figure} {verdict.figure}"
        print(f"{version.name} version {version.version}: {'promoted' if verdict.promoted else 'refused'} ({figure})")
        print("".join(f"  + {c.name}: {c.found}\n" if c.passed else f"  - {c}\n" for c in verdict.checks), end="")
        stage.result.update(
            name=version.name, version=version.version, promoted=verdict.promoted, reasons=list(verdict.reasons)
        )
    if config.strict and not verdict.promoted:
        sys.exit(1)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
