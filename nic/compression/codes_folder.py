"""The folder of a cohort's compressed slides: who works on what, what is finished, and what is in quarantine.

Several runs, on several machines, may fill one folder. A slide is claimed before it is read, so that no two runs
write one file; the claim of a run that died is taken over.
"""

import errno
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import SoftFileLease, Timeout

from nic.compression.compressed_slide import CompressedSlide, FileHead
from nic.compression.left_out import Quarantined, Records, Unreached, file_name, record_of
from nic.compression.tile_jobs import Identify
from nic.compression.tiling import Encoding, Tiling
from nic.errors import CodesError, NicError, UnreachedCodes, UnwritableFolder
from nic.shared_files import drafted, sweep_drafts
from nic.slides.jobs import IN_PROCESS, Reader
from nic.slides.slide import SlideSource
from nic.system_errors import reason

LEASE_S = 60.0
"""A run on another machine that has not renewed its claim for so long counts as dead."""
NAMED_S = 5.0
"""A run writes its name into its claim at once. A claim that is still empty after so long is of a run that died."""
RECENT = 50
"""Files of which the present speed is taken."""


@dataclass(frozen=True)
class Running:
    """A slide that a run holds. age_s: seconds since it last renewed its claim."""

    slide: str
    host: str
    pid: int
    age_s: float


@dataclass(frozen=True)
class Status:
    """How far a folder is with its slides. tiles_per_s, slides_per_s: of late; 0 while nothing is running.

    A finished slide may be in quarantine or unreached too: it was compressed before, and its file is kept.
    """

    finished: tuple[str, ...]
    running: tuple[Running, ...]
    quarantined: tuple[Quarantined, ...]
    unreached: tuple[Unreached, ...]
    left: tuple[str, ...]
    tiles: int
    tiles_per_s: float
    slides_per_s: float

    @property
    def time_to_go_s(self) -> float | None:
        """Seconds until all is finished at the present speed; None while nothing is running."""
        todo = len(self.left) + len(self.running)
        return todo / self.slides_per_s if self.slides_per_s else None


