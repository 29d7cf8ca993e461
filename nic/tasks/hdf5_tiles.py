"""Layout `hdf5`: tiles and labels as data sets, in the layout of PatchCamelyon."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from nic.errors import TaskError, UnreadableTile
from nic.tasks.entries import Hdf5Entry
from nic.tasks.image_tiles import TooSmall, cut_field, file_digest
from nic.tasks.tile_source import PART_TILES, Cut, TileField, TilePart, class_labels
from nic.tasks.tile_table import texts, tile_table
from nic.tasks.tile_task import TileTask


@dataclass(frozen=True, eq=False)
class Hdf5Tiles:
    """Rows of a data set [N, h, w, 3] uint8. labels: [N], below 0 for rows that are left out. groups: [N]."""

    path: Path
    dataset: str
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    mpp: float
    too_small: TooSmall

    @cached_property
    def digest(self) -> str:
        """Of the file's bytes, labels and groups."""
        total = hashlib.sha256(f"{self.dataset} {self.too_small}".encode() + file_digest(self.path))
        total.update(self.labels.tobytes() + "\n".join(self.groups).encode())
        return total.hexdigest()

    @property
    def origins(self) -> frozenset[str]:
        return frozenset(self.groups.tolist())

    def parts(self, field: TileField) -> Iterator[TilePart]:
        for first in range(0, len(self.labels), PART_TILES):
            rows = np.arange(first, min(first + PART_TILES, len(self.labels)))
            rows = rows[self.labels[rows] >= 0]
            names = [f"{self.path.name} row {i}" for i in rows]
            yield TilePart(names, self.labels[rows], self.groups[rows], partial(self._cut, rows, names, field))

    def _cut(self, rows: NDArray[np.intp], names: list[str], field: TileField) -> Iterator[Cut]:
        if not len(rows):
            return
        try:
            with h5py.File(self.path, locking=False) as file:
                images = file[self.dataset][rows[0] : rows[-1] + 1]
        except OSError as error:
            yield from (UnreadableTile(f"{name}: cannot be read: {error}") for name in names)
            return
        for i, name in zip(rows - rows[0], names, strict=True):
            centre = images.shape[2] / 2, images.shape[1] / 2
            yield cut_field(images[i], centre, self.mpp, field, self.too_small, name)


def read_hdf5_tiles(entry: Hdf5Entry) -> TileTask:
    """Raises TaskError naming the file: missing, not HDF5, no such data set, other shapes, labels of no class."""
    shape, kind = _described(entry.path, entry.x)
    if len(shape) != 4 or shape[3] != 3 or kind != np.uint8:
        raise TaskError(f"{entry.path.name}: {entry.x} is {kind} {list(shape)}, wanted uint8 [N, h, w, 3]")
    values = _labels(entry.labels or entry.path, entry.y, shape[0])
    names, labels = class_labels(entry.name, values.astype(np.str_), entry.classes, entry.ignore)
    source = Hdf5Tiles(entry.path, entry.x, labels, _groups(entry, shape[0]), entry.mpp, entry.too_small)
    return TileTask(entry.name, names, entry.mpp, source)


def _described(path: Path, dataset: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    with _open(path) as file:
        if not isinstance(file.get(dataset), h5py.Dataset):
            raise TaskError(f"{path.name}: no data set {dataset!r}; it has {', '.join(file)}")
        return file[dataset].shape, file[dataset].dtype


def _labels(path: Path, dataset: str, count: int) -> NDArray[np.int64]:
    """Whole numbers [N] from [N, 1, 1, 1] or the like."""
    shape, kind = _described(path, dataset)
    if kind.kind not in "iu" or int(np.prod(shape)) != count:
        raise TaskError(f"{path.name}: {dataset} is {kind} {list(shape)}, wanted {count} whole numbers")
    with _open(path) as file:
        return np.asarray(file[dataset], np.int64).ravel()


def _groups(entry: Hdf5Entry, count: int) -> NDArray[np.str_]:
    """The column of slides or patients; without one each tile is a group of its own."""
    if entry.meta is None:
        return np.arange(count).astype(np.str_)
    column = texts(tile_table(entry.meta, [entry.group_column]), str(entry.group_column))
    if len(column) != count:
        raise TaskError(f"{entry.meta.name}: {len(column)} rows for {count} tiles of {entry.path.name}")
    return column


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise TaskError(f"{path}: no such file of labelled tiles")
    try:
        return h5py.File(path, locking=False)
    except OSError as error:
        raise TaskError(f"{path.name}: not HDF5, or cut short: {error}") from error
