"""Estimates of figures as they are recorded of a version: in its tags, where people look, and in files behind them.

Whoever may write to a registry may write tags. The same estimates therefore stand in a file among the artifacts of the
run that MLflow itself recorded for the version, one file for each part of the data. A tag that differs is refused.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from nic.errors import RegistryError
from nic.tracking.answers import Answers, digest_of
from nic.tracking.figure_name import FigureName
from nic.tracking.registry import ENCODER_NAME, RegisteredVersion, tag_version
from nic.tracking.runs import Measured

FIGURES = "nic.figures"
"""Tag of a version with all its estimates, as JSON by <part>.<figure>. The deciding figure of each part has a tag of
its own as well, in words for a reader; nothing reads that one."""
OLDER_TAG = "figure."
"""Beginning of the tags of earlier versions, one for each estimate."""
FOLDER = "figures"
"""Of the run that made a version: <name>/<version>/<part>.json, the estimates on a part as they were measured last."""
CERTIFIED = FigureName("validation", "auc")
"""The figure that an encoder's certificate holds."""


@dataclass(frozen=True)
class RecordedEstimate:
    """An estimate as it stands on a version.

    data: digest of the patients (or tiles) it was measured on. run: in which it was measured, where its record of
    answers is; None in versions that were registered before it was kept. answers: digest of that record; None where
    there is none: of tiles, of a training, and in versions that were evaluated before there were records.
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
    def of(cls, content: Any, where: str) -> "RecordedEstimate":
        """Raises RegistryError when the content is no estimate."""
        try:
            return cls(**content)
        except TypeError as error:
            raise RegistryError(f"{where} holds no figure: {error}; measure it again") from error


def record_estimates(
    version: RegisteredVersion, estimates: Mapping[FigureName, Measured], data: str, answers: str | None = None
) -> None:
    """Record estimates of the active run on a version, in place of all that were measured on the same parts before.

    An estimate that is not defined is left out. data: digest of what they were measured on. answers: digest of the
    record of answers.
    """
    active = mlflow.active_run()
    run = active.info.run_id if active else None
    defined = {name: e for name, e in estimates.items() if math.isfinite(e.value)}
    kept = {
        name: asdict(RecordedEstimate(e.value, e.n, data, e.low, e.high, run, answers)) for name, e in defined.items()
    }
    for part in {name.part for name in estimates}:
        on_part = {str(name): estimate for name, estimate in kept.items() if name.part == part}
        if version.run_id:
            text = json.dumps(on_part, indent=1)
            MlflowClient().log_text(version.run_id, text, f"{FOLDER}/{version.full_name}/{part}.json")
        _replace_tags(version, part, on_part)


def _replace_tags(version: RegisteredVersion, part: str, estimates: Mapping[str, Mapping[str, Any]]) -> None:
    """Removes old tags first: a process that dies in between leaves too few estimates, but none that is out of date."""
    client = MlflowClient()
    now = client.get_model_version(version.name, version.version).tags
    for tag in now:
        if tag.startswith((f"{OLDER_TAG}{part}.", f"{part}.")):
            client.delete_model_version_tag(version.name, version.version, tag)
    others = {name: e for name, e in _readable(now, version).items() if not name.startswith(f"{part}.")}
    deciding = dict(list(estimates.items())[:1])
    in_words = {name: str(RecordedEstimate(**estimate)) for name, estimate in deciding.items()}
    tag_version(version.name, version.version, {FIGURES: json.dumps(others | dict(estimates)), **in_words})


def _readable(tags: Mapping[str, str], version: RegisteredVersion) -> dict[str, Any]:
    """All estimates in a version's tag; none where somebody has written something else there, which is replaced."""
    try:
        return _json_of(tags.get(FIGURES, "{}"), version)
    except RegistryError:
        return {}


def _json_of(text: str, version: RegisteredVersion) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise RegistryError(f"{version.uri}: tag {FIGURES} is no JSON of figures: {error}; measure it again") from error


def tagged_estimates(version: RegisteredVersion) -> dict[FigureName, RecordedEstimate]:
    """All estimates in the tags of a version. Raises RegistryError when one cannot be read."""
    older = [tag.removeprefix(OLDER_TAG) for tag in version.tags if tag.startswith(OLDER_TAG)]
    names = map(FigureName.parse, dict.fromkeys([*_json_of(version.tags.get(FIGURES, "{}"), version), *older]))
    return {name: estimate for name in names if (estimate := tagged_estimate(version, name))}


