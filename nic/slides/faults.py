"""Errors that nobody foresaw, by the place where they arose: their text may name a patient."""

import traceback
from pathlib import PurePath


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
