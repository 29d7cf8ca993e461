"""Does the model that would be served answer as it did at registration? It is loaded and asked, in a fresh process."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow

from nic.tracking.checks import Check
from nic.tracking.gates import Serving
from nic.tracking.registry import REFERENCE, RegisteredVersion, model_folder
from nic.tracking.source_digest import PROJECT

MB = 1e6
LONGEST_S = 300
"""To load and answer twice; a model that takes longer is not served."""


def serving_checks(version: RegisteredVersion, gate: Serving) -> Iterator[Check]:
    """Its size, its answers to the reference it was registered with, and how soon it gives them.

    Raises UnknownModel when its files are gone.
    """
    folder = model_folder(version)
    size_mb = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / MB
    yield Check("size", size_mb <= gate.size_mb, f"{size_mb:.1f} MB", f"at most {gate.size_mb:g} MB")
    reference = folder / "artifacts" / REFERENCE
    if not reference.is_dir():
        yield Check("serving", False, "the model has no reference", "one; train and register it again")
        return
    answered = _ask(version, reference)
    if isinstance(answered, str):
        yield Check("serving", False, answered, "a model that loads without pickles and answers")
        return
    expected = json.loads((reference / "answers.json").read_text())
    far = farthest(expected, answered["answers"])
    yield Check("serving", far <= gate.within, f"answers differ by {far:.1e}", f"at most {gate.within:g}")
    took = answered["answer_s"]
    yield Check("latency", took <= gate.latency_s, f"{took:.2f} s", f"at most {gate.latency_s:g} s for the reference")


def farthest(expected: list[Mapping[str, float]], answers: list[Mapping[str, Any]]) -> float:
    """The largest difference between numbers that were to be answered and those that were; inf where one is missing."""
    if len(expected) != len(answers):
        return math.inf
    pairs = [(wanted[name], row.get(name)) for wanted, row in zip(expected, answers, strict=True) for name in wanted]
    return max((abs(a - b) if b is not None else math.inf for a, b in pairs), default=math.inf)


def _ask(version: RegisteredVersion, reference: Path) -> dict[str, Any] | str:
    """What registry/smoke.py says, or in words why it does not."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        "MLFLOW_REGISTRY_URI": mlflow.get_registry_uri(),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "NIC_SLIDE_ROOTS": str(reference),
    }
    command = [sys.executable, str(PROJECT / "registry" / "smoke.py"), version.uri, str(reference)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=True)
    except subprocess.TimeoutExpired:
        return f"no answer within {LONGEST_S} s"
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["nothing was said"]
        return f"it does not load or answer: {last[0]}"
    answered: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answered
