"""Codes of slides that were asked for before: each slide is compressed once, whoever asks for it at the same time."""

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import Timeout

from nic.errors import CodesError, OverLimit
from nic.files import locked_by_system
from nic.serving.faults import log_fault

log = logging.getLogger(__name__)
T = TypeVar("T")
STALE_S = 3600.0
"""A draft as old as this is of a process that was killed."""
TURNS = 256


class CodesCache:
    """Files of compressed slides in a folder, by what they were made of; threads and processes may share it.

    The least recently used go when the files take more than `most_bytes`. Locks are the system's, so that those of a
    process that was killed are let go of; where the folder's disk has none, processes may make one slide twice. Files
    are renamed into place, so that there is no half one. A folder that cannot be written costs time, no answer.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.most_bytes = folder, most_bytes
        self._turns = [threading.Lock() for _ in range(TURNS)]

    def take(self, key: str, make: Callable[[Path], None], read: Callable[[Path], T], patience_s: float) -> T:
        """What `read` makes of the file of a key (hex digits), which `make` leaves at a path if it is not here.

        read: raises CodesError of a file that is not there or damaged. Raises OverLimit when another takes too long.
        """
        file = self.folder / f"{key}.h5"
        with self._alone(key[:2], patience_s):
            try:
                kept = read(file)
            except CodesError:  # not here, forgotten in this moment, or damaged by another hand
                pass
            else:
                with suppress(OSError):
                    os.utime(file)
                return kept
            with tempfile.TemporaryDirectory(prefix="nic-codes-") as made:
                fresh = Path(made) / file.name
                make(fresh)
                self._keep(fresh, file)
                return read(fresh)

    @contextmanager
    def _alone(self, turn: str, patience_s: float) -> Iterator[None]:
        """256 locks, not one a slide: they are never deleted, because that would race. First among threads, which need
        no disk for it."""
        until_s, lock = time.monotonic() + min(patience_s, 1e6), self._turns[int(turn, 16)]
        if not lock.acquire(timeout=min(patience_s, 1e6)):
            raise OverLimit(f"another request is still at it after {patience_s:.0f} s; ask again")
        try:
            with ExitStack() as held:
                self._hold_among_processes(held, turn, max(0.0, until_s - time.monotonic()))
                yield
        finally:
            lock.release()

    def _hold_among_processes(self, held: ExitStack, turn: str, patience_s: float) -> None:
        try:
            # A file in place of a lock could be left by a machine that died, and would hold up its slides for ever.
            held.enter_context(locked_by_system(self.folder / f"{turn}.lock", patience_s))
        except Timeout:
            raise OverLimit(f"another request is still at it after {patience_s:.0f} s; ask again") from None
        except OSError as error:  # no locks (NFS without its daemon) or no room: a slide may be made twice
            log.debug("no lock in the cache's folder: %s", type(error).__name__)

    def _keep(self, fresh: Path, file: Path) -> None:
        """A copy in the folder, and no more files than it may hold."""
        draft = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            try:
                shutil.copyfile(fresh, draft)
                draft.replace(file)
            finally:
                draft.unlink(missing_ok=True)
            self._forget(file)
        except OSError as error:  # a full disk: the answer is given, and the slide compressed again next time
            log_fault("codes are not kept in the cache", error)

    def _forget(self, newest: Path) -> None:
        files = sorted(self._held(), key=lambda item: item[0].st_mtime)
        surplus = sum(stat.st_size for stat, _ in files) - self.most_bytes
        for stat, file in files:
            if surplus > 0 and file != newest:
                file.unlink(missing_ok=True)
                surplus -= stat.st_size
        for stat, draft in self._stated(".*.h5.*"):
            if stat.st_mtime < time.time() - STALE_S:
                draft.unlink(missing_ok=True)

    def _held(self) -> Iterator[tuple[os.stat_result, Path]]:
        return self._stated("[!.]*.h5")

    def _stated(self, pattern: str) -> Iterator[tuple[os.stat_result, Path]]:
        for file in self.folder.glob(pattern):
            try:
                yield file.stat(), file
            except FileNotFoundError:  # another thread or process let go of it in this moment
                continue
