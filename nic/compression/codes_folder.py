"""The folder of a cohort's compressed slides: who works on what, what is done, and what is in quarantine.

Several runs, on several machines, may fill one folder. A slide is claimed before it is read, so that no two runs
write one file; the claim of a run that died is taken over.
"""

import csv
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path

import numpy as np
from filelock import SoftFileLease, Timeout

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.setting import Setting
from nic.encoder.spec import EncoderSpec
from nic.errors import CodesError, SlideError
from nic.slides.slide import Slide, SlideSource

LEASE_S = 60.0
"""A run on another machine that has not renewed its claim for so long is taken for dead."""
NAMED_S = 5.0
"""A run writes its name into its claim at once; it died in between when the claim is still empty after so long."""
RECENT = 50
"""Files of which the present speed is taken."""


@dataclass(frozen=True)
class Quarantined:
    """A slide that was not compressed. reason: the error's class; evidence: its message; release: what helps."""

    slide: str
    reason: str
    evidence: str
    release: str

    @classmethod
    def because(cls, slide: str, error: SlideError | CodesError) -> "Quarantined":
        return cls(slide, type(error).__name__, str(error), error.release)


@dataclass(frozen=True)
class Running:
    """A slide that a run holds. age_s: seconds since it last said that it lives."""

    slide: str
    host: str
    pid: int
    age_s: float


@dataclass(frozen=True)
class Status:
    """How far a folder is with its slides. tiles_per_s, slides_per_s: of late; 0 while nothing is running."""

    done: tuple[str, ...]
    running: tuple[Running, ...]
    quarantined: tuple[Quarantined, ...]
    left: tuple[str, ...]
    tiles: int
    tiles_per_s: float
    slides_per_s: float

    @property
    def time_to_go_s(self) -> float | None:
        """Seconds until all is done at the present speed; None while nothing is running."""
        todo = len(self.left) + len(self.running)
        return todo / self.slides_per_s if self.slides_per_s else None


