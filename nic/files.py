"""Files that are whole or not there, and what the system's errors say of them."""

import errno
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
OF_CONTENT = (errno.EINVAL, errno.EISDIR, errno.EOVERFLOW, errno.EILSEQ, errno.ENAMETOOLONG)
"""What the system answers when a damaged file sends a reader to a place that cannot be, or the name is none."""
FORGOTTEN_S = 86_400.0
"""A draft of another host that nobody has written for so long is of a process that died."""
DRAFT = ".draft"


def cannot_be_read(error: BaseException) -> bool:
    """Whether the system refused to read a file that may be there: no permission, a lost share, no locks.

    It says nothing of the content then. An error of a library about the content has no errno.
    """
    number = _errno(error)
    return number is not None and number not in NOT_THERE + OF_CONTENT


def reason(error: BaseException) -> str:
    """What the system says, without the paths and numbers that libraries put around it."""
    number = _errno(error)
    return os.strerror(number) if number is not None else str(error) or type(error).__name__


def _errno(error: BaseException) -> int | None:
    """HDF5 has it in the message alone where h5py makes a KeyError or a RuntimeError of it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    stated = re.search(r"errno = (\d+)", str(error))
    return int(stated[1]) if stated else None


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder, that becomes `path` when all is written; else nothing is left of it.

    The content is on the disk before it gets its name, so that a full disk or quota is an error here.
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
    """Remove what processes that died left of files they wrote into a folder.

    A draft of this host goes when its process is no more; one of another host when nobody wrote it for a day.
    """
    for draft in folder.glob(f".*{DRAFT}"):
        try:
            old = time.time() - draft.stat().st_mtime > FORGOTTEN_S
            if old or _of_a_dead_process(draft.name):
                draft.unlink()
        except FileNotFoundError:  # renamed or removed in this moment
            continue


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
