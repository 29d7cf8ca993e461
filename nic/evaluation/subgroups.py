"""A figure in groups of patients: is the model as good for some as for others?"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nic.evaluation.figure import Estimate, Figure, estimate

Bools = NDArray[np.bool_]
MOST_LEVELS = 6
"""A column with more different numbers than these is split at its median."""
LEAST_PATIENTS = 10
"""A smaller group has no interval: the bootstrap would draw nearly the same few patients again and again."""
UNKNOWN = "not known"


@dataclass(frozen=True)
class Subgroup:
    """The figure of one group. column: by which patients are grouped; empty for the group of all patients."""

    column: str
    name: str
    estimate: Estimate


def groups_of(cells: Sequence[str]) -> Mapping[str, Bools]:
    """Patients [n] by their cell in a column. A column of many different numbers is split at its median."""
    known = np.array([bool(cell) for cell in cells])
    numbers = _numbers(cells)
    if numbers is None or len(set(numbers[known].tolist())) <= MOST_LEVELS:
        return {name or UNKNOWN: np.array([cell == name for cell in cells]) for name in sorted(set(cells), key=_order)}
    median = float(np.median(numbers[known]))
    parts = {f"below {median:g}": known & (numbers < median), f"{median:g} and above": known & (numbers >= median)}
    return parts | ({UNKNOWN: ~known} if not known.all() else {})


def subgroups_of(
    figure_among: Callable[[Bools], Figure], patients: int, columns: Mapping[str, Sequence[str]], seed: int
) -> Iterator[Subgroup]:
    """All patients, then each group of each column that has several; NaN where a group does not define the figure.

    figure_among: members [patients] -> the figure of those alone. columns: by name one cell per patient, empty where it
    is not known.
    """
    yield Subgroup("", "all", _estimate(figure_among(np.ones(patients, bool)), seed))
    for column, cells in columns.items():
        groups = groups_of(cells)
        if len(groups) > 1:
            yield from (Subgroup(column, name, _estimate(figure_among(group), seed)) for name, group in groups.items())


def _estimate(figure: Figure, seed: int) -> Estimate:
    estimated = estimate(figure, seed=seed)
    return estimated if figure.n >= LEAST_PATIENTS else replace(estimated, low=math.nan, high=math.nan)


def _numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """The cells as numbers, NaN for an empty cell; None where a cell holds other text."""
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return None


def _order(cell: str) -> tuple[bool, str]:
    """Empty cells come last."""
    return (not cell, cell)
