"""A study file from tables and a folder of slides as they are, with what only a person can decide."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nic.errors import StudyError, UnknownColumn
from nic.patients.column_kinds import ColumnKind, Undecided, column_kind, label_kind, survival_pairs
from nic.stages.cohort_draft import OWN, CohortDraft, Sources, cohort_draft
from nic.stages.compression_estimate import CompressionEstimate, estimated
from nic.stages.study_draft import StudyDraft, TileFolder, check_free, write_draft
from nic.tables.cells import is_missing
from nic.tables.table import existing_names
from nic.tasks.image_folder import MANIFEST, SUFFIXES, read_manifest

MOST_ENDPOINTS = 8
"""Endpoints that are proposed without `endpoints=`: more columns are a choice of a person."""


@dataclass(frozen=True)
class InitialStudy:
    """What `init_study` wrote and what it could not decide."""

    study_file: Path
    table: Path
    cohort: CohortDraft
    kinds: tuple[ColumnKind, ...]
    undecided: tuple[Undecided, ...]
    estimate: CompressionEstimate


def init_study(
    sources: Sources,
    name: str,
    out: Path,
    endpoints: Sequence[str],
    encoder: str,
    tile_tasks: Sequence[Path],
    overwrite: bool,
) -> InitialStudy:
    """Write <out>/<name>.yaml and the cohort's table <out>/<name>.csv.

    endpoints: columns to predict, time+event for survival; all that may be one where there are none. encoder: of the
    study; empty where tile tasks train one. Raises StudyError when a file exists and is not to be overwritten, when no
    column or too many may be endpoints; and what `cohort_draft` raises.
    """
    study_file, table = out / f"{name}.yaml", out / f"{name}.csv"
    if table.resolve() in [path.resolve() for path in sources.tables]:
        raise StudyError(f"{table}: would replace the table that it is made of; write another name= or out=")
    check_free((study_file, table), overwrite)
    folders = [folder for path in tile_tasks for folder in _tile_folders(path)]
    cohort = cohort_draft(sources, out)
    kinds, chosen, undecided = proposed_endpoints(cohort.rows, endpoints)
    estimate = estimated(cohort.slides, encoder)
    rows = _with_mpp(cohort.rows) if estimate.faults else cohort.rows
    labels = {kind.column for kind in chosen}
    covariates = [kind.column for kind in kinds if kind.role == "covariate" and kind.column not in labels]
    files = [path.name for path in sources.tables]
    draft = StudyDraft(name, files, rows, chosen, covariates, encoder, folders)
    _, of_file = write_draft(draft, study_file, table)
    of_slides = []
    for slide, fault in estimate.faults.items():
        there, _, remedy = fault.rpartition("; ")
        of_slides.append(Undecided(f"slide {slide}", there, remedy))
    questions = (*cohort.undecided, *of_slides, *undecided, *of_file)
    return InitialStudy(study_file, table, cohort, tuple(kinds), questions, estimate)


def file_name(text: str) -> str:
    """A text as the name of a study and of its files."""
    return re.sub(r"[^\w-]+", "-", text).strip("-") or "study"


def proposed_endpoints(
    rows: Sequence[Mapping[str, str]], endpoints: Sequence[str]
) -> tuple[list[ColumnKind], list[ColumnKind], list[Undecided]]:
    """What each column may be, the endpoints that are written, and what is undecided of those.

    rows: one a slide, cells by column. endpoints: see `init_study`. Raises StudyError, UnknownColumn.
    """
    cells = {column: _by_patient(rows, column) for column in rows[0] if column not in OWN}
    kinds = [
        column_kind(column, of_patients)
        if of_patients is not None
        else ColumnKind(column, "not used", "differs by slide")
        for column, of_patients in cells.items()
    ]
    if endpoints:
        chosen = [_named(text, cells) for text in endpoints]
        return kinds, chosen, [question for kind in chosen for question in kind.undecided]
    pairs, unpaired = survival_pairs(kinds)
    chosen = [*(kind for kind in kinds if kind.role == "endpoint"), *pairs]
    names = ", ".join(kind.column for kind in chosen)
    if not chosen:
        raise StudyError(f"no column may be an endpoint; there are {', '.join(cells)}; write endpoints=NAME,TIME+EVENT")
    if len(chosen) > MOST_ENDPOINTS:
        raise StudyError(f"{len(chosen)} columns may be endpoints; write those to predict, some of endpoints={names}")
    return kinds, chosen, [*unpaired, *(question for kind in chosen for question in kind.undecided)]


def _named(text: str, cells: Mapping[str, Mapping[str, str] | None]) -> ColumnKind:
    """The endpoint of a column, or of time+event. Raises UnknownColumn, StudyError."""
    columns = [text] if text in cells else [part.strip() for part in text.split("+")]
    kinds = []
    for column in columns:
        if column not in cells:
            raise UnknownColumn(f"endpoints: no column {column!r}; {existing_names(column, tuple(cells))}")
        kinds.append(label_kind(column, cells[column] or {}))
    if len(kinds) == 1 and kinds[0].role == "endpoint":
        return kinds[0]
    pairs, _ = survival_pairs(kinds)
    if len(kinds) != 2 or not pairs:
        shown = ", ".join(f"{kind.column}: {kind.role}, {kind.why}" for kind in kinds)
        raise StudyError(f"endpoints: {text!r} is none ({shown}); wanted a column of labels, or TIME+EVENT")
    return pairs[0]


def _by_patient(rows: Sequence[Mapping[str, str]], column: str) -> dict[str, str] | None:
    """The cell of each patient; None where it differs between a patient's slides."""
    cells: dict[str, str] = {}
    for row in rows:
        text = row[column]
        known = cells.setdefault(row["patient"], text)
        if is_missing(known):
            cells[row["patient"]] = text
        elif not is_missing(text) and text != known:
            return None
    return cells