@dataclass(frozen=True)
class CodesFolder:
    """path: receives <slide>.h5, quarantine.csv of slides that were refused, unreached.csv of those out of reach.

    A file of codes is never removed; the finished file of the same slide takes its place.
    """

    path: Path

    def file(self, slide_id: str) -> Path:
        return self.path / f"{slide_id}.h5"

    @property
    def _claims(self) -> Path:
        return self.path / ".claims"

    @property
    def _refusals(self) -> Records[Quarantined]:
        return Records(Quarantined, self.path / ".quarantine", self.path / "quarantine.csv")

    @property
    def _unreached(self) -> Records[Unreached]:
        return Records(Unreached, self.path / ".unreached", self.path / "unreached.csv")

    @property
    def _versions(self) -> Path:
        return self.path / ".versions"

    @contextmanager
    def claim(self, slide_id: str, *, wait: bool) -> Iterator[bool]:
        """Hold a slide for this run; yields whether it does. wait: until another run lets go of it, or dies."""
        marker = self._claims / file_name(slide_id)
        with self.writing():
            self._claims.mkdir(parents=True, exist_ok=True)
            lease = SoftFileLease(marker, lease_duration=LEASE_S)
            ours = _acquired(lease, marker, wait=wait)
        try:
            yield ours
        finally:
            if ours:
                with self.writing():
                    lease.release()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raises UnwritableFolder in place of the system's errors."""
        try:
            yield
        except NicError:
            raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "make room there" if full else "see that this machine may write there"
            raise UnwritableFolder(
                f"{self.path}: cannot be written: {reason(error)}; what is in it stays; {remedy}, or give another "
                "folder, and run again"
            ) from error

    def sweep(self) -> None:
        """Remove what runs that died left half-written. Raises UnwritableFolder."""
        with self.writing():
            for folder in (self.path, self._refusals.folder, self._unreached.folder, self._versions):
                sweep_drafts(folder)

    def holds(self, source: SlideSource, tiling: Tiling, encoding: Encoding, reading: Reader = IN_PROCESS) -> bool:
        """Whether the finished file of this slide is there, so tiled and encoded. reading: where the slide is opened.

        Raises SlideError, UnreachedCodes, and what `reading` raises.
        """
        head = self._head(source.slide_id)
        if head is None:
            return False
        slide = reading.ask(Identify(source))
        return head == FileHead(slide["fingerprint"], slide["mpp"], tiling, encoding)

    def holds_version(self, source: SlideSource, version: str, tiling: Tiling, encoding: Encoding) -> bool:
        """As `holds`, of a slide that lies elsewhere and was brought here in this version: it need not come again."""
        head, note = self._head(source.slide_id), self._version_file(source)
        if head is None or (head.tiling, head.encoding) != (tiling, encoding) or not note.is_file():
            return False
        recorded: object = json.loads(note.read_text())
        return recorded == _note(source, version, head.fingerprint)

    def _head(self, slide_id: str) -> FileHead | None:
        """None where there is no file, or a damaged one. Raises UnreachedCodes, and OSError for a name that no file can
        have."""
        if not self.file(slide_id).is_file():
            return None
        try:
            return CompressedSlide.head(self.file(slide_id))
        except UnreachedCodes:
            raise
        except CodesError:
            return None

    def note_version(self, source: SlideSource, version: str) -> None:
        """Remember which version of a slide that lies elsewhere its file was made of."""
        fingerprint = CompressedSlide.head(self.file(source.slide_id)).fingerprint
        with self.writing(), drafted(self._version_file(source)) as draft:
            draft.write_text(json.dumps(_note(source, version, fingerprint)))

    def save(self, slide: CompressedSlide) -> None:
        """Write a claimed slide's file in place of an older one. Raises CodesError, UnwritableFolder."""
        with self.writing():
            slide.save(self.file(slide.slide_id))

    def leave_out(self, slide_id: str, error: Exception) -> Quarantined | Unreached:
        """Record why a claimed slide has no new codes, see `record_of`. Raises UnwritableFolder."""
        record = record_of(slide_id, error)
        self.quarantine(record) if isinstance(record, Quarantined) else self._note_unreached(record)
        return record

    def quarantine(self, refusal: Quarantined) -> None:
        """Record a claimed slide that was refused. An older file of it stays. Raises UnwritableFolder."""
        with self.writing():
            self._unreached.remove(refusal.slide)
            self._refusals.add(refusal)

    def _note_unreached(self, record: Unreached) -> None:
        with self.writing():
            self._refusals.remove(record.slide)
            self._unreached.add(record)

    def release(self, slide_id: str) -> None:
        """The slide is compressed now: it is neither in quarantine nor unreached any more."""
        with self.writing():
            self._refusals.remove(slide_id)
            self._unreached.remove(slide_id)

    def quarantined(self) -> tuple[Quarantined, ...]:
        """By slide id."""
        return self._refusals.all()

    def unreached(self) -> tuple[Unreached, ...]:
        """By slide id."""
        return self._unreached.all()

    def write_tables(self) -> None:
        """quarantine.csv and unreached.csv, each only where there is something in it. Raises UnwritableFolder."""
        with self.writing():
            self._refusals.write_table()
            self._unreached.write_table()

    def status(self, slides: Sequence[str]) -> Status:
        """How far the folder is with these slides."""
        files = {f.stem: f for f in self.path.glob("[!.]*.h5")}
        finished = tuple(s for s in slides if s in files)
        running = tuple(self._running(slides))
        quarantined = tuple(q for q in self.quarantined() if q.slide in slides)
        unreached = tuple(u for u in self.unreached() if u.slide in slides)
        known = {*finished, *(r.slide for r in running), *(q.slide for q in quarantined), *(u.slide for u in unreached)}
        tiles = {s: CompressedSlide.count(files[s]) for s in finished}
        written = sorted((files[s].stat().st_mtime, tiles[s]) for s in finished)[-RECENT:]
        span_s = time.time() - written[0][0] if running and len(written) > 1 else np.inf
        return Status(
            finished=finished,
            running=running,
            quarantined=quarantined,
            unreached=unreached,
            left=tuple(s for s in slides if s not in known),
            tiles=sum(tiles.values()),
            tiles_per_s=sum(count for _, count in written[1:]) / span_s,
            slides_per_s=len(written[1:]) / span_s,
        )

    def _version_file(self, source: SlideSource) -> Path:
        return self._versions / f"{file_name(source.slide_id)}.json"

    def _running(self, slides: Sequence[str]) -> Iterator[Running]:
        ids = {file_name(slide): slide for slide in slides}
        for marker in sorted(self._claims.glob("[!.]*")):
            try:
                content, renewed = marker.read_text(), marker.stat().st_mtime
            except FileNotFoundError:  # let go of in this moment
                continue
            holder = dict(line.split("=", 1) for line in content.splitlines() if "=" in line)
            if "pid" in holder and marker.name in ids:
                yield Running(ids[marker.name], holder.get("host", ""), int(holder["pid"]), time.time() - renewed)


def _acquired(lease: SoftFileLease, marker: Path, *, wait: bool) -> bool:
    while True:
        nameless = _nameless(marker)
        try:
            lease.acquire(timeout=NAMED_S if wait else 0)
            return True
        except Timeout:
            if not wait:
                return False
            if nameless and nameless == _nameless(marker):  # filelock waits for ever for such a holder
                marker.unlink(missing_ok=True)


def _nameless(marker: Path) -> tuple[int, int] | None:
    """Inode and time of a claim without its holder's name; None where it has one, or there is no claim."""
    try:
        with marker.open("rb") as file:
            stat = os.fstat(file.fileno())
            return None if file.read(1) else (stat.st_ino, stat.st_ctime_ns)
    except FileNotFoundError:
        return None


def _note(source: SlideSource, version: str, fingerprint: str) -> dict[str, str | float | None]:
    return {"uri": source.uri, "version": version, "mpp": source.mpp, "fingerprint": fingerprint}
