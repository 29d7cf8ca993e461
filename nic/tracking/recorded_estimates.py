"""Measured figures: as tags of a registered version, where one looks, and as files that a tag must agree with.

Whoever may write to a registry may write tags. The same figures therefore stand in a file among the artifacts of the
run that MLflow itself recorded for the version, one file a part of the data, and a tag that says otherwise is refused.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from nic.errors import RegistryError
from nic.tracking.answers import Answers, digest_of
from nic.tracking.registry import ENCODER_NAME, RegisteredVersion, tag_version

TAG = "figure."
FOLDER = "figures"
"""Of the run that made a version: <name>/<version>/<part>.json, the figures of a part as they were measured last."""


@dataclass(frozen=True)
class Figure:
    """A measured figure as it stands on a version.

    data: digest of the patients (or tiles) it was measured on. run: in which it was measured, where its record of
    answers is; None in versions that were registered before it was kept. answers: digest of that record; None of
    figures without one, and in versions that were evaluated before there were records.
    """

    value: float
    n: int
    data: str
    low: float | None = None
    high: float | None = None
    run: str | None = None
    answers: str | None = None

    def __str__(self) -> str:
        interval = f" [{self.low:.3f}, {self.high:.3f}]" if self.low is not None else ""
        return f"{self.value:.3f}{interval}, n = {self.n}"

    @classmethod
    def of(cls, content: Any, where: str) -> "Figure":
        """Raises RegistryError when the content is no figure."""
        try:
            return cls(**content)
        except TypeError as error:
            raise RegistryError(f"{where} holds no figure: {error}; measure it again") from error


class Measured(Protocol):
    """What a stage has measured; nic.evaluation.figure.Estimate is one."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def n(self) -> int: ...


def record_figures(
    version: RegisteredVersion, figures: Mapping[str, Measured], data: str, answers: str | None = None
) -> None:
    """Put figures of the active run on a version, in place of all that were measured on the same part before.

    figures: by name, <part>.<metric>, of one part or several; one that is not defined is left out. data: digest of what
    they were measured on. answers: of the record of answers.
    """
    active = mlflow.active_run()
    run = active.info.run_id if active else None
    defined = {name: f for name, f in figures.items() if math.isfinite(f.value)}
    kept = {name: asdict(Figure(f.value, f.n, data, f.low, f.high, run, answers)) for name, f in defined.items()}
    for part in {part_of(name) for name in figures}:
        of_part = {name: figure for name, figure in kept.items() if part_of(name) == part}
        if version.run_id:
            text = json.dumps(of_part, indent=1)
            MlflowClient().log_text(version.run_id, text, f"{FOLDER}/{version.full_name}/{part}.json")
        _replace_tags(version, part, of_part)


def part_of(name: str) -> str:
    """`external.auc` was measured on `external`."""
    return name.partition(".")[0]


