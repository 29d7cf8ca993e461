"""Faults of the server's own: a row that meets one is refused alone, and the operator's log says where, not of whom."""

import logging
import traceback
from pathlib import PurePath

INTERNAL = "Internal: the server failed on this row; its operator finds where in the log"
"""What a client is told: the text of an unforeseen error may hold a path or a patient's name."""
OURS = "nic: "
"""Begins the reason of a request that is refused, by which a server tells it from MLflow's words, which repeat rows."""

_log = logging.getLogger("nic.serving")


class ReaderFault(RuntimeError):
    """A process that reads slides met an error that nobody foresaw. where: kind and place of it."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


def place_of(error: BaseException) -> str:
    """The kind of an error, and the modules and lines it came through, innermost first; nothing of its text."""
    if isinstance(error, ReaderFault):
        return error.where
    frames = reversed(traceback.extract_tb(error.__traceback__)[-3:])
    number = f" {error.errno}" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__}{number} at {' < '.join(f'{PurePath(f.filename).name}:{f.lineno}' for f in frames)}"


def log_fault(what: str, error: BaseException) -> None:
    """what: words without names of patients or files."""
    _log.error("%s: %s", what, place_of(error))
