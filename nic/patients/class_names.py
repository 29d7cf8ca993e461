"""The names of an endpoint's classes, from the labels that stand in its column."""

import re
from collections.abc import Iterable, Sequence

from nic.errors import EndpointError, OneClass
from nic.patients.targets import LEAST_CLASSES
from nic.tables.cells import SPREADSHEET_ERROR, number

WITH_POINT = re.compile(r"^([+-]?\d+)\.0+$", re.ASCII)


def readable_labels(labels: Iterable[str], where: str) -> list[str]:
    """Each label once, sorted. where: begins a message. Raises EndpointError for one that may mean something else."""
    there = sorted(set(labels))
    if broken := [name for name in there if SPREADSHEET_ERROR.fullmatch(name)]:
        raise EndpointError(f"{where}: {broken[0]} is a spreadsheet's error; correct the cell, or leave it empty")
    if "-" in there and "+" not in there:
        raise EndpointError(f"{where}: '-' may be a class or a missing value; write a word, or leave the cell empty")
    return there


def negative_and_positive(there: Sequence[str], positive: str, where: str) -> tuple[str, str]:
    """Of a classification. there: its labels. Raises EndpointError or OneClass unless there are two."""
    if positive not in there:
        raise EndpointError(f"{where}: the positive class is {positive!r}, found {', '.join(there)}; write one of them")
    if len(there) == 1:
        raise OneClass(f"{where}: all patients are {positive!r}; wanted both classes")
    if len(there) > 2:
        raise EndpointError(
            f"{where}: wanted two classes, found {len(there)}: {', '.join(there)}; write kind: multiclass, or "
            "kind: ordinal where they have an order, without positive"
        )
    return next(name for name in there if name != positive), positive


def place_of(text: str, names: Sequence[str]) -> int:
    """The place of a label among several classes; `2.0`, as a spreadsheet writes it, is `2`. Raises ValueError."""
    return list(names).index(text if text in names else whole_number(text))


def whole_number(text: str) -> str:
    """A label without the `.0` that a spreadsheet adds to whole numbers of a column with gaps."""
    return WITH_POINT.sub(r"\1", text)


def several_classes(there: Sequence[str], kind: str, where: str) -> tuple[str, ...]:
    """Of a multiclass or an ordinal endpoint that lists no classes: sorted, grades by number and classes by name.

    there: the labels. Raises EndpointError when they are too few, or when the order of grades is not known.
    """
    there = sorted({whole_number(text) for text in there})
    if len(there) < LEAST_CLASSES:
        raise EndpointError(
            f"{where}: {kind} takes {LEAST_CLASSES} or more classes, found {len(there)}: {', '.join(there)}; for two "
            "write kind: classification and positive:, or list all under classes:"
        )
    if kind == "multiclass":
        return tuple(there)
    try:
        return tuple(sorted(there, key=number))
    except ValueError as error:
        raise EndpointError(
            f"{where}: the order of {', '.join(there)} is not known; write classes: [...], the lowest first"
        ) from error
