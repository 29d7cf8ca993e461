"""Locks that are let go of when their process dies, also where the file system has none of its own."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What flock answers on file systems without locks: NFS without its lock service, Lustre, some of FUSE."""


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold a lock on a path while the context lasts.

    It is the system's where it has one; else a file beside it names its process, and is taken over when that is dead.
    timeout_s: to wait for another holder. Raises filelock.Timeout, and OSError where the folder cannot be written.
    """
    lock = _acquired(path, timeout_s)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_by_system(path: Path, timeout_s: float) -> Iterator[None]:
    """As `locked`, by the system's lock alone: no process, on whichever machine, can die and leave it behind.

    Raises filelock.Timeout, and OSError also where the file system has no locks.
    """
    lock = _acquired_of_system(path, timeout_s)
    try:
        yield
    finally:
        lock.release()


def _acquired_of_system(path: Path, timeout_s: float) -> BaseFileLock:
    lock = FileLock(path, fallback_to_soft=False)
    lock.acquire(timeout=timeout_s)
    return lock


def _acquired(path: Path, timeout_s: float) -> BaseFileLock:
    try:
        return _acquired_of_system(path, timeout_s)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    lock = SoftFileLock(path.with_name(f"{path.name}.soft"))
    lock.acquire(timeout=timeout_s)
    return lock
