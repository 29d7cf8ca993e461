"""A cache of compressed slides: each is compressed once, also when several requests ask for it at the same time."""

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
from nic.serving.operator_log import log_fault
from nic.shared_files import locked_by_system

log = logging.getLogger(__name__)
T = TypeVar("T")
STALE_S = 3600.0
"""A draft as old as this is of a process that was killed."""
LOCKS = 256


class CodesCache:
    """Files of compressed slides in a folder, by a key; threads and processes may share it.

    The least recently used are removed when the files take more than `most_bytes`. Locks are the system's, so that
    those of a killed process are released; on a disk without locks, two processes may make one slide twice. Files are
    renamed into place, so that none is half written. A folder that cannot be written costs time, not answers.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.most_bytes = folder, most_bytes
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    def take(self, key: str, make: Callable[[Path], None], read: Callable[[Path], T], wait_s: float) -> T:
        """`read` of the file under a key (hex digits); `make` writes that file first if the cache has none.

        read: raises CodesError when the file is missing or damaged. Raises OverLimit when another request makes the
        same slide for longer than wait_s.
        """
        file = self.folder / f"{key}.h5"
        with self._locked(key[:2], wait_s):
            try:
                kept = read(file)
            except CodesError:  # not in the cache, removed this moment, or damaged
                pass
            else:
                with suppress(OSError):
                    os.utime(file)
                return kept
            with tempfile.TemporaryDirectory(prefix="nic-codes-") as made:
                fresh = Path(made) / file.name
                make(fresh)
                self._store(fresh, file)
                return read(fresh)

    @contextmanager
    def _locked(self, number: str, wait_s: float) -> Iterator[None]:
        """One of 256 locks, not one a slide: lock files are never deleted, because that would race. Threads take turns
        first, which needs no disk."""
        until_s, lock = time.monotonic() + min(wait_s, 1e6), self._locks[int(number, 16)]
        if not lock.acquire(timeout=min(wait_s, 1e6)):
            raise OverLimit(f"another request is still making its codes after {wait_s:.0f} s; ask again")
        try:
            with ExitStack() as held:
                self._lock_among_processes(held, number, max(0.0, until_s - time.monotonic()))
                yield
        finally:
            lock.release()

    def _lock_among_processes(self, held: ExitStack, number: str, wait_s: float) -> None:
        try:
            # A machine that dies would leave a lock that is a file, and block its slides for ever.
            held.enter_context(locked_by_system(self.folder / f"{number}.lock", wait_s))
        except Timeout:
            raise OverLimit(f"another request is still making its codes after {wait_s:.0f} s; ask again") from None
        except OSError as error:  # NFS without its lock daemon, or no room: a slide may be made twice
            log.debug("no lock in the cache's folder: %s", type(error).__name__)

    def _store(self, fresh: Path, file: Path) -> None:
        """Copy a file into the folder, and remove old ones beyond its size."""
        draft = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            try:
                shutil.copyfile(fresh, draft)
                draft.replace(file)
            finally:
                draft.unlink(missing_ok=True)
            self._remove_old(file)
        except OSError as error:  # a full disk: the answer is given, and the slide is compressed again next time
            log_fault("codes cannot be written to the cache", error)

    def _remove_old(self, newest: Path) -> None:
        files = sorted(self._with_stat("[!.]*.h5"), key=lambda item: item[0].st_mtime)
        surplus = sum(stat.st_size for stat, _ in files) - self.most_bytes
        for stat, file in files:
            if surplus > 0 and file != newest:
                file.unlink(missing_ok=True)
                surplus -= stat.st_size
        for stat, draft in self._with_stat(".*.h5.*"):
            if stat.st_mtime < time.time() - STALE_S:
                draft.unlink(missing_ok=True)

    def _with_stat(self, pattern: str) -> Iterator[tuple[os.stat_result, Path]]:
        for file in self.folder.glob(pattern):
            try:
                yield file.stat(), file
            except FileNotFoundError:  # another thread or process has just removed it
                continue
