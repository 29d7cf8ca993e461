"""What `entrypoints.promote` does."""

import sys
from typing import Any

from entrypoints.promote import Config
from nic.tracking import promotion
from nic.tracking.digests import digest, file_sha256
from nic.tracking.gates import read_gates
from nic.tracking.registry import find_version
from nic.tracking.runs import stage_run
from nic.tracking.verdict_page import publish


def inputs(config: Config) -> dict[str, str]:
    version = find_version(config.model)
    rival = promotion.rival(version)
    judged = {v.full_name: v.tags for v in (version, rival) if v}
    figures = {name: {k: v for k, v in tags.items() if k.startswith("figure.")} for name, tags in judged.items()}
    gates = file_sha256(config.gates)
    return {"gates": gates, "rival": rival.version if rival else "none", "figures": digest(figures)}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.promote`."""
    gates = read_gates(config.gates)
    with stage_run("promote", config, inputs(config)) as stage:
        verdict = promotion.promote(config.model, gates)
        publish(verdict, stage.run_id)
        version, figure = verdict.served or verdict.candidate, f"{verdict.gate.figure} {verdict.figure}"
        print(f"{version.name} version {version.version}: {'promoted' if verdict.promoted else 'refused'} ({figure})")
        print("".join(f"  + {c.name}: {c.found}\n" if c.passed else f"  - {c}\n" for c in verdict.checks), end="")
        stage.result.update(
            name=version.name, version=version.version, promoted=verdict.promoted, reasons=list(verdict.reasons)
        )
    if config.strict and not verdict.promoted:
        sys.exit(1)
    return stage.result
