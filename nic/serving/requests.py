"""Rows of a request to patients and where their slides are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import pandas as pd
from pandas import isna
from pandas.api.types import is_scalar

from nic.errors import RequestRefused

Kind = Literal["slide", "features", "image"]
KINDS: tuple[Kind, ...] = ("slide", "features", "image")
WANTED = {"slide": "a slide's path", "features": "a path to a file of codes", "image": "base64 of a PNG or JPEG"}
SHOWN_COLUMNS, SHOWN_CHARACTERS = 5, 40


@dataclass(frozen=True)
class RowSource:
    """One row. kind: what `content` is: a slide's path, a path to a file of codes, or base64. mpp: um/px, if given.
    fault: why the row cannot be used, else empty."""

    kind: Kind
    content: str
    mpp: float | None = None
    fault: str = ""


@dataclass(frozen=True)
class PatientRequest:
    """All rows of one patient."""

    patient: str
    sources: tuple[RowSource, ...]


def by_patient(rows: pd.DataFrame, most_rows: int) -> list[PatientRequest]:
    """In the order of each patient's first row; a row without a patient is its own, named by its file.

    Raises RequestRefused when there are no rows or more than `most_rows`, or when no column is one that can be read.
    """
    if not set(KINDS) & set(rows.columns):
        raise RequestRefused(no_column(list(rows.columns)))
    if not len(rows):
        raise RequestRefused("no rows; wanted one a slide")
    if len(rows) > most_rows:
        raise RequestRefused(f"{len(rows)} rows, wanted at most {most_rows}; ask in parts")
    patients: dict[str | int, list[RowSource]] = {}
    names: dict[str | int, str] = {}
    for number, row in enumerate(rows.to_dict("records")):
        source, patient = _source(row), row.get("patient")
        key = number if _missing(patient) else str(patient)
        names[key] = _name(source, number) if _missing(patient) else str(patient)
        patients.setdefault(key, []).append(source)
    return [PatientRequest(names[key], tuple(sources)) for key, sources in patients.items()]


def no_column(columns: Sequence[object]) -> str:
    """Why rows without a column of KINDS cannot be read. columns: names that a client gave; few are repeated."""
    shown = [str(name)[:SHOWN_CHARACTERS] for name in columns if str(name).isprintable()][:SHOWN_COLUMNS]
    return f"no column {', '.join(KINDS[:-1])} or {KINDS[-1]}" + (f"; there is {', '.join(shown)}" if shown else "")


def _source(row: Mapping[Any, Any]) -> RowSource:
    given: list[Kind] = [kind for kind in KINDS if not _missing(row.get(kind))]
    if len(given) != 1:
        return RowSource(
            "slide", "", fault=f"{' and '.join(given) or 'nothing'} given; wanted one of {', '.join(KINDS)}"
        )
    kind, mpp = given[0], row.get("mpp")
    content = row[kind]
    if not isinstance(content, str):
        return RowSource(kind, "", fault=f"{kind} is no text; wanted {WANTED[kind]}")
    if kind == "slide" and content.endswith(".h5"):
        kind = "features"
    if kind == "image" and _missing(mpp):
        return RowSource(kind, "", fault="an image without mpp; wanted its um/px")
    try:
        return RowSource(kind, content, None if _missing(mpp) else float(str(mpp)))
    except ValueError:
        return RowSource(kind, "", fault="mpp is no number; wanted um/px")


def _name(source: RowSource, number: int) -> str:
    return PurePath(source.content).stem if source.kind != "image" and source.content else f"row {number + 1}"


def _missing(value: object) -> bool:
    return bool(is_scalar(value) and isna(value)) or (isinstance(value, str) and not value)  # type: ignore[call-overload]
