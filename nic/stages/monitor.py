"""Whether the patients of a served model are like those of its training; needs no labels."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.errors import RequestRefused
from nic.evaluation.drift import FEW_ANSWERS, CalledClasses, drift_checks, drift_page, drift_plot, drift_verdict
from nic.patients.calibration import logistic
from nic.tracking.evidence import spec_of
from nic.tracking.recorded_estimates import out_of_fold_answers
from nic.tracking.registry import RegisteredVersion, find_version
from nic.tracking.runs import StageRun

Floats = NDArray[np.float64]


def compare_with_training(model: str, answers_file: Path, last: int, out: Path, stage: StageRun) -> dict[str, Any]:
    """Compare the latest answers with those of training, and write and log the report; the stage's result."""
    version = find_version(model)
    answers, training = answers_of(answers_table(answers_file), version).tail(last), out_of_fold_answers(version)
    if answers.empty:
        raise RequestRefused(f"{answers_file}: no answers of {version.uri}")
    served, expected = scores_to_compare(answers, training, spec_of(version).kind)
    classes = classes_to_compare(answers, training)
    checks = drift_checks(answers, served, expected, classes)
    plot = drift_plot(answers, served, expected, classes)
    made = f"{version.uri}; {len(answers)} patients against {len(training)} of training; {datetime.now(UTC):%Y-%m-%d}"
    if len(answers) < FEW_ANSWERS:
        made += f". With fewer than {FEW_ANSWERS} patients only large changes can be seen."
    content = drift_page(f"{version.name}: inputs and answers", made, checks, plot)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(content)
    stage.log_text(content, "monitor.html")
    for check in checks:
        print(f"{'!' if check.alarm else ' '} {check.name}: {check.observed} (expected {check.expected})")
    alarms = [check.name for check in checks if check.alarm]
    print(f"{out}: {drift_verdict(checks)}")
    stage.log("alarms", len(alarms))
    return {"outputs": [str(out)], "alarms": alarms}


def answers_table(file: Path) -> pd.DataFrame:
    """Answers as the server or `predict` wrote them.

    A line of the log that is still being written is skipped. Lines that a full disk cut short are skipped and counted.
    """
    if not file.is_file():
        raise RequestRefused(f"{file}: no such file")
    match file.suffix:
        case ".parquet":
            return pd.read_parquet(file)
        case ".csv":
            return pd.read_csv(file, dtype={"model_version": str, "class": str})
    lines = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    rows = [row for line in lines if (row := _answer_in(line)) is not None]
    if len(rows) < len(lines):
        print(f"{file}: {len(lines) - len(rows)} lines are cut short and skipped")
    return pd.DataFrame(rows)


def _answer_in(line: str) -> dict[str, Any] | None:
    """None for a line that was cut short."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def scores_to_compare(answers: pd.DataFrame, training: pd.DataFrame, kind: str) -> tuple[Floats, Floats]:
    """The answers that were served, and those to expect by the training, on one scale. kind: of the endpoint.

    They are scores, in training with the spread of the ensemble's. Older logs and tables hold predictions, in training
    each by one network; these vary a little more. The oldest trainings kept for a class the logistic of the score.
    """
    served, expected = "prediction", "prediction"
    if "score" in answers and "score_as_ensemble" in training:
        served, expected = "score", "score_as_ensemble"
    elif "score" in answers and "score" not in training:
        served = "score"
    values, reference = answers[served].dropna().to_numpy(float), training[expected].to_numpy(float)
    uncalibrated = kind == "classification" and served == "score" and expected == "prediction"
    return (logistic(values) if uncalibrated else values), reference


def classes_to_compare(answers: pd.DataFrame, training: pd.DataFrame) -> CalledClasses | None:
    """The classes that were called; None for an endpoint that has none in its answers, or in an older log."""
    if "class" not in answers or "class" not in training:
        return None
    return CalledClasses(list(answers["class"].dropna().astype(str)), list(training["class"].astype(str)))


def answers_of(answers: pd.DataFrame, version: RegisteredVersion) -> pd.DataFrame:
    """The rows that this version answered. Raises RequestRefused for a table without the columns of answers."""
    if not {"model", "model_version", "prediction", "ood", "status"} <= set(answers):
        raise RequestRefused("no answers of a patient model; give the log of the server, or a table of `predict`")
    ours = (answers["model"] == version.name) & (answers["model_version"].astype(str) == version.version)
    return answers[ours]
