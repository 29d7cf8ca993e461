"""Why slides have no new codes: refused, or not reached. A file a slide, and a table of each kind for people."""

import csv
import errno
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from nic.errors import CodesError, SlideError, UnreachedCodes, UnreachedSlide, UnreachedSlides
from nic.shared_files import drafted
from nic.system_errors import reason

MANY = 10
"""Slides in a row that cannot be reached: a share is away then, or a token expired, and so it goes on."""
LONGEST_NAME = 200
"""Bytes of a slide's id that a file is named by; of 255, for suffixes and those that libraries add."""


@dataclass(frozen=True)
class Record:
    """A slide that was not compressed. reason: the error's class; evidence: its message; release: what to do."""

    slide: str
    reason: str
    evidence: str
    release: str

    @property
    def remedy(self) -> str:
        """What to do; empty where the evidence says it itself, after a semicolon."""
        return "" if "; " in self.evidence else self.release


@dataclass(frozen=True)
class Quarantined(Record):
    """It was opened, and something is wrong with it."""


@dataclass(frozen=True)
class Unreached(Record):
    """It could not be reached: nothing is known of it."""


def record_of(slide_id: str, error: Exception) -> Quarantined | Unreached:
    """The record of an error: the slide is unreached where the system failed, else refused.

    error: SlideError, CodesError, OSError or MemoryError.
    """
    if not isinstance(error, SlideError | CodesError):
        error = _of_system(slide_id, error)
    kind = Unreached if isinstance(error, UnreachedSlide | UnreachedCodes) else Quarantined
    return kind(slide_id, type(error).__name__, str(error), error.remedy)


def _of_system(slide_id: str, error: Exception) -> SlideError | CodesError:
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return CodesError(f"{slide_id}: the name is too long for a file of codes; give the slide a shorter one")
    what = "no memory left" if isinstance(error, MemoryError) else reason(error)
    return UnreachedSlide(f"{slide_id}: cannot be read now: {what}")


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Records(Generic[R]):
    """Records of one kind. folder: receives one JSON a slide; table: the CSV of all of them."""

    kind: type[R]
    folder: Path
    table: Path

    def add(self, record: R) -> None:
        with drafted(self._file(record.slide)) as draft:
            draft.write_text(json.dumps(asdict(record)))

    def remove(self, slide_id: str) -> None:
        self._file(slide_id).unlink(missing_ok=True)

    def all(self) -> tuple[R, ...]:
        """By slide id."""
        records = (self.kind(**json.loads(file.read_text())) for file in self.folder.glob("[!.]*.json"))
        return tuple(sorted(records, key=lambda record: record.slide))

    def write_table(self) -> None:
        """slide, reason, evidence, and how to release it; no file when there is no record."""
        rows = [asdict(record) for record in self.all()]
        if not rows:
            self.table.unlink(missing_ok=True)
            return
        with drafted(self.table) as draft, draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def _file(self, slide_id: str) -> Path:
        return self.folder / f"{file_name(slide_id)}.json"


def file_name(slide_id: str) -> str:
    """What files about a slide are named by: its id, or a digest of one that is too long."""
    content = os.fsencode(slide_id)
    return slide_id if len(content) <= LONGEST_NAME else hashlib.sha256(content).hexdigest()


class Streak:
    """Ends a run when MANY slides in a row could not be reached; threads may share it."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._lock = Lock()

    def note(self, record: Record | None) -> None:
        """record: of the slide that was tried last, unless it has its codes. Raises UnreachedSlides."""
        with self._lock:
            self._in_a_row = self._in_a_row + 1 if isinstance(record, Unreached) else 0
            if record and self._in_a_row >= MANY:
                raise UnreachedSlides(
                    f"{self._in_a_row} slides in a row could not be reached, the last one: {record.evidence}; what "
                    "is compressed stays. See that this machine can read them, or take them out, and run again"
                )


def check_all_reached(unreached: Sequence[Unreached], slides: int, table: Path) -> None:
    """Raises UnreachedSlides when some of so many slides could not be reached, naming the table that lists them."""
    if unreached:
        raise UnreachedSlides(
            f"{len(unreached)} of {slides} slides could not be reached, the first one: {unreached[0].evidence}; what "
            f"is compressed stays. All are in {table}; see that this machine can read them, and run again"
        )
