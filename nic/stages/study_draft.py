"""The study file and the cohort's table that `init_study` writes."""

import csv
import io
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nic.errors import StudyError
from nic.patients.column_kinds import ColumnKind, Undecided
from nic.study import Study, read_study
from nic.tables.cells import is_missing
from nic.tracking.gates import DECIDING
from nic.tracking.source_digest import PROJECT

USUAL_FOLDS = 5
CHAMPION = "models:/nic-encoder@champion"
MEANINGS = {
    "positive": "the class that counts as 1",
    "classes": "the lowest first",
    "values": "1: the event was seen",
    "time": "months until the event or the last contact",
}
"""Comments of keys. Of `classes`, those of grades alone."""
HEADER = """\
# yaml-language-server: $schema={schema}
# Written by init_study from {tables}. docs/study.md explains every key.
#   mlflow run . --env-manager local -e check_study -P study={file}
#   mlflow run . --env-manager local -P study={file}
"""


@dataclass(frozen=True)
class TileFolder:
    """A folder of labelled tiles, with one folder for each class. mpp: um/px; None where its manifest states it."""

    name: str
    path: Path
    states_mpp: bool


@dataclass(frozen=True)
class StudyDraft:
    """What is written. rows: one a slide, cells by column: `patient`, `slide`, `split` with external patients, others.

    tables: names of the files that it was made of. endpoints: of these columns. encoder: empty where tile tasks train
    one. covariates: columns for the endpoints of survival.
    """

    name: str
    tables: Sequence[str]
    rows: Sequence[Mapping[str, str]]
    endpoints: Sequence[ColumnKind]
    covariates: Sequence[str]
    encoder: str
    tile_folders: Sequence[TileFolder]

    @property
    def has_split(self) -> bool:
        return "split" in self.rows[0]


def check_free(files: Sequence[Path], overwrite: bool) -> None:
    """Raises StudyError when one of the files exists and is not to be overwritten."""
    if not overwrite and (existing := [file for file in files if file.exists()]):
        raise StudyError(f"{existing[0]} exists; write overwrite=true to replace it, or another name=")


def write_draft(draft: StudyDraft, study_file: Path, table: Path) -> tuple[Study, list[Undecided]]:
    """Write both files and read the study file again. Second: what a person has to decide in it.

    Raises StudyError when the study file that was written cannot be read.
    """
    folds, undecided = _folds(draft)
    study_file.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(_csv(draft.rows), encoding="utf-8")
    study_file.write_text(study_text(draft, study_file, table, folds), encoding="utf-8")
    return read_study(study_file), [*undecided, *_undecided_keys(draft, study_file)]


def study_text(draft: StudyDraft, study_file: Path, table: Path, folds: int) -> str:
    """The study file. Paths in it are relative to its folder."""
    folder = study_file.parent
    words = {"tables": " and ".join(draft.tables), "file": shlex.quote(str(study_file))}
    schema = PROJECT / "docs" / "study.schema.json"
    lines = [HEADER.format(schema=schema, **words), f"name: {_word(draft.name)}", ""]
    if draft.tile_folders:
        lines.append("tile_tasks:               # labelled tiles that the encoder learns from")
        for task in draft.tile_folders:
            mpp = "" if task.states_mpp else "    # mpp: 0.5   um/px of the tiles"
            lines.append(f"  - {{name: {_word(task.name)}, path: {_word(_relative(task.path, folder))}}}{mpp}")
    else:
        lines.append(f"encoder: {draft.encoder or CHAMPION}    # a registered encoder; tile_tasks: would train one")
    split = "" if draft.has_split else ", split: null"
    why = "column split: train, or external (measured once, never trained on)" if draft.has_split else (
        "all patients are for training; figures are those of the cross-validation"
    )  # fmt: skip
    lines += ["", f"cohorts:                  # {why}"]
    lines += [f"  {_word(draft.name)}: {{table: {_word(_relative(table, folder))}{split}}}", ""]
    if folds != USUAL_FOLDS:
        lines += [f"folds: {folds}    # not {USUAL_FOLDS}: the rarest label has so few training patients", ""]
    lines.append(
        "endpoints:                # each becomes the registered model nic-<name>; remove what is not to be predicted"
    )
    for name, endpoint in zip(endpoint_names(draft.endpoints), draft.endpoints, strict=True):
        lines += _entry(name, endpoint, draft)
    return "\n".join(lines) + "\n"


def _entry(name: str, endpoint: ColumnKind, draft: StudyDraft) -> list[str]:
    keys = {"cohort": draft.name, **endpoint.keys}
    if keys["kind"] == "survival" and draft.covariates:
        keys["covariates"] = list(draft.covariates)
    lines = [f"  - name: {name}"]
    for key, value in keys.items():
        meaning = "" if key == "classes" and keys["kind"] != "ordinal" else MEANINGS.get(key, "")
        lines.append(f"    {key}: {_word(value)}{meaning and f'    # {meaning}'}")
    part = "external" if draft.has_split else "cross_validated"
    gate = f"{{figure: {part}.{DECIDING[str(keys['kind'])]}, at_least: 0.6}}"
    return [*lines, f"    # gate: {gate}    # without a gate no version is promoted"]


def endpoint_names(endpoints: Sequence[ColumnKind]) -> list[str]:
    """A name for each, by its column: small letters, digits and hyphens."""
    names: list[str] = []
    for endpoint in endpoints:
        event = endpoint.keys.get("event")
        name = f"survival-{_slug(str(event))}" if event else _slug(endpoint.column)
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-") or "endpoint"


def _word(value: Any) -> str:
    """A value as YAML in one line."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
        .removesuffix("...\n")
        .strip()
    )


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _folds(draft: StudyDraft) -> tuple[int, list[Undecided]]:
    """As many folds as the rarest label of the training patients allows, at most USUAL_FOLDS and at least two."""
    rarest, undecided = USUAL_FOLDS, []
    for endpoint in draft.endpoints:
        column = endpoint.keys.get("event", endpoint.keys.get("column", ""))
        if endpoint.keys["kind"] == "regression":
            continue
        labels = {row["patient"]: row[column] for row in draft.rows if row.get("split", "train") == "train"}
        counts = Counter(text for text in labels.values() if not is_missing(text))
        for name in endpoint.keys.get("classes", endpoint.keys.get("values", counts)):
            if counts[name] < 2:
                there = f"{counts[name]} training patients with {name!r}"
                undecided.append(
                    Undecided(f"column {column!r}", there, "another class for them, or leave the endpoint out")
                )
            else:
                rarest = min(rarest, counts[name])
    return max(2, rarest), undecided


def _undecided_keys(draft: StudyDraft, study_file: Path) -> list[Undecided]:
    undecided = [
        Undecided(f"tile task {task.name}", "no um/px in its manifest.json", "`mpp:` in its line of the study file")
        for task in draft.tile_folders
        if not task.states_mpp
    ]
    if not (draft.encoder or draft.tile_folders):
        wanted = "`encoder:` a version that you have (-e import_encoder), or tile_tasks= with folders of labelled tiles"
        undecided.append(Undecided(study_file.name, f"no encoder and no tile tasks; {CHAMPION} is written", wanted))
    wanted = "`gate:` of each endpoint whose model is to be promoted; the file has a line for it"
    return [*undecided, Undecided(study_file.name, "no gates, so no version would be promoted", wanted)]
