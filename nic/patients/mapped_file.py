"""Arrays of HDF5 files that the system reads when they are touched, and may drop again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from nic.errors import CodesError


@dataclass(frozen=True, slots=True)
class Dataset:
    """Where an array lies in its file. offset_bytes: from the file's start; None where it is not in one piece."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset_bytes: int | None


@dataclass(frozen=True, slots=True)
class MappedFile:
    """Some datasets of a file, found once. Between two uses neither memory nor a descriptor nor a map is held.

    size_bytes, changed_ns: of the file when its datasets were found; the places are those of no other file.
    """

    path: Path
    size_bytes: int
    changed_ns: int
    datasets: dict[str, Dataset]

    @classmethod
    def of(cls, path: Path, names: Sequence[str]) -> "MappedFile":
        """The datasets of these names that the file has."""
        stat = path.stat()
        with h5py.File(path, locking=False) as file:
            datasets = {name: _dataset(file[name]) for name in names if name in file}
        return cls(path, stat.st_size, stat.st_mtime_ns, datasets)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every dataset, mapped where it lies in one piece and read where not.

        What is written into them stays in memory and never reaches the file. Raises CodesError when the file is gone,
        or another one has its name.
        """
        self._check_unchanged()
        # Not np.memmap: its maps keep a descriptor each, and a batch of small slides has more than a process may open.
        whole = torch.from_file(str(self.path), shared=False, size=self.size_bytes, dtype=torch.uint8).numpy()
        return {
            name: self._read(name) if d.offset_bytes is None else np.ndarray(d.shape, d.dtype, whole, d.offset_bytes)
            for name, d in self.datasets.items()
        }

    def _read(self, name: str) -> NDArray[Any]:
        with h5py.File(self.path, locking=False) as file:
            return np.asarray(file[name][:])

    def _check_unchanged(self) -> None:
        try:
            stat = self.path.stat()
        except FileNotFoundError as error:
            raise CodesError(f"{self.path.name}: gone since it was checked; put it back and run again") from error
        if (stat.st_size, stat.st_mtime_ns) != (self.size_bytes, self.changed_ns):
            raise CodesError(f"{self.path.name}: changed since it was checked; run again when nothing writes there")


def _dataset(dataset: h5py.Dataset) -> Dataset:
    return Dataset(dataset.shape, dataset.dtype, dataset.id.get_offset())
