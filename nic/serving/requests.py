"""The rows of a request, grouped by patient."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import PurePath
from typing import Any, Literal

import pandas as pd
from pandas import isna
from pandas.api.types import is_scalar

from nic.errors import RequestRefused

Kind = Literal["slide", "features", "image"]
KINDS: tuple[Kind, ...] = ("slide", "features", "image")
WANTED = {"slide": "a slide's path", "features": "a path to a file of codes", "image": "base64 of a PNG or JPEG"}
COLUMNS = (*KINDS, "patient", "mpp")
"""All columns that a row may have."""
SHOWN_COLUMNS, SHOWN_CHARACTERS = 5, 40


@dataclass(frozen=True)
class RowSource:
    """One row. content: by kind, a slide's path or address, the path of a file of codes, or base64 of an image.
    mpp: um/px, if given. fault: why the row cannot be used, else empty."""

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
    """Patients in the order of their first rows. A row without a patient is a patient of its own, named by its file.

    Raises RequestRefused when there are no rows, more than `most_rows`, none of the columns KINDS, or an unknown one.
    """
    check_columns(list(rows.columns))
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


def check_columns(columns: Sequence[object]) -> None:
    """Raises RequestRefused when a column is unknown, or when none of KINDS is there. It shows a few of the names."""
    names = [str(name) for name in columns]
    unknown = [name for name in names if name not in COLUMNS and name.isprintable()]
    known = f"known columns are {', '.join(COLUMNS)}"
    if not set(KINDS) & set(names):
        shown = f"; the columns are {_with_likely_names(unknown)}" if unknown else ""
        raise RequestRefused(f"no row has a column {', '.join(KINDS[:-1])} or {KINDS[-1]}{shown}; {known}")
    if set(names) - set(COLUMNS):
        raise RequestRefused(f"unknown column {_with_likely_names(unknown)}; {known}")


def _with_likely_names(names: Sequence[str]) -> str:
    """Names that a client sent, each with the known column that it may stand for."""
    likely = {name: get_close_matches(name.lower(), COLUMNS, n=1) for name in names[:SHOWN_COLUMNS]}
    return ", ".join(
        name[:SHOWN_CHARACTERS] + (f" (did you mean {alike[0]}?)" if alike else "") for name, alike in likely.items()
    )


def columns_in(body: bytes, content_type: str) -> list[str]:
    """Names of the columns of a request, as far as its body shows them: MLflow drops those that no model knows.

    body: CSV, or JSON in one of MLflow's forms. Empty for a body that cannot be read; MLflow refuses it.
    """
    try:
        if content_type.startswith("text/csv"):
            return [name for name in next(csv.reader(StringIO(body.decode())), []) if name]
        return _columns_of_json(json.loads(body))
    except (ValueError, RecursionError, csv.Error):
        return []


def _columns_of_json(content: object) -> list[str]:
    form = content if isinstance(content, dict) else {}
    split = form.get("dataframe_split")
    if isinstance(split, dict) and isinstance(split.get("columns"), list):
        return [str(name) for name in split["columns"]]
    rows: object = next((form[name] for name in ("dataframe_records", "inputs", "instances") if name in form), [])
    if isinstance(rows, dict):  # a list of cells by column
        return [str(name) for name in rows]
    named = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return list(dict.fromkeys(str(name) for row in named for name in row))


def _source(row: Mapping[Any, Any]) -> RowSource:
    kinds: list[Kind] = [kind for kind in KINDS if not _missing(row.get(kind))]
    if len(kinds) != 1:
        return RowSource(
            "slide", "", fault=f"{' and '.join(kinds) or 'nothing'} given; wanted one of {', '.join(KINDS)}"
        )
    kind, mpp = kinds[0], row.get("mpp")
    content = row[kind]
    if not isinstance(content, str):
        return RowSource(kind, "", fault=f"{kind} is not text; wanted {WANTED[kind]}")
    if kind == "slide" and content.endswith(".h5"):
        kind = "features"
    if kind == "image" and _missing(mpp):
        return RowSource(kind, "", fault="an image without mpp; wanted its um/px")
    try:
        return RowSource(kind, content, None if _missing(mpp) else float(str(mpp)))
    except ValueError:
        return RowSource(kind, "", fault="mpp is not a number; wanted um/px")


def _name(source: RowSource, number: int) -> str:
    return PurePath(source.content).stem if source.kind != "image" and source.content else f"row {number + 1}"


def _missing(value: object) -> bool:
    return bool(is_scalar(value) and isna(value)) or (isinstance(value, str) and not value)  # type: ignore[call-overload]
