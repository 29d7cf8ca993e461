"""Layouts `table`, `points` and `boxes`: a table of labelled image files, or of places in them."""

from collections.abc import Collection
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from nic.errors import TableError, TaskError
from nic.tables.cells import is_missing, number
from nic.tables.table import Table, read_table
from nic.tasks.entries import BoxesEntry, PlacesEntry, TableEntry
from nic.tasks.image_tiles import ImageTiles
from nic.tasks.tile_source import class_labels, pattern_groups
from nic.tasks.tile_task import TileTask


def read_tile_table(entry: TableEntry | PlacesEntry) -> TileTask:
    """The tiles of a table, sorted by file.

    Raises TaskError naming the table, and the row where one is at fault: unknown column, missing file, label of no
    class, no or implausible number.
    """
    table = tile_table(entry.path, [entry.file_column, entry.label_column, entry.group_column], _numeric(entry))
    files = texts(table, entry.file_column)
    named = None if entry.classes is None else {value for values in entry.classes.values() for value in values}
    values = label_texts(table, entry.label_column, named, entry.ignore)
    names, labels = class_labels(table.file, values, entry.classes, entry.ignore)
    mpps = _resolutions(entry, table)
    order = np.argsort(files, kind="stable")
    order = order[labels[order] >= 0]
    source = ImageTiles(
        paths=_paths(entry.path, table, files, order),
        names=[f"{row(table, i)} ({files[i]})" for i in order],
        labels=labels[order],
        groups=_groups(entry, table, files)[order],
        mpps=mpps[order],
        too_small=entry.too_small,
        boxes=_boxes(entry, table)[order] if isinstance(entry, PlacesEntry) else None,
        context=entry.context if isinstance(entry, BoxesEntry) else True,
    )
    return TileTask(entry.name, names, float(source.mpps.max()), source)


def _numeric(entry: TableEntry | PlacesEntry) -> list[str | None]:
    columns = [entry.mpp_column]
    if isinstance(entry, PlacesEntry):
        columns += [entry.x_column, entry.y_column]
    if isinstance(entry, BoxesEntry):
        columns += [entry.w_column, entry.h_column]
    return columns


def _paths(path: Path, table: Table, files: NDArray[np.str_], order: NDArray[np.intp]) -> list[Path]:
    """Raises TaskError for the first row whose file is not there."""
    known = {str(file): _place(path.parent, str(file)) for file in np.unique(files[order])}
    missing = {file for file, path in known.items() if not path.is_file()}
    for index in sorted(order) if missing else ():
        if files[index] in missing:
            raise TaskError(
                f"{row(table, index)}: no such file {files[index]}; {len(missing)} of {len(known)} are missing"
            )
    return [known[files[i]] for i in order]


def _place(folder: Path, file: str) -> Path:
    """The path of a file; also of a table written on Windows."""
    path = folder / file
    return path if "\\" not in file or path.exists() else folder / PureWindowsPath(file).as_posix()


def _resolutions(entry: TableEntry | PlacesEntry, table: Table) -> NDArray[np.float64]:
    if entry.mpp_column is None:
        return np.full(len(table.numbers), entry.mpp, np.float64)
    mpps = numbers(table, entry.mpp_column)
    if (mpps <= 0).any():
        index = int((mpps <= 0).argmax())
        raise TaskError(f"{row(table, index)}: {entry.mpp_column} is {mpps[index]:g}, wanted um/px above 0")
    return mpps


def _boxes(entry: PlacesEntry, table: Table) -> NDArray[np.float64]:
    """(x, y, w, h) of each row, [N, 4]; a point has no width and height."""
    columns = [entry.x_column, entry.y_column]
    if not isinstance(entry, BoxesEntry):
        places = [numbers(table, column) for column in columns]
        return np.stack([*places, *np.zeros((2, len(table.numbers)))], axis=1)
    boxes = np.stack([numbers(table, c) for c in (*columns, entry.w_column, entry.h_column)], axis=1)
    if (boxes[:, 2:] < 1).any():
        index = int((boxes[:, 2:] < 1).any(1).argmax())
        w, h = boxes[index, 2:]
        raise TaskError(f"{row(table, index)}: a box of {w:g} x {h:g} px, wanted at least one")
    return boxes


def _groups(entry: TableEntry | PlacesEntry, table: Table, files: NDArray[np.str_]) -> NDArray[np.str_]:
    """From the column or the pattern of the entry; else each image is a group."""
    if entry.group_column is not None:
        return texts(table, entry.group_column)
    if entry.group_pattern is not None:
        return pattern_groups(entry.path.name, files.tolist(), entry.group_pattern)
    return files


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
    """A column [N]. Raises TaskError naming the first row with a missing value: an empty cell, NA or the like."""
    cells = table.cells[column]
    for index, cell in enumerate(cells):
        if is_missing(cell):
            raise TaskError(f"{row(table, index)}: {column} is {cell!r}; fill the cell, or remove the row")
    return np.array(cells, np.str_)


def label_texts(table: Table, column: str, named: Collection[str] | None, ignore: Collection[str]) -> NDArray[np.str_]:
    """A column of labels [N]. named: labels in the classes of the entry; None where each label is a class of its own.

    Raises TaskError naming the first row with a missing value that is neither in `ignore` nor in a class.
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
    """A column as finite numbers [N]. Raises TaskError naming the first row without one."""
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
