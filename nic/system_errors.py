"""What a machine refuses a program, in one sentence: a right, space, a file, a share."""

import errno
import os
import re

NO_RIGHT = "take a place that this user may read and write, or have its rights changed"
SHARE_AWAY = "the share is away; mount it again"
REMEDIES = {
    errno.EACCES: NO_RIGHT,
    errno.EPERM: NO_RIGHT,
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


def sentence_of(error: OSError) -> str | None:
    """Where, what and the remedy, in one line. None for an error without a number: it is not the machine's.

    HDF5 gives the number in its text alone.
    """
    number = error.errno or next((int(n) for n in re.findall(r"[Ee]rrno = (\d+)", str(error))), 0)
    if not number:
        return None
    reason = os.strerror(number)
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
    own_words = " ".join((error.strerror or str(error)).split())[:LONGEST_DETAIL]
    detail = "" if place or own_words == reason else f" ({own_words})"
    return f"{type(error).__name__}: {place}{reason}{detail}; {REMEDIES.get(number, OTHER_REMEDY)}"
