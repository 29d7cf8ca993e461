"""What the HDF5 layouts share: codes, coordinates and attributes, and errors that say which of them is missing."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nic.errors import InterchangeError, UnreachedCodes
from nic.slides.source import slide_id
from nic.system_errors import cannot_be_read, reason


def unusable(path: Path, error: BaseException, wrong: str) -> InterchangeError | UnreachedCodes:
    """The error for a file that could not be read: what is wrong with it, unless the system cannot read it now."""
    if cannot_be_read(error):
        return UnreachedCodes(f"{path.name}: cannot be read now: {reason(error)}; {UnreachedCodes.remedy}")
    return InterchangeError(f"{path.name}: {wrong}")


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file. Raises InterchangeError when it is missing, cut short or none, UnreachedCodes."""
    try:
        with h5py.File(path, locking=False) as file:
            yield file
    except OSError as error:
        text = str(error).replace(f"{path.parent}/", "")
        raise unusable(path, error, f"cannot be read, perhaps truncated: {text}; copy it again") from error


def by_slide(folder: Path, ending: str, skip: Collection[str] = ()) -> dict[str, Path]:
    """Files below a folder whose names end so, by what stands before that; hidden ones are passed over.

    skip: names of folders that hold other things. Raises InterchangeError when two files would be of one slide,
    UnreachedCodes when a folder cannot be read now.
    """
    by_id: dict[str, Path] = {}

    def refuse(error: OSError) -> None:
        raise unusable(Path(str(error.filename)), error, f"{reason(error)}") from error

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if name not in skip and not name.startswith("."))
        for name in sorted(names):
            if not name.endswith(ending) or name.startswith("."):
                continue
            path, slide = Path(place) / name, slide_id(name.removesuffix(ending))
            if other := by_id.get(slide):
                raise InterchangeError(
                    f"{slide}: two files of this slide, {other.relative_to(folder)} and {path.relative_to(folder)}; "
                    "give the folder of one of them"
                )
            by_id[slide] = path
    return dict(sorted(by_id.items()))


def codes_in(file: h5py.File, name: str, path: Path) -> NDArray[Any]:
    """The dataset of codes as [N, D], also from [1, N, D]. Raises InterchangeError."""
    codes = as_bag(dataset(file, name, path), path, f"dataset {name!r}")
    if codes.dtype.kind != "f":
        raise InterchangeError(f"{path.name}: dataset {name!r} holds {codes.dtype}, wanted floats")
    return codes


def as_bag(array: NDArray[Any], path: Path, what: str) -> NDArray[Any]:
    """[N, D] or [1, N, D] as [N, D]. Raises InterchangeError."""
    bag = array[0] if array.ndim == 3 and len(array) == 1 else array
    if bag.ndim != 2:
        raise InterchangeError(
            f"{path.name}: {what} is {list(array.shape)}, wanted [tiles, D]; features of whole slides have no grid"
        )
    return bag


def coords_in(file: h5py.File, path: Path) -> NDArray[np.float64]:
    """The dataset `coords` as float64 [N, 2], (x, y). Raises InterchangeError."""
    coords = dataset(file, "coords", path)
    coords = coords[0] if coords.ndim == 3 and len(coords) == 1 else coords
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise InterchangeError(f"{path.name}: dataset 'coords' is {list(coords.shape)}, wanted [tiles, 2]")
    if not np.isfinite(coords).all():
        raise InterchangeError(f"{path.name}: dataset 'coords' is not finite; extract the features again")
    return coords.astype(np.float64)


def whole_pixels(coords: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """The coordinates, being whole numbers. Raises InterchangeError."""
    if (broken := (coords != np.rint(coords)).any(axis=1)).any():
        x, y = coords[broken.argmax()]
        raise InterchangeError(
            f"{path.name}: tile {broken.argmax()} lies at ({x:.6g}, {y:.6g}), wanted whole level-0 pixels; "
            "if these are um, the file is laid out as STAMP's"
        )
    return coords


def dataset(file: h5py.File, name: str, path: Path) -> NDArray[Any]:
    if name not in file:
        raise InterchangeError(f"{path.name}: no dataset {name!r}; it holds {', '.join(file) or 'nothing'}")
    return np.asarray(file[name][()])


def number(holder: h5py.File | h5py.Dataset, name: str, path: Path) -> float:
    """An attribute that is a number > 0; of several, equal ones, the first. Raises InterchangeError."""
    if name not in holder.attrs:
        raise InterchangeError(
            f"{path.name}: no attribute {name!r} on {holder.name!r}; it has {', '.join(holder.attrs) or 'none'}"
        )
    values = np.ravel(holder.attrs[name])
    if values.dtype.kind not in "iuf" or not (values > 0).all() or np.ptp(values) > 1e-2 * values.max():
        raise InterchangeError(f"{path.name}: attribute {name!r} is {holder.attrs[name]}, wanted one number > 0")
    return float(values[0])
