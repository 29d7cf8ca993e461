"""What `entrypoints.monitor` does."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrypoints.monitor import Config
from nic.errors import RequestRefused
from nic.tracking.digests import file_sha256
from nic.tracking.registry import RegisteredVersion, find_version
from nic.tracking.runs import stage_run


def inputs(config: Config) -> dict[str, str]:
    return {"model": find_version(config.model).uri, "answers": file_sha256(config.answers)}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.monitor`."""
    with stage_run("monitor", config, inputs(config)) as stage:
        # Here: the run is open, or refused, before the seconds that these take to import.
        from nic.evaluation.drift import FEW_ANSWERS, drift_checks, drift_page, drift_plot, drift_verdict
        from nic.tracking.recorded_estimates import out_of_fold_answers

        version = find_version(config.model)
        answers, training = of_version(table(config.answers), version).tail(config.last), out_of_fold_answers(version)
        if answers.empty:
            raise RequestRefused(f"{config.answers}: no answer of {version.uri}")
        served, expected = comparable(answers, training)
        checks, plot = drift_checks(answers, served, expected), drift_plot(answers, served, expected)
        made = (
            f"{version.uri}; {len(answers)} patients against {len(training)} of training; {datetime.now(UTC):%Y-%m-%d}"
        )
        if len(answers) < FEW_ANSWERS:
            made += f". With fewer than {FEW_ANSWERS} patients only large changes can be seen."
        content = drift_page(f"{version.name}: inputs and answers", made, checks, plot)
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(content)
        stage.log_text(content, "monitor.html")
        for check in checks:
            print(f"{'!' if check.alarm else ' '} {check.name}: {check.observed} (expected {check.expected})")
        alarms = [check.name for check in checks if check.alarm]
        print(f"{config.out}: {drift_verdict(checks)}")
        stage.log("alarms", len(alarms))
        stage.result.update(outputs=[str(config.out)], alarms=alarms)
    if config.strict and alarms:
        sys.exit(1)
    return stage.result


def table(file: Path) -> pd.DataFrame:
    """Answers as the server or `predict` wrote them.

    A line of the log that is being written now is passed over, as is one that a full disk cut short; the latter are
    counted on the console.
    """
    if not file.is_file():
        raise RequestRefused(f"{file}: no such file")
    match file.suffix:
        case ".parquet":
            return pd.read_parquet(file)
        case ".csv":
            return pd.read_csv(file, dtype={"model_version": str})
    lines = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    rows = [row for line in lines if (row := _answer_in(line)) is not None]
    if len(rows) < len(lines):
        print(f"{file}: {len(lines) - len(rows)} lines that were cut short are passed over")
    return pd.DataFrame(rows)


def _answer_in(line: str) -> dict[str, Any] | None:
    """None of a line that was cut short."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def comparable(answers: pd.DataFrame, training: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What was served and what training leads one to expect, on one scale.

    Scores, those of training with the ensemble's spread. Logs and tables from before there were such hold predictions,
    those of training by one network each; they vary a little more.
    """
    scores = "score" in answers and "score_as_ensemble" in training
    served, expected = ("score", "score_as_ensemble") if scores else ("prediction", "prediction")
    return answers[served].dropna().to_numpy(float), training[expected].to_numpy(float)


def of_version(answers: pd.DataFrame, version: RegisteredVersion) -> pd.DataFrame:
    """The rows that this version answered. Raises RequestRefused for a table that does not name the model."""
    if not {"model", "model_version", "prediction", "ood", "status"} <= set(answers):
        raise RequestRefused("no answers of a patient model: wanted the columns that the server and `predict` write")
    ours = (answers["model"] == version.name) & (answers["model_version"].astype(str) == version.version)
    return answers[ours]