@dataclass(frozen=True)
class CodesFolder:
    """path: receives <slide>.h5, and quarantine.csv where slides were refused."""

    path: Path

    def file(self, slide_id: str) -> Path:
        return self.path / f"{slide_id}.h5"

    @property
    def _claims(self) -> Path:
        return self.path / ".claims"

    @property
    def _refusals(self) -> Path:
        return self.path / ".quarantine"

    @property
    def _versions(self) -> Path:
        return self.path / ".versions"

    @contextmanager
    def claim(self, slide_id: str, *, wait: bool) -> Iterator[bool]:
        """Hold a slide for this run; yields whether it does. wait: until another run lets go of it, or dies."""
        self._claims.mkdir(parents=True, exist_ok=True)
        lease = SoftFileLease(self._claims / slide_id, lease_duration=LEASE_S)
        if not _acquired(lease, self._claims / slide_id, wait=wait):
            yield False
            return
        try:
            yield True
        finally:
            lease.release()

    def holds(self, source: SlideSource, encoder: EncoderSpec, setting: Setting) -> bool:
        """Whether the finished file of this slide, encoder and setting is there. Raises SlideError."""
        if not self.file(source.slide_id).is_file():
            return False
        with Slide.open(source) as slide:
            wanted = setting.made_of(encoder.sha256, slide.fingerprint, slide.mpp, slide.slide_id)
        return CompressedSlide.made_of(self.file(source.slide_id)) == wanted

    def holds_version(self, source: SlideSource, version: str, encoder: EncoderSpec, setting: Setting) -> bool:
        """As `holds`, of a slide that lies elsewhere and was brought here in this version: it need not come again."""
        made, note = CompressedSlide.made_of(self.file(source.slide_id)), self._versions / f"{source.slide_id}.json"
        if made is None or not note.is_file():
            return False
        wanted = setting.made_of(encoder.sha256, made.fingerprint, made.slide_mpp, source.slide_id)
        return made == wanted and json.loads(note.read_text()) == _note(source, version, made.fingerprint)

    def note_version(self, source: SlideSource, version: str) -> None:
        """Remember which version of a slide that lies elsewhere its file was made of."""
        self._versions.mkdir(parents=True, exist_ok=True)
        fingerprint, _ = CompressedSlide.identity(self.file(source.slide_id))
        draft = self._versions / f".{source.slide_id}.{os.getpid()}"
        draft.write_text(json.dumps(_note(source, version, fingerprint)))
        draft.replace(self._versions / f"{source.slide_id}.json")

    def clear(self, slide_id: str) -> None:
        """Remove what another encoder or slide, or a run that died in the middle, left of a claimed slide."""
        self.file(slide_id).unlink(missing_ok=True)
        for draft in self.path.glob(f".{escape(slide_id)}.h5.*"):
            draft.unlink()

    def quarantine(self, refusal: Quarantined) -> None:
        """Record a claimed slide that was refused."""
        self.clear(refusal.slide)
        self._refusals.mkdir(parents=True, exist_ok=True)
        draft = self._refusals / f".{refusal.slide}.{os.getpid()}"
        draft.write_text(json.dumps(asdict(refusal)))
        draft.replace(self._refusals / f"{refusal.slide}.json")

    def release(self, slide_id: str) -> None:
        """The slide is compressed now: it is in quarantine no more."""
        (self._refusals / f"{slide_id}.json").unlink(missing_ok=True)

    def quarantined(self) -> tuple[Quarantined, ...]:
        """By slide id."""
        return tuple(Quarantined(**json.loads(f.read_text())) for f in sorted(self._refusals.glob("*.json")))

    def write_table(self) -> None:
        """quarantine.csv: slide, reason, evidence, and how to release it; no file when nothing is in quarantine."""
        table, rows = self.path / "quarantine.csv", [asdict(refusal) for refusal in self.quarantined()]
        if not rows:
            table.unlink(missing_ok=True)
            return
        draft = table.with_name(f".{table.name}.{os.getpid()}")
        with draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        draft.replace(table)

    def status(self, slides: Sequence[str]) -> Status:
        """How far the folder is with these slides."""
        files = {f.stem: f for f in self.path.glob("*.h5")}
        done = tuple(s for s in slides if s in files)
        running = tuple(r for r in self._running() if r.slide in slides)
        quarantined = tuple(q for q in self.quarantined() if q.slide in slides)
        known = {*done, *(r.slide for r in running), *(q.slide for q in quarantined)}
        tiles = {s: CompressedSlide.count(files[s]) for s in done}
        written = sorted((files[s].stat().st_mtime, tiles[s]) for s in done)[-RECENT:]
        span_s = time.time() - written[0][0] if running and len(written) > 1 else np.inf
        return Status(
            done=done,
            running=running,
            quarantined=quarantined,
            left=tuple(s for s in slides if s not in known),
            tiles=sum(tiles.values()),
            tiles_per_s=sum(count for _, count in written[1:]) / span_s,
            slides_per_s=len(written[1:]) / span_s,
        )

    def _running(self) -> Iterator[Running]:
        for marker in sorted(self._claims.glob("[!.]*")):
            try:
                content, renewed = marker.read_text(), marker.stat().st_mtime
            except FileNotFoundError:  # let go of in this moment
                continue
            holder = dict(line.split("=", 1) for line in content.splitlines() if "=" in line)
            if "pid" in holder:
                yield Running(marker.name, holder.get("host", ""), int(holder["pid"]), time.time() - renewed)


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
            found = os.fstat(file.fileno())
            return None if file.read(1) else (found.st_ino, found.st_ctime_ns)
    except FileNotFoundError:
        return None


def _note(source: SlideSource, version: str, fingerprint: str) -> dict[str, str | float | None]:
    return {"uri": source.uri, "version": version, "mpp": source.mpp, "fingerprint": fingerprint}
