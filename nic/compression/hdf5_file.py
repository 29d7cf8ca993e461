"""HDF5 files: written whole or not at all, read with errors that name the file, and sealed by what they hold.

The digests of what a file of codes holds stand in its head: two files of one content are of the same bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nic.errors import CodesError, UnreachedCodes
from nic.shared_files import drafted
from nic.system_errors import cannot_be_read, reason

ROWS, VARIANTS, CONTENT = "rows_sha256", "variants_sha256", "content_sha256"
"""Attributes: digest of `features`, `row` and `col`; of `features_d4`; of all other attributes. Not in older files."""

PART_ROWS = 8192
"""Codes that are digested at a time."""


@contextmanager
def written(path: Path) -> Iterator[h5py.File]:
    """A file to fill; it gets its name when it is whole. Raises OSError.

    It is made in memory: on a full disk HDF5 cannot close a file, and raises later, from anywhere.
    """
    content = BytesIO()
    with h5py.File(content, "w") as file:
        yield file
    with drafted(path) as draft:
        draft.write_bytes(content.getbuffer())


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """A compressed slide's file, to read. Raises UnreachedCodes when the system cannot read it now, else CodesError:
    it is missing, damaged, or not of nic."""
    try:
        with h5py.File(path, locking=False) as file:
            yield file
    except CodesError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if cannot_be_read(error):
            raise UnreachedCodes(
                f"{path.name}: cannot be read now: {reason(error)}; {UnreachedCodes.remedy}"
            ) from error
        text = str(error).replace(f"{path.parent}/", "")
        raise CodesError(f"{path.name}: not a compressed slide of nic: {text}; compress the slide again") from error


def rows_sha256(codes: NDArray[np.float16], row: NDArray[np.int32], col: NDArray[np.int32]) -> str:
    """Digest of codes [N, D] and of the places of their tiles, row and col [N]."""
    return _sha256([codes.astype("<f2", copy=False), row.astype("<i4", copy=False), col.astype("<i4", copy=False)])


def variants_sha256(variants: Iterable[NDArray[np.float16]]) -> str:
    """Digest of the codes of D4 variants, [8, N, D], or of any parts of them in that order."""
    return _sha256(part.astype("<f2", copy=False) for part in variants)


def rows_fault(
    file: h5py.File, codes: NDArray[np.float16], row: NDArray[np.int32], col: NDArray[np.int32]
) -> str | None:
    """What is wrong when the rows in the file are not those that were written. An older file has no digest."""
    if ROWS not in file.attrs or rows_sha256(codes, row, col) == file.attrs[ROWS]:
        return None
    return "damaged: rows do not have the digest they were written with"


def variants_fault(file: h5py.File, variants: Iterable[NDArray[np.float16]]) -> str | None:
    """As `rows_fault`, for the codes of D4 variants."""
    if VARIANTS not in file.attrs or variants_sha256(variants) == file.attrs[VARIANTS]:
        return None
    return "damaged: variants do not have the digest they were written with"


def seal(file: h5py.File) -> None:
    """Write the digest of all attributes so far; the last step of writing a file of codes."""
    file.attrs[CONTENT] = _head_sha256(file)


def content_digest(path: Path) -> str:
    """Sixteen hex digits of what a file of codes is: encoder, slide, tiling, grid, and the digests of its rows.

    One attribute is read. An older file has none: all its rows are read, once until the file changes.
    Raises CodesError when it cannot be read as a file of codes.
    """
    try:
        stat = path.stat()
        return _content(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CodesError(f"{path.name}: not a compressed slide of nic; compress the slide again") from error


@lru_cache(maxsize=100_000)
def _content(path: Path, inode: int, size_bytes: int, changed_ns: int) -> str:
    """inode, size_bytes, changed_ns: of the file, so that another file of this name is read again."""
    with h5py.File(path, locking=False) as file:
        return str(file.attrs[CONTENT] if CONTENT in file.attrs else _head_sha256(file))[:16]


def _head_sha256(file: h5py.File) -> str:
    """Of all attributes; the digests of rows and variants are taken where they are not among them."""
    head = {name: np.asarray(value).tolist() for name, value in file.attrs.items()}
    if ROWS not in head:
        head[ROWS] = _sha256(chain(_parts_of(file["features"]), _ints(file["row"]), _ints(file["col"])))
    if "features_d4" in file and VARIANTS not in head:
        head[VARIANTS] = variants_sha256(parts_of_variants(file["features_d4"]))
    return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()


def parts_of_variants(variants: h5py.Dataset) -> Iterator[NDArray[np.float16]]:
    """A dataset [8, N, D] in parts of some rows [n, D], variant by variant: memory does not grow with the slide."""
    for variant in range(len(variants)):
        for start in range(0, variants.shape[1], PART_ROWS):
            yield variants[variant, start : start + PART_ROWS]


def _parts_of(codes: h5py.Dataset) -> Iterator[NDArray[Any]]:
    for start in range(0, len(codes), PART_ROWS):
        yield codes[start : start + PART_ROWS].astype("<f2", copy=False)


def _ints(places: h5py.Dataset) -> list[NDArray[Any]]:
    return [places[:].astype("<i4", copy=False)]


def _sha256(arrays: Iterable[NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
