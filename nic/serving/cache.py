"""Codes of slides that were asked for before: each slide is compressed once, whoever asks for it at the same time."""

import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError, OverLimit


class CodesCache:
    """Compressed slides in a folder, by what they were made of; threads and processes may share it.

    The least recently used go when the files take more than `most_bytes`. Locks are the system's, so that those of a
    process that was killed are let go of; files are renamed into place, so that it leaves no half one.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.most_bytes = folder, most_bytes

    def take(self, key: str, make: Callable[[], CompressedSlide], patience_s: float) -> CompressedSlide:
        """The slide of a key (hex digits), made if it is not here. Raises OverLimit when another takes too long."""
        file = self.folder / f"{key}.h5"
        try:
            # 256 locks, not one a slide: they are never deleted, because that would race.
            with FileLock(self.folder / f"{key[:2]}.lock", timeout=min(patience_s, 1e6)):
                slide = _held(file)
                if slide is None:
                    slide = make()
                    slide.save(file)
                    self._forget(file)
                return slide
        except Timeout as error:
            raise OverLimit(f"another request is still at it after {patience_s:.0f} s; ask again") from error

    def _forget(self, newest: Path) -> None:
        files = sorted(((f.stat(), f) for f in self.folder.glob("*.h5")), key=lambda item: item[0].st_mtime)
        surplus = sum(stat.st_size for stat, _ in files) - self.most_bytes
        for stat, file in files:
            if surplus > 0 and file != newest:
                file.unlink(missing_ok=True)
                surplus -= stat.st_size


def _held(file: Path) -> CompressedSlide | None:
    try:
        slide = CompressedSlide.load(file)
        os.utime(file)
    except (CodesError, FileNotFoundError):  # not here, forgotten in this moment, or damaged by another hand
        return None
    return slide
