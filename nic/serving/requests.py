"""The rows of a request, grouped by patient."""

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

    Raises RequestRefused when there are no rows, more than `most_rows`, or none of the columns KINDS.
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
    """The refusal of rows without a column of KINDS. columns: names that a client sent; it shows a few of them."""
    shown = [str(name)[:SHOWN_CHARACTERS] for name in columns if str(name).isprintable()][:SHOWN_COLUMNS]
    return f"no column {', '.join(KINDS[:-1])} or {KINDS[-1]}" + (
        f"; the columns are {', '.join(shown)}" if shown else ""
    )


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
