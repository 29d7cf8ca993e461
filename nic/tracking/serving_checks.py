"""Checks of a candidate as the server would load it: size, answers and latency, in a fresh process."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from nic.tracking.checks import Check
from nic.tracking.gates import Serving
from nic.tracking.registry import REFERENCE, RegisteredVersion, model_folder
from nic.tracking.source_digest import PROJECT

MB = 1e6
LONGEST_S = 300
"""Seconds to load and answer twice; a model that takes longer is not served."""


def serving_checks(version: RegisteredVersion, gate: Serving) -> Iterator[Check]:
    """The model's size, its answers to the reference it was registered with, and its latency.

    Raises UnknownModel when its files are gone.
    """
    folder = model_folder(version)
    size_mb = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / MB
    yield Check("size", size_mb <= gate.size_mb, f"{size_mb:.1f} MB", f"at most {gate.size_mb:g} MB")
    reference = folder / "artifacts" / REFERENCE
    if not reference.is_dir():
        yield Check("serving", False, "the model has no reference", "one; train and register it again")
        return
    measured = _measured(version, reference)
    if isinstance(measured, str):
        yield Check("serving", False, measured, "a model that loads without pickles and answers")
        return
    expected = json.loads((reference / "answers.json").read_text())
    difference = largest_difference(expected, measured["answers"])
    yield Check("serving", difference <= gate.within, f"answers differ by {difference:.1e}", f"at most {gate.within:g}")
    latency_s = measured["answer_s"]
    limit = f"at most {gate.latency_s:g} s for the reference"
    yield Check("latency", latency_s <= gate.latency_s, f"{latency_s:.2f} s", limit)


def largest_difference(expected: list[Mapping[str, float]], answers: list[Mapping[str, Any]]) -> float:
    """The largest difference between the numbers of two lists of answers; inf where one is missing.

    Of an expected number above 1 it is a share of that number.
    """
    if len(expected) != len(answers):
        return math.inf
    pairs = [(row[name], answer.get(name)) for row, answer in zip(expected, answers, strict=True) for name in row]
    shares = [abs(a - b) / max(1.0, abs(a)) if b is not None else math.inf for a, b in pairs]
    return float(np.max(shares)) if shares else math.inf  # Python's max may hide a NaN


def _measured(version: RegisteredVersion, reference: Path) -> dict[str, Any] | str:
    """What registry/reference_answers.py prints, or the reason why it fails."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        "MLFLOW_REGISTRY_URI": mlflow.get_registry_uri(),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "NIC_SLIDE_ROOTS": str(reference),
    }
    command = [sys.executable, str(PROJECT / "registry" / "reference_answers.py"), version.uri, str(reference)]
    try:
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=True
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {LONGEST_S} s"
    except subprocess.CalledProcessError as error:
        last_line = error.stderr.strip().splitlines()[-1:] or ["without a message"]
        return f"it does not load or answer: {last_line[0]}"
    measured: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return measured