def _with_mpp(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The rows with a column for the um/px of slides whose files state none, after the other OWN columns."""
    own = [{name: row[name] for name in OWN if name in row} for row in rows]
    return [{**first, "mpp": row.get("mpp", ""), **row} for first, row in zip(own, rows, strict=True)]


def _tile_folders(path: Path) -> list[TileFolder]:
    """A tile task with one folder for each class, or each task in a folder of tasks. Raises StudyError."""
    if not path.is_dir():
        raise StudyError(f"{path}: no such folder of labelled tiles; other layouts are in docs/tile_tasks.md")
    inner = [folder for folder in sorted(path.glob("[!.]*")) if folder.is_dir()]
    classes = [folder for folder in inner if any(file.suffix.lower() in SUFFIXES for file in folder.glob("[!.]*"))]
    if len(classes) > 1:
        name = re.sub(r"[^\w -]+", "-", path.resolve().name)
        return [TileFolder(name, path, read_manifest(path / MANIFEST).mpp is not None)]
    if not (folders := [task for folder in inner if any(folder.glob("*/")) for task in _tile_folders(folder)]):
        raise StudyError(f"{path}: no two folders of images, one per class; other layouts are in docs/tile_tasks.md")
    return folders


def show_initial_study(study: InitialStudy) -> None:
    """Print what was detected, proposed, estimated and written, and what a person has to decide."""
    console = Console(width=max(100, Console().width))
    for note in study.cohort.notes:
        console.print(note, markup=False)
    columns = Table("column", "proposed as", "because", title="Columns")
    for kind in study.kinds:
        columns.add_row(kind.column, str(kind.keys.get("kind", kind.role)), kind.why)
    console.print(columns)
    estimate = study.estimate
    for sentence in estimate.how:
        console.print(sentence, markup=False)
    if estimate.hours is not None:
        size = f"about {_duration(estimate.hours)} on this machine, {estimate.gigabytes:.2g} GB of codes"
        console.print(f"Compression of the slides: {size}. Training is not counted.", soft_wrap=True)
    if study.undecided:
        undecided = Table("where", "what is there", "what to write", title="To be decided by you")
        for question in study.undecided:
            undecided.add_row(question.where, question.there, question.write)
        console.print(undecided)
    console.print(f"Study: {study.study_file}\nTable: {study.table}", markup=False, soft_wrap=True)
    command = f"mlflow run . --env-manager local -e check_study -P study={shlex.quote(str(study.study_file))}"
    console.print(f"Next:  {command}", markup=False, soft_wrap=True)


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.2g} minutes"
