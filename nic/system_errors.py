"""Errors of the operating system: permission, space, a missing file, a share. What they mean, and what to do."""

import errno
import os
import re

NO_PERMISSION = "take a place that this user may read and write, or have its permissions changed"
SHARE_AWAY = "the share is away; mount it again"
REMEDIES = {
    errno.EACCES: NO_PERMISSION,
    errno.EPERM: NO_PERMISSION,
    errno.EROFS: "take a place that can be written to",
    errno.ENOSPC: "free space there, or take another disk",
    errno.EDQUOT: "free space within the quota, or take another disk",
    errno.ENOENT: "see that the path is right; one that is not absolute begins at the working folder",
    errno.ENOTDIR: "a part of the path is a file; see that the path is right",
    errno.EISDIR: "that is a folder, and a file is needed",
    errno.EEXIST: "move what is there, or take another path",
    errno.ENAMETOOLONG: "take a shorter path",
    errno.EMFILE: "raise the number of files that a process may open (ulimit -n)",
    errno.ENOMEM: "take fewer workers, or a machine with more memory",
    errno.ESTALE: SHARE_AWAY,
    errno.ENOTCONN: SHARE_AWAY,
    errno.EHOSTDOWN: SHARE_AWAY,
    errno.EIO: "the disk or the share fails; see that it can be read",
}
OTHER_REMEDY = "mend that and run again"
LONGEST_DETAIL = 300
"""Characters of a library's own words."""
NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
OF_CONTENT = (errno.EINVAL, errno.EISDIR, errno.EOVERFLOW, errno.EILSEQ, errno.ENAMETOOLONG)
"""What the system answers when a damaged file sends a reader to an impossible place, or the name is impossible."""


def cannot_be_read(error: BaseException) -> bool:
    """Whether the system refused to read a file that may exist: no permission, a lost share, no locks.

    Such an error says nothing about the content. An error of a library about the content has no errno.
    """
    number = _errno(error)
    return number is not None and number not in NOT_THERE + OF_CONTENT


def reason(error: BaseException) -> str:
    """What the system says, without the paths and numbers that libraries put around it."""
    number = _errno(error)
    return os.strerror(number) if number is not None else str(error) or type(error).__name__


def sentence_of(error: OSError) -> str | None:
    """Place, reason and remedy in one line. None for an error without a number: it is not the system's."""
    number = _errno(error)
    if not number:
        return None
    reason = os.strerror(number)
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
    own_words = " ".join((error.strerror or str(error)).split())[:LONGEST_DETAIL]
    detail = "" if place or own_words == reason else f" ({own_words})"
    return f"{type(error).__name__}: {place}{reason}{detail}; {REMEDIES.get(number, OTHER_REMEDY)}"


def _errno(error: BaseException) -> int | None:
    """The error's number. HDF5 states it only in the message when h5py raises a KeyError or a RuntimeError."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    number = re.search(r"errno = (\d+)", str(error), re.IGNORECASE)
    return int(number[1]) if number else None
