"""The promotion of a registered version, if it passes its gate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nic.study import read_study
from nic.tracking import promotion
from nic.tracking.aliases import served_name
from nic.tracking.digests import digest
from nic.tracking.gates import Gate, gate_of, read_gates
from nic.tracking.registry import find_version
from nic.tracking.runs import StageRun
from nic.tracking.verdict_page import publish


def gates_in(file: Path, study: str) -> dict[str, Gate]:
    """Gates by registered name: those of the study file's endpoints, else those of the file of gates.

    study: its path, or empty. Raises RegistryError, StudyError.
    """
    return read_gates(file) | (read_study(Path(study)).gates if study else {})


def inputs(model: str, gates: Mapping[str, Gate]) -> dict[str, str]:
    """Raises NoGate when the model has none."""
    version = find_version(model)
    rival = promotion.rival(version)
    judged = {v.full_name: v.tags for v in (version, rival) if v}
    figures = {name: {k: v for k, v in tags.items() if k.startswith("figure.")} for name, tags in judged.items()}
    gate = digest({"gate": str(gate_of(served_name(version), gates))})
    return {"gates": gate, "rival": rival.version if rival else "none", "figures": digest(figures)}


def promote(model: str, gates: Mapping[str, Gate], stage: StageRun) -> dict[str, Any]:
    """Judge the version, and publish and print the verdict; the stage's result."""
    verdict = promotion.promote(model, gates)
    publish(verdict, stage.run_id)
    version, estimate = verdict.served or verdict.candidate, f"{verdict.gate.figure} {verdict.estimate}"
    print(f"{version.name} version {version.version}: {'promoted' if verdict.promoted else 'refused'} ({estimate})")
    print("".join(f"  + {c.name}: {c.observed}\n" if c.passed else f"  - {c}\n" for c in verdict.checks), end="")
    served = {"name": version.name, "version": version.version}
    return served | {"promoted": verdict.promoted, "reasons": list(verdict.reasons)}
