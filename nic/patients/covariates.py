"""What is known of patients beside their slides, as numbers for a regression. Needs numpy alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nic.errors import ConflictingLabels, UnknownColumn
from nic.patients.cohort import MISSING, Patient


@dataclass(frozen=True)
class Covariates:
    """names: of the columns. values: [n, p]; a category is a column of 0 and 1 a level; NaN where nothing is known."""

    names: tuple[str, ...]
    values: NDArray[np.float64]


def covariates_of(patients: Sequence[Patient], columns: Sequence[str]) -> Covariates:
    """The columns of the cohort's table, for patients with at least one row each.

    A column of numbers is taken as it is. Of any other, each level but the first in alphabetical order is a column.
    Raises UnknownColumn, ConflictingLabels when a patient's rows differ.
    """
    names: list[str] = []
    values: list[NDArray[np.float64]] = []
    for column in columns:
        cells = [_cell(patient, column) for patient in patients]
        for name, numbers in _numbers(column, cells):
            names.append(name)
            values.append(numbers)
    return Covariates(tuple(names), np.column_stack(values) if values else np.empty((len(patients), 0)))


def _cell(patient: Patient, column: str) -> str | None:
    """The patient's text; None where nothing is known."""
    if column not in patient.rows[0].cells:
        raise UnknownColumn(f"no column {column!r} for a covariate; there are {', '.join(patient.rows[0].cells)}")
    texts = sorted({row.cells[column] for row in patient.rows if row.cells[column].lower() not in MISSING})
    if len(texts) > 1:
        raise ConflictingLabels(f"covariate {column!r}: patient {patient.patient_id} is {' and '.join(texts)}")
    return texts[0] if texts else None


def _numbers(column: str, cells: Sequence[str | None]) -> list[tuple[str, NDArray[np.float64]]]:
    known = [cell for cell in cells if cell is not None]
    try:
        numbers = dict(zip(known, map(float, known), strict=True))
        return [(column, np.array([np.nan if cell is None else numbers[cell] for cell in cells]))]
    except ValueError:
        levels = sorted(set(known))[1:]
        return [(f"{column}={level}", _indicator(cells, level)) for level in levels]


def _indicator(cells: Sequence[str | None], level: str) -> NDArray[np.float64]:
    return np.array([np.nan if cell is None else float(cell == level) for cell in cells])