def _replace_tags(version: RegisteredVersion, part: str, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """What is not measured any more goes first: a process that dies between leaves too few figures, not old ones."""
    client = MlflowClient()
    now = client.get_model_version(version.name, version.version).tags
    for tag in now:
        if tag.startswith(f"{TAG}{part}.") and tag.removeprefix(TAG) not in figures:
            client.delete_model_version_tag(version.name, version.version, tag)
    tag_version(version.name, version.version, {f"{TAG}{name}": json.dumps(f) for name, f in figures.items()})


def figure_on(version: RegisteredVersion, name: str) -> Figure | None:
    """The figure as it was tagged, or None when it was not measured on this version.

    Raises RegistryError when the tag cannot be read.
    """
    text = version.tags.get(f"{TAG}{name}")
    if not text:
        return None
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise RegistryError(f"{version.uri}: tag {TAG}{name} is not JSON: {error}; measure it again") from error
    return Figure.of(content, f"{version.uri}: tag {TAG}{name}")


def verified_figure(version: RegisteredVersion, name: str) -> Figure | None:
    """The figure of a version, when its tag says what was measured last; None when there is neither tag nor file.

    Raises RegistryError when tag and file differ, or one of them is missing.
    """
    tagged, filed = figure_on(version, name), _filed(version, name)
    if tagged is None and filed is None:
        return None
    if tagged is None:
        raise RegistryError(f"{version.uri}: its tag {TAG}{name} was removed; measure it again")
    if filed is None and _is_certified(version, name, tagged):
        return Figure(tagged.value, tagged.n, tagged.data)
    if filed is None:
        raise RegistryError(_unfiled(version, name, tagged))
    if json.dumps(asdict(tagged)) != json.dumps(asdict(filed)):  # as text: NaN is not NaN
        raise RegistryError(_difference(name, tagged, filed))
    return filed


def _filed(version: RegisteredVersion, name: str) -> Figure | None:
    """As it was measured last on the version, or on the one that it was copied from."""
    file = f"{part_of(name)}.json"
    for full_name in (version.full_name, version.copied_from):
        text = artifact_text(version.run_id, f"{FOLDER}/{full_name}/{file}") if full_name else None
        if text is not None:
            content = json.loads(text).get(name)
            return Figure.of(content, file) if content else None
    return None


def _is_certified(version: RegisteredVersion, name: str, tagged: Figure) -> bool:
    """Of an encoder that was registered before figures were filed: whether its certificate says the same."""
    text = artifact_text(version.run_id, "certificate.json") if version.name == ENCODER_NAME else None
    if text is None or name != "validation.auc":
        return False
    tasks = json.loads(text)["tasks"]
    mean = sum(task["value"] for task in tasks) / len(tasks) if tasks else math.nan
    return math.isclose(tagged.value, mean, abs_tol=1e-6)


def _unfiled(version: RegisteredVersion, name: str, tagged: Figure) -> str:
    """Why a tag without its file is not believed."""
    if tagged.answers is None:
        return f"{version.uri}: no record of how {name} was measured; an older evaluation, or a tag set by hand"
    record = read_answers(tagged.run, part_of(name))[0]
    return f"{name} in its tag was measured on answers of {record.model}, not of {version.full_name}"


def _difference(name: str, tagged: Figure, filed: Figure) -> str:
    """What a tag says otherwise than the file."""
    if tagged.run != filed.run:
        last = f"it was measured last in run {str(filed.run)[:12]}: {filed}"
        return f"{name} in its tag is of {_whose(tagged, part_of(name))}; {last}"
    names = [field for field, value in asdict(filed).items() if asdict(tagged)[field] != value]
    words = "; ".join(f"{field} is {getattr(tagged, field)}, measured was {getattr(filed, field)}" for field in names)
    return f"{name} in its tag is not what was measured: {words}"


def _whose(tagged: Figure, part: str) -> str:
    """The run that a tag names, and whose answers are in it."""
    run = f"run {str(tagged.run)[:12]}"
    try:
        return f"answers of {read_answers(tagged.run, part)[0].model} in {run}"
    except RegistryError:
        return f"{run}, which has no record of answers"


def artifact_text(run_id: str | None, file: str) -> str | None:
    """A text file among a run's artifacts, as it was written; None where it is not there."""
    if not run_id:
        return None
    with TemporaryDirectory() as folder:
        try:
            return (
                Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{file}", dst_path=folder))
                .read_bytes()
                .decode()
            )
        except (MlflowException, OSError):
            return None


def publish_answers(version: RegisteredVersion, answers: Answers) -> None:
    """Write the record of answers into the active run, and its figures on the version."""
    active = mlflow.active_run()
    if active is None:
        raise RegistryError("no active run to write the record of answers into")
    head, rows = answers.texts()
    for text, ending in ((rows, "csv"), (head, "json")):
        mlflow.log_text(text, f"{answers.part}.{ending}")
    figures = {f"{answers.part}.{figure.name}": figure for figure in answers.figures}
    record_figures(version, figures, answers.data, digest_of(head, rows))


def read_answers(run: str | None, part: str) -> tuple[Answers, str]:
    """The record of a run, and its digest. Raises RegistryError when it is gone."""
    if run is None:
        raise RegistryError("the run that measured it is not recorded; run `evaluate` again")
    texts = [artifact_text(run, f"{part}.{ending}") for ending in ("json", "csv")]
    if any(text is None for text in texts):
        raise RegistryError(f"run {run[:12]} has no record of answers for part {part}; run `evaluate` again")
    head, rows = (text or "" for text in texts)
    return Answers.from_texts(head, rows), digest_of(head, rows)


def out_of_fold_answers(version: RegisteredVersion) -> pd.DataFrame:
    """What its training patients were answered by networks that had not seen them. Raises RegistryError."""
    text = artifact_text(version.run_id, "cross_validated.csv")
    if text is None:
        raise RegistryError(f"{version.uri}: the run that trained it, or its cross_validated.csv, is gone")
    return pd.read_csv(StringIO(text), dtype={"patient": str})
