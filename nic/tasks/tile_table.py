"""Layouts `table`, `points` and `boxes`: a CSV of image files, or of places in them, with labels."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nic.errors import TaskError
from nic.tasks.entries import BoxesEntry, PlacesEntry, TableEntry
from nic.tasks.image_tiles import ImageTiles
from nic.tasks.labelling import class_labels, pattern_groups
from nic.tasks.tables import numbers, read_table, row
from nic.tasks.tile_task import TileTask


def read_tile_table(entry: TableEntry | PlacesEntry) -> TileTask:
    """The tiles of a table, sorted by file.

    Raises TaskError naming the table, and the row where one is at fault: unknown column, missing file, label of no
    class, no or implausible number.
    """
    table = read_table(entry.path, _columns(entry))
    files = table[entry.file_column].to_numpy(np.str_)
    names, labels = class_labels(
        entry.path.name, table[entry.label_column].to_numpy(np.str_), entry.classes, entry.ignore
    )
    mpps = _resolutions(entry, table)
    order = np.argsort(files, kind="stable")
    order = order[labels[order] >= 0]
    source = ImageTiles(
        paths=_paths(entry.path, files, order),
        names=[f"{row(entry.path, i)} ({files[i]})" for i in order],
        labels=labels[order],
        groups=_groups(entry, table, files)[order],
        mpps=mpps[order],
        too_small=entry.too_small,
        boxes=_boxes(entry, table)[order] if isinstance(entry, PlacesEntry) else None,
        context=entry.context if isinstance(entry, BoxesEntry) else True,
    )
    return TileTask(entry.name, names, float(source.mpps.max()), source)


def _columns(entry: TableEntry | PlacesEntry) -> list[str | None]:
    columns = [entry.file_column, entry.label_column, entry.group_column, entry.mpp_column]
    if isinstance(entry, PlacesEntry):
        columns += [entry.x_column, entry.y_column]
    if isinstance(entry, BoxesEntry):
        columns += [entry.w_column, entry.h_column]
    return columns


def _paths(table: Path, files: NDArray[np.str_], order: NDArray[np.intp]) -> list[Path]:
    """Raises TaskError for the first row whose file is not there."""
    known = {str(file): table.parent / str(file) for file in np.unique(files[order])}
    missing = {file for file, path in known.items() if not path.is_file()}
    for index in sorted(order) if missing else ():
        if files[index] in missing:
            raise TaskError(
                f"{row(table, index)}: no such file {files[index]}; {len(missing)} of {len(known)} are missing"
            )
    return [known[files[i]] for i in order]


def _resolutions(entry: TableEntry | PlacesEntry, table: pd.DataFrame) -> NDArray[np.float64]:
    if entry.mpp_column is None:
        return np.full(len(table), entry.mpp, np.float64)
    mpps = numbers(entry.path, table, entry.mpp_column)
    if (mpps <= 0).any():
        index = int((mpps <= 0).argmax())
        raise TaskError(f"{row(entry.path, index)}: {entry.mpp_column} is {mpps[index]:g}, wanted um/px above 0")
    return mpps


def _boxes(entry: PlacesEntry, table: pd.DataFrame) -> NDArray[np.float64]:
    """(x, y, w, h) of each row, [N, 4]; a point has no width and height."""
    columns = [entry.x_column, entry.y_column]
    if not isinstance(entry, BoxesEntry):
        places = [numbers(entry.path, table, column) for column in columns]
        return np.stack([*places, *np.zeros((2, len(table)))], axis=1)
    boxes = np.stack([numbers(entry.path, table, c) for c in (*columns, entry.w_column, entry.h_column)], axis=1)
    if (boxes[:, 2:] < 1).any():
        index = int((boxes[:, 2:] < 1).any(1).argmax())
        w, h = boxes[index, 2:]
        raise TaskError(f"{row(entry.path, index)}: a box of {w:g} x {h:g} px, wanted at least one")
    return boxes


def _groups(entry: TableEntry | PlacesEntry, table: pd.DataFrame, files: NDArray[np.str_]) -> NDArray[np.str_]:
    """A group is what the study file says; else an image."""
    if entry.group_column is not None:
        return table[entry.group_column].to_numpy(np.str_)
    if entry.group_pattern is not None:
        return pattern_groups(entry.path.name, files.tolist(), entry.group_pattern)
    return files
