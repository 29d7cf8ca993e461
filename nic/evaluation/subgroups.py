"""The figure that decides in groups of patients: whether a model is as good for some as for others."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nic.evaluation.endpoint_figures import Measure
from nic.evaluation.figure import Estimate, estimate_or_nan

Bools = NDArray[np.bool_]
MOST_LEVELS = 6
"""A column of more numbers than these is parted at its median."""
LEAST_PATIENTS = 10
"""Of fewer a bootstrap draws nearly the same few again and again: their figure has no interval."""
UNKNOWN = "not known"


@dataclass(frozen=True)
class Subgroup:
    """The figure of a group. column: that parts the patients, empty for all of them."""

    column: str
    name: str
    estimate: Estimate


def groups_of(cells: Sequence[str]) -> Mapping[str, Bools]:
    """Patients [n] by what stands in a column; numbers of many values are parted at their median."""
    known = np.array([bool(cell) for cell in cells])
    numbers = _numbers(cells)
    if numbers is None or len(set(numbers[known].tolist())) <= MOST_LEVELS:
        return {name or UNKNOWN: np.array([cell == name for cell in cells]) for name in sorted(set(cells), key=_order)}
    median = float(np.median(numbers[known]))
    parts = {f"below {median:g}": known & (numbers < median), f"{median:g} and above": known & (numbers >= median)}
    return parts | ({UNKNOWN: ~known} if not known.all() else {})


def subgroups_of(
    measure: Measure, columns: Mapping[str, Sequence[str]], seed: int, fold: NDArray[np.intp] | None = None
) -> Iterator[Subgroup]:
    """All patients, then each group of each column that parts them; NaN where a group does not define the figure.

    columns: by name a cell a patient, empty where nothing is known. fold: [n], patients are compared within theirs.
    """
    fold = np.zeros(len(measure.score), np.intp) if fold is None else fold
    yield Subgroup("", "all", _estimate(measure, np.ones(len(measure.score), bool), seed, fold))
    for column, cells in columns.items():
        groups = groups_of(cells)
        if len(groups) > 1:
            yield from (Subgroup(column, name, _estimate(measure, group, seed, fold)) for name, group in groups.items())


def _estimate(measure: Measure, group: Bools, seed: int, fold: NDArray[np.intp]) -> Estimate:
    labels = tuple(label[group] for label in measure.labels)
    found = estimate_or_nan(measure.metric, labels, measure.score[group], seed=seed, fold=fold[group])
    return found if found.n >= LEAST_PATIENTS else replace(found, low=math.nan, high=math.nan)


def _numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """The cells as numbers, NaN where nothing is known; None where there is other text."""
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return None


def _order(cell: str) -> tuple[bool, str]:
    """What is not known comes last."""
    return (not cell, cell)
