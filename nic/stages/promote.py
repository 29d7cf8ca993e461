"""The promotion of a registered version, if it passes its gate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nic.tracking import promotion
from nic.tracking.digests import digest, file_sha256
from nic.tracking.gates import Gate
from nic.tracking.registry import find_version
from nic.tracking.runs import StageRun
from nic.tracking.verdict_page import publish


def inputs(model: str, gates_file: Path) -> dict[str, str]:
    version = find_version(model)
    rival = promotion.rival(version)
    judged = {v.full_name: v.tags for v in (version, rival) if v}
    figures = {name: {k: v for k, v in tags.items() if k.startswith("figure.")} for name, tags in judged.items()}
    gates = file_sha256(gates_file)
    return {"gates": gates, "rival": rival.version if rival else "none", "figures": digest(figures)}


def promote(model: str, gates: Mapping[str, Gate], stage: StageRun) -> dict[str, Any]:
    """Judge the version, and publish and print the verdict; the stage's result."""
    verdict = promotion.promote(model, gates)
    publish(verdict, stage.run_id)
    version, estimate = verdict.served or verdict.candidate, f"{verdict.gate.figure} {verdict.estimate}"
    print(f"{version.name} version {version.version}: {'promoted' if verdict.promoted else 'refused'} ({estimate})")
    print("".join(f"  + {c.name}: {c.observed}\n" if c.passed else f"  - {c}\n" for c in verdict.checks), end="")
    served = {"name": version.name, "version": version.version}
    return served | {"promoted": verdict.promoted, "reasons": list(verdict.reasons)}
