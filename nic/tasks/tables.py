"""Tables of labelled tiles: columns by name, and errors that name the row as a spreadsheet counts it."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.errors import TableError, TaskError
from nic.tables.cells import is_missing, number
from nic.tables.table import Table, read_table


def tile_table(path: Path, names: Collection[str | None], numeric: Collection[str | None] = ()) -> Table:
    """A table with columns of names and of numbers, those that are not None.

    Raises TaskError: missing, empty, not a table, a column that it does not have.
    """
    texts, numerics = ([name for name in columns if name is not None] for columns in (names, numeric))
    try:
        return read_table(path, [*texts, *numerics], verbatim=texts)
    except TableError as error:
        raise TaskError(str(error)) from error


def texts(table: Table, column: str) -> NDArray[np.str_]:
    """A column [N]. Raises TaskError naming the first row that says nothing, by an empty cell, NA or the like."""
    cells = table.cells[column]
    for index, cell in enumerate(cells):
        if is_missing(cell):
            raise TaskError(f"{row(table, index)}: {column} is {cell!r}; fill the cell, or take the row out")
    return np.array(cells, np.str_)


def label_texts(table: Table, column: str, named: Collection[str] | None, ignore: Collection[str]) -> NDArray[np.str_]:
    """A column of labels [N]. named: those that are named in classes; None where each label is a class of its own.

    Raises TaskError naming the first row that says nothing, where neither `ignore` nor a class names that cell.
    """
    cells = table.cells[column]
    taken = {*ignore, *(named or ())}
    for index, cell in enumerate(cells):
        if is_missing(cell) and cell not in taken:
            raise TaskError(
                f"{row(table, index)}: {column} is {cell!r}, no label; label the tile, or put {cell!r} under ignore"
            )
    return np.array(cells, np.str_)


def numbers(table: Table, column: str) -> NDArray[np.float64]:
    """A column as finite numbers [N]. Raises TaskError naming the first row that has none."""
    values = np.empty(len(table.numbers))
    for index, cell in enumerate(table.cells[column]):
        try:
            values[index] = number(cell)
        except ValueError as error:
            raise TaskError(f"{row(table, index)}: {column} is {cell!r}, wanted a finite number") from error
    return values


def row(table: Table, index: int) -> str:
    """A row's name in messages."""
    return f"{table.file} row {table.numbers[index]}"