def tagged_estimate(version: RegisteredVersion, name: FigureName) -> RecordedEstimate | None:
    """The estimate in the version's tags; None when the figure was not measured on this version.

    Raises RegistryError when the tag cannot be read.
    """
    content = _json_of(version.tags.get(FIGURES, "{}"), version).get(str(name))
    older = f"{OLDER_TAG}{name}"
    if content is None and (text := version.tags.get(older)):
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise RegistryError(f"{version.uri}: tag {older} is not JSON: {error}; measure it again") from error
    return RecordedEstimate.of(content, f"{version.uri}: {name} in its tags") if content is not None else None


def estimate_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Those of a version's tags that hold its estimates."""
    return {tag: value for tag, value in tags.items() if tag == FIGURES or tag.startswith(OLDER_TAG)}


def verified_estimate(version: RegisteredVersion, name: FigureName) -> RecordedEstimate | None:
    """The estimate, when the version's tag agrees with the file; None when there is neither tag nor file.

    Raises RegistryError when tag and file differ, or one of them is missing.
    """
    tagged, filed = tagged_estimate(version, name), _filed(version, name)
    if tagged is None and filed is None:
        return None
    if tagged is None:
        raise RegistryError(f"{version.uri}: {name} was removed from its tags; measure it again")
    if filed is None and _is_certified(version, name, tagged):
        return RecordedEstimate(tagged.value, tagged.n, tagged.data)
    if filed is None:
        raise RegistryError(_why_unfiled(version, name, tagged))
    if json.dumps(asdict(tagged)) != json.dumps(asdict(filed)):  # as text: NaN is not NaN
        raise RegistryError(_difference(name, tagged, filed))
    return filed


def _filed(version: RegisteredVersion, name: FigureName) -> RecordedEstimate | None:
    """As it was measured last on the version, or on the one that it was copied from."""
    file = f"{name.part}.json"
    for full_name in (version.full_name, version.copied_from):
        text = artifact_text(version.run_id, f"{FOLDER}/{full_name}/{file}") if full_name else None
        if text is not None:
            content = json.loads(text).get(str(name))
            return RecordedEstimate.of(content, file) if content else None
    return None


def _is_certified(version: RegisteredVersion, name: FigureName, tagged: RecordedEstimate) -> bool:
    """Whether an encoder's certificate says the same. It was registered before estimates were filed."""
    text = artifact_text(version.run_id, "certificate.json") if version.name == ENCODER_NAME else None
    if text is None or name != CERTIFIED:
        return False
    tasks = json.loads(text)["tasks"]
    mean = sum(task["value"] for task in tasks) / len(tasks) if tasks else math.nan
    return math.isclose(tagged.value, mean, abs_tol=1e-6)


def _why_unfiled(version: RegisteredVersion, name: FigureName, tagged: RecordedEstimate) -> str:
    """Why a tag without its file is not believed."""
    if tagged.answers is None:
        return f"{version.uri}: no record of how {name} was measured; an older evaluation, or a tag set by hand"
    record = read_answers(tagged.run, name.part)[0]
    return f"{name} in its tag was measured on answers of {record.model}, not of {version.full_name}"


def _difference(name: FigureName, tagged: RecordedEstimate, filed: RecordedEstimate) -> str:
    """How a tag differs from its file, in words."""
    if tagged.run != filed.run:
        last = f"it was measured last in run {str(filed.run)[:12]}: {filed}"
        return f"{name} in its tag is of {_whose(tagged, name.part)}; {last}"
    names = [field for field, value in asdict(filed).items() if asdict(tagged)[field] != value]
    words = "; ".join(f"{field} is {getattr(tagged, field)}, measured was {getattr(filed, field)}" for field in names)
    return f"{name} in its tag is not what was measured: {words}"


def _whose(tagged: RecordedEstimate, part: str) -> str:
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
            path = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{file}", dst_path=folder)
            return Path(path).read_bytes().decode()
        except (MlflowException, OSError):
            return None


def publish_answers(version: RegisteredVersion, answers: Answers) -> None:
    """Write the record of answers into the active run, and record its estimates on the version."""
    active = mlflow.active_run()
    if active is None:
        raise RegistryError("no active run to write the record of answers into")
    head, rows = answers.texts()
    for text, ending in ((rows, "csv"), (head, "json")):
        mlflow.log_text(text, f"{answers.part}.{ending}")
    estimates = {FigureName(answers.part, estimate.name): estimate for estimate in answers.estimates}
    record_estimates(version, estimates, answers.data, digest_of(head, rows))


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
    """Answers for its training patients, by networks that had not seen them. Raises RegistryError."""
    text = artifact_text(version.run_id, "cross_validated.csv")
    if text is None:
        raise RegistryError(f"{version.uri}: the run that trained it, or its cross_validated.csv, is gone")
    return pd.read_csv(StringIO(text), dtype={"patient": str})
