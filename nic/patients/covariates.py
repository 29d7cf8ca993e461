"""Covariates of patients from the cohort's table, as numbers for a regression. Needs numpy alone."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nic.errors import CohortError, ConflictingLabels, UnknownColumn
from nic.patients.cohort import Patient
from nic.tables.cells import SPREADSHEET_ERROR, is_missing, number
from nic.tables.table import existing_names

BOUND = re.compile(r"[<>≤≥]=?\s*\d+(?:\.\d+)?|\d+\s*\+")
"""`>89` or `90+`: beyond a limit, as anonymous tables give the ages of the oldest."""
MOST_BOUNDS = 0.1
"""Of a column's known cells: leaving out more of those beyond a limit would bend what is estimated."""
MOST_LEVELS = 10
"""Of a category, unless each level has PATIENTS_A_LEVEL on average: beyond that its cells are no category."""
PATIENTS_A_LEVEL = 5
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Covariates:
    """names: of the columns. values: [n, p]; a category is a column of 0 and 1 a level; NaN where nothing is known."""

    names: tuple[str, ...]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class _Cell:
    """What stands in a patient's row. row: as a spreadsheet counts."""

    text: str
    row: int


def covariates_of(patients: Sequence[Patient], columns: Sequence[str]) -> Covariates:
    """The columns of the cohort's table, for patients with at least one row each.

    A column of numbers is taken as it is; a bound in it (>89) counts as unknown, with a warning. A column of
    words becomes a column for each level but the first in alphabetical order.
    Raises UnknownColumn, ConflictingLabels when a patient's rows differ, CohortError for words in a column of numbers
    and for a category of too many levels, naming rows.
    """
    names: list[str] = []
    values: list[NDArray[np.float64]] = []
    for column in columns:
        cells = [_cell(patient, column) for patient in patients]
        for name, numbers in _numbers(column, cells):
            names.append(name)
            values.append(numbers)
    return Covariates(tuple(names), np.column_stack(values) if values else np.empty((len(patients), 0)))


def _cell(patient: Patient, column: str) -> _Cell | None:
    """The patient's text; None where nothing is known."""
    if column not in patient.rows[0].cells:
        there_are = existing_names(column, tuple(patient.rows[0].cells))
        raise UnknownColumn(f"no column {column!r} for a covariate; {there_are}")
    cells = [
        _Cell(row.cells[column], row.place("", column)[1]) for row in patient.rows if not is_missing(row.cells[column])
    ]
    if len(texts := sorted({cell.text for cell in cells})) > 1:
        raise ConflictingLabels(f"covariate {column!r}: patient {patient.patient_id} is {' and '.join(texts)}")
    return cells[0] if cells else None


def _numbers(column: str, cells: Sequence[_Cell | None]) -> list[tuple[str, NDArray[np.float64]]]:
    known = [cell for cell in cells if cell is not None]
    values = {cell.text: value for cell in known if (value := _value(cell.text)) is not None}
    odd = [cell for cell in known if cell.text not in values]
    bounds = [cell for cell in odd if BOUND.fullmatch(cell.text)]
    if values and len(odd) == len(bounds) <= MOST_BOUNDS * len(known):
        if bounds:
            LOG.warning("covariate %r: %s: bounds, not numbers; counted as unknown", column, _named(bounds))
        return [(column, np.array([np.nan if cell is None else values.get(cell.text, np.nan) for cell in cells]))]
    if 2 * len(odd) <= len(known) and known:
        raise CohortError(
            f"covariate {column!r}: {_named(odd)} among numbers; wanted numbers with a decimal point, an empty cell "
            "where nothing is known, or, for a category, a word in every cell"
        )
    levels = _levels(column, known)
    return [(f"{column}={level}", _indicator(cells, level)) for level in levels[1:]]


def _value(text: str) -> float | None:
    try:
        return number(text)
    except ValueError:
        return None


def _levels(column: str, known: Sequence[_Cell]) -> list[str]:
    levels = sorted({cell.text for cell in known})
    if broken := [cell for cell in known if SPREADSHEET_ERROR.fullmatch(cell.text)]:
        raise CohortError(
            f"covariate {column!r}: {_named(broken)}: a spreadsheet's error; correct it or leave it empty"
        )
    if len(levels) > max(MOST_LEVELS, len(known) / PATIENTS_A_LEVEL):
        raise CohortError(
            f"covariate {column!r}: {len(levels)} different words for {len(known)} patients ({', '.join(levels[:3])}, "
            "...); wanted numbers, or a category of few levels"
        )
    return levels


def _named(cells: Sequence[_Cell], most: int = 3) -> str:
    named = ", ".join(f"row {cell.row} {cell.text!r}" for cell in cells[:most])
    return f"{named} and {len(cells) - most} more" if len(cells) > most else named


def _indicator(cells: Sequence[_Cell | None], level: str) -> NDArray[np.float64]:
    return np.array([np.nan if cell is None else float(cell.text == level) for cell in cells])
