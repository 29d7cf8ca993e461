"""The promotion of a registered version, if it passes its gate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nic.study import read_study
from nic.tracking import promotion
from nic.tracking.aliases import served_name
from nic.tracking.digests import digest
from nic.tracking.gates import Gate, gate_of, read_gates
from nic.tracking.recorded_estimates import estimate_tags
from nic.tracking.registry import ENCODER_NAME, find_version
from nic.tracking.runs import StageRun, run_page
from nic.tracking.verdict_page import FILE, publish


def gates_in(file: Path, study: str) -> dict[str, Gate]:
    """Gates by registered name: those of the study file's endpoints, else those of the file of gates.

    study: its path, or empty. Raises RegistryError, StudyError.
    """
    return read_gates(file) | (read_study(Path(study)).gates if study else {})


def inputs(model: str, gates: Mapping[str, Gate]) -> dict[str, str]:
    """Raises NoGate when the model has none."""
    version = find_version(model)
    rival = promotion.rival(version)
    figures = {v.full_name: estimate_tags(v.tags) for v in (version, rival) if v}
    gate = digest({"gate": str(gate_of(served_name(version), gates))})
    return {"gates": gate, "rival": rival.version if rival else "none", "figures": digest(figures)}


def promote(model: str, gates: Mapping[str, Gate], stage: StageRun) -> dict[str, Any]:
    """Judge the version, and publish and print the verdict; the stage's result."""
    from nic.stages.patient_card import describe  # figures and plots, which the inputs do not need

    rival = promotion.rival(find_version(model))
    verdict = promotion.promote(model, gates)
    publish(verdict, stage.run_id)
    for judged in (*verdict.about, *([rival] if rival else [])):
        if judged.name != ENCODER_NAME:
            describe(judged)
    stage.rename(f"promote {verdict.candidate.full_name}: {'champion' if verdict.promoted else 'refused'}")
    stage.describe(described(verdict, stage.run_id))
    version, estimate = verdict.served or verdict.candidate, f"{verdict.gate.figure} {verdict.estimate}"
    print(f"{version.name} version {version.version}: {'promoted' if verdict.promoted else 'refused'} ({estimate})")
    print("".join(f"  + {c.name}: {c.observed}\n" if c.passed else f"  - {c}\n" for c in verdict.checks), end="")
    served = {"name": version.name, "version": version.version}
    return served | {"promoted": verdict.promoted, "reasons": list(verdict.reasons)}


def described(verdict: promotion.Verdict, run_id: str) -> str:
    """The description of the run: the verdict, and why a version was refused."""
    version = verdict.candidate
    result = f"promoted, served as {verdict.served.full_name}" if verdict.served else "refused"
    reasons = "".join(f"\n- {reason}" for reason in verdict.reasons)
    estimate = f"{verdict.gate.figure} {verdict.estimate or 'never measured'}"
    page = run_page(run_id, FILE)
    return f"[{version.full_name}]({version.page}): **{result}** ({estimate}). [All checks]({page})\n{reasons}"
