"""One slide of a cohort: claimed, and compressed, kept, refused or not reached. What an engine does with each."""

import time
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nic.compression.codes_folder import CodesFolder
from nic.compression.compress import AS_USUAL, MOST_FAILED, compress_slide
from nic.compression.records import Quarantined, Unreached
from nic.compression.setting import Setting
from nic.encoder.spec import Encoder
from nic.errors import CodesError, CrashingSlide, SlideError, UnreachedSlide, UnwritableFolder
from nic.slides.jobs import IN_PROCESS, Answer, CheckedTiles, LastSlide, Reader
from nic.slides.opening import check_reach
from nic.slides.search import file_of
from nic.slides.slide import SlideSource
from nic.slides.staging import Staging, version_of
from nic.slides.subprocess_reader import SILENT_S, ReaderDied, ReaderHung, ReaderLate, ReadersBusy
from nic.threads import SharedThreads

STAGING = Staging(Path("work/staged"), 200 << 30)
ANSWERS_S = 20.0
"""For a share to show that it answers."""


@dataclass(frozen=True)
class How:
    """How a cohort is compressed.

    accept: ids of slides whose undecodable tiles do not matter. staging: where slides that lie elsewhere are brought.
    batch_tiles: encoded at a time; 0: as many as suit the encoder. silent_s: without a word, after which a process that
    reads is taken to hang.
    """

    setting: Setting = AS_USUAL
    accept: Collection[str] = ()
    staging: Staging = STAGING
    batch_tiles: int = 0
    silent_s: float = SILENT_S


@dataclass(frozen=True)
class Workers:
    """Where slides are read, and the threads that encode them; None: one for each slide."""

    reading: Reader = IN_PROCESS
    encoding: SharedThreads | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a slide. reader: how pixels were read. reused: its file was there.

    left_out: why it has no new codes, refused or unreached; a file that was there before stays.
    """

    slide: str
    reader: str = ""
    reused: bool = False
    left_out: Quarantined | Unreached | None = None


ALONE = Workers()


def take(
    folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How, workers: Workers = ALONE, *, wait: bool
) -> Outcome | None:
    """Claim a slide and compress it unless its file is there; None when another run holds it.

    wait: until that run lets go of it. A bad slide goes into quarantine; one that cannot be had is noted as unreached.
    Raises UnwritableFolder, and EncoderError of an encoder that cannot do it.
    """
    with folder.claim(source.slide_id, wait=wait) as ours:
        return _taken(folder, source, encoder, how, workers) if ours else None


def _taken(folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How, workers: Workers) -> Outcome:
    try:
        outcome = _compressed_or_kept(folder, source, encoder, how, workers)
    except UnwritableFolder:
        raise
    except (SlideError, CodesError, OSError, MemoryError) as error:
        return Outcome(source.slide_id, left_out=folder.leave_out(source.slide_id, or_away(source, error)))
    folder.release(source.slide_id)
    return outcome


def _compressed_or_kept(
    folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How, workers: Workers
) -> Outcome:
    """An older file stays until the new one is whole, and is replaced only when it is of another slide or setting."""
    version = version_of(source)
    if version and folder.holds_version(source, version, encoder.spec, how.setting):
        return Outcome(source.slide_id, reused=True)
    with how.staging.local(source) as local, _survived(local, workers.reading):
        reused = folder.holds(local, encoder.spec, how.setting, workers.reading)
        reader = "" if reused else _compress(folder, local, encoder, how, workers)
    if version:
        folder.note_version(source, version)
    return Outcome(source.slide_id, reader, reused)


def _compress(folder: CodesFolder, source: SlideSource, encoder: Encoder, how: How, workers: Workers) -> str:
    """How the pixels were read."""
    compressed = compress_slide(
        source,
        encoder,
        how.setting,
        most_failed=1.0 if source.slide_id in how.accept else MOST_FAILED,
        batch_tiles=how.batch_tiles,
        reading=workers.reading,
        encoding=workers.encoding,
    )
    folder.save(compressed)
    return compressed.reader


@contextmanager
def _survived(source: SlideSource, reading: Reader) -> Iterator[None]:
    """What ended or held up the processes that read becomes CrashingSlide or UnreachedSlide."""
    try:
        yield
    except ReaderDied as death:
        raise CrashingSlide(f"{source.slide_id}: reading it ended two processes ({death.how})") from death
    except ReaderHung as silence:
        if answers(source, reading):
            raise CrashingSlide(f"{source.slide_id}: {silence}, though its folder answers") from silence
        raise UnreachedSlide(f"{source.slide_id}: {silence}, and so does its folder") from silence


@dataclass(frozen=True)
class Reach:
    """Read both ends of a slide's file. Raises UnreachedSlide."""

    source: SlideSource

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        check_reach(file_of(self.source))
        return {}


def answers(source: SlideSource, reading: Reader) -> bool:
    """Whether a slide's file can be read by now, asked of a process, for a share that hangs would hold up this one."""
    try:
        reading.ask(Reach(source), time.monotonic() + ANSWERS_S)
    except (UnreachedSlide, ReaderDied, ReaderHung, ReaderLate, ReadersBusy):
        return False
    return True


def or_away(source: SlideSource, error: Exception) -> Exception:
    """The error of a slide; or that its file is away by now, which makes a whole slide look damaged."""
    if source.uri or not isinstance(error, OSError):
        return error
    try:
        check_reach(file_of(source))
    except UnreachedSlide as away:
        return away
    return error
