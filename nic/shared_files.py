"""Files that several processes share: written whole or not at all, and locks that a dying process lets go of."""

import errno
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

DRAFT = ".draft"
FORGOTTEN_S = 86_400.0
"""A draft of another host that was not written to for so long belongs to a process that died."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What flock answers on file systems without locks: NFS without its lock service, Lustre, some of FUSE."""


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder. The file gets the name `path` when the block ends well, else it is removed.

    The content is on the disk before it gets its name, so a full disk or quota is an error here.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(_draft_name(path))
    try:
        yield draft
        with draft.open("rb+") as content:
            os.fsync(content.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def sweep_drafts(folder: Path) -> None:
    """Remove the drafts of processes that died.

    A draft of this host is removed when its process has ended, a draft of another host after a day without a write.
    """
    for draft in folder.glob(f".*{DRAFT}"):
        try:
            old = time.time() - draft.stat().st_mtime > FORGOTTEN_S
            if old or _of_a_dead_process(draft.name):
                draft.unlink()
        except FileNotFoundError:  # renamed or removed in this moment
            continue


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold a lock on a path while the block runs.

    It is the system's lock where the file system has locks. Elsewhere a file beside it names the process that holds
    it, and is taken over when that process is dead. timeout_s: how long to wait for another holder.
    Raises filelock.Timeout, and OSError where the folder cannot be written.
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


def _draft_name(path: Path) -> str:
    """Short whatever the name of the file: .<digest>.<pid>@<host>.draft"""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return f".{digest}.{os.getpid()}@{socket.gethostname()}{DRAFT}"


def _of_a_dead_process(name: str) -> bool:
    pid, _, host = name.removesuffix(DRAFT).split(".", 2)[-1].partition("@")
    return host == socket.gethostname() and pid.isdigit() and not _alive(int(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


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
