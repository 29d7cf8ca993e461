"""Digests of what a stage reads and leaves; equal digests mean that a finished stage can be used again."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nic.compression.hdf5_file import content_digest
from nic.errors import CodesError

FILES_AT_ONCE = 32
"""Files that are read at the same time. On a network share or in a bucket each read waits for an answer."""
OF_ROWS = "rows-"
"""Beginning of a digest of codes by their content. Older digests of codes are of names and sizes, without it."""


def digest(content: Mapping[str, object]) -> str:
    """Sixteen hex digits of a mapping, whatever its order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def codes_digest(folder: Path) -> str:
    """Digest of the compressed slides of a folder: encoder, slide, tiling and rows of each.

    It reads the heads of the files only, thousands in seconds. A damaged file counts by its size; whoever loads its
    codes gets the error.
    """
    return OF_ROWS + _digest_of_files(folder, "*.h5", _codes_or_size)


def bytes_digest(folder: Path) -> str:
    """Digest of every byte below a folder."""
    return _digest_of_files(folder, "**/*", file_sha256)


def folder_digest(folder: Path) -> str:
    """Digest of all files below a folder: of codes by their content, of other files by name and size.

    It is cheap, and it shows when an output is gone, cut short, or of another encoder. What a later stage reads has a
    digest of its own.
    """
    return _digest_of_files(folder, "**/*", lambda file: _codes_or_size(file) if file.suffix == ".h5" else _size(file))


def output_digest(path: Path) -> str:
    """Digest of the file or folder that a stage left; the digest of an empty folder when it is gone."""
    return digest({path.name: path.stat().st_size}) if path.is_file() else folder_digest(path)


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(files: Iterable[Path]) -> list[dict[str, str | int]]:
    """Name, size and sha256 of each file that exists, so that anybody can identify it later."""
    existing = (file for file in files if file.is_file())
    return [{"file": f.name, "bytes": f.stat().st_size, "sha256": file_sha256(f)} for f in existing]


def _digest_of_files(folder: Path, pattern: str, of: Callable[[Path], object]) -> str:
    files = sorted(f for f in folder.glob(pattern) if f.is_file()) if folder.is_dir() else []
    names = [str(f.relative_to(folder)) for f in files]
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return digest(dict(zip(names, pool.map(of, files), strict=True)))


def _size(file: Path) -> int:
    return file.stat().st_size


def _codes_or_size(file: Path) -> object:
    try:
        return content_digest(file)
    except CodesError:
        return _size(file)
