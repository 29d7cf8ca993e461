"""What an engine does with each slide of a cohort: claim it, and compress, keep, refuse or miss it."""

import time
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nic.compression.codes_folder import CodesFolder
from nic.compression.compress_slide import DEFAULT_TILING, MOST_FAILED, compress_slide
from nic.compression.left_out import Quarantined, Unreached
from nic.compression.tiling import Encoding, Tiling
from nic.compression.tissue_rule import MaskFolder
from nic.encoder.spec import Encoder, runtime_of
from nic.errors import CodesError, CrashingSlide, SlideError, UnreachedSlide, UnwritableFolder
from nic.slides.jobs import IN_PROCESS, Answer, CheckedTiles, LastSlide, Reader
from nic.slides.opening import check_reach
from nic.slides.search import file_of
from nic.slides.slide import SlideSource
from nic.slides.staging import Staging, version_of
from nic.slides.subprocess_reader import SILENT_S, ReaderDied, ReaderHung, ReaderLate, ReadersBusy
from nic.threads import SharedThreads

STAGING = Staging(Path("work/staged"), 200 << 30)
ANSWERS_S = 60.0
"""Seconds that a share has to answer. A reading process may have to start first, on a busy machine."""


@dataclass(frozen=True)
class CompressionOptions:
    """How a cohort is compressed. Raises MaskError when the tiling wants masks, and there are none.

    masks: where the tiling wants them. d4_variants: 8 encodes each tile in its eight D4 variants too. accept: ids of
    slides whose undecodable tiles do not matter. staging: where slides that lie elsewhere are brought. batch_tiles:
    encoded at a time; 0: as many as suit the encoder. silent_s: without a word, after which a process that reads is
    taken to hang.
    """

    tiling: Tiling = DEFAULT_TILING
    masks: MaskFolder | None = None
    d4_variants: int = 1
    accept: Collection[str] = ()
    staging: Staging = STAGING
    batch_tiles: int = 0
    silent_s: float = SILENT_S

    def __post_init__(self) -> None:
        self.tiling.check_masks(self.masks)


@dataclass(frozen=True)
class Workers:
    """Where slides are read, and the threads that encode them; None: one for each slide."""

    reading: Reader = IN_PROCESS
    threads: SharedThreads | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a slide. reader: how pixels were read. reused: its file was there.

    left_out: why it has no new codes, refused or unreached; a file that was there before stays.
    """

    slide: str
    reader: str = ""
    reused: bool = False
    left_out: Quarantined | Unreached | None = None


IN_THIS_PROCESS = Workers()


def take(
    folder: CodesFolder,
    source: SlideSource,
    encoder: Encoder,
    options: CompressionOptions,
    workers: Workers = IN_THIS_PROCESS,
    *,
    wait: bool,
) -> Outcome | None:
    """Claim a slide and compress it unless its file is there; None when another run holds it.

    wait: until that run lets go of it. A bad slide goes into quarantine; one that cannot be reached is noted as such.
    Raises UnwritableFolder, EncoderError.
    """
    with folder.claim(source.slide_id, wait=wait) as ours:
        return _compressed_or_left_out(folder, source, encoder, options, workers) if ours else None


def _compressed_or_left_out(
    folder: CodesFolder, source: SlideSource, encoder: Encoder, options: CompressionOptions, workers: Workers
) -> Outcome:
    try:
        outcome = _compressed_or_kept(folder, source, encoder, options, workers)
    except UnwritableFolder:
        raise
    except (SlideError, CodesError, OSError, MemoryError) as error:
        return Outcome(source.slide_id, left_out=folder.leave_out(source.slide_id, error_or_away(source, error)))
    folder.release(source.slide_id)
    return outcome


def _compressed_or_kept(
    folder: CodesFolder, source: SlideSource, encoder: Encoder, options: CompressionOptions, workers: Workers
) -> Outcome:
    """An older file stays until the new one is whole, and only one of another slide, tiling or encoding is replaced."""
    tiling = options.tiling.of_slide(source.slide_id, encoder.spec, options.masks)
    encoding = Encoding(encoder.spec.sha256, runtime_of(encoder), options.d4_variants)
    version = version_of(source)
    if version and folder.holds_version(source, version, tiling, encoding):
        return Outcome(source.slide_id, reused=True)
    with options.staging.local(source) as local, _reader_errors(local, workers.reading):
        reused = folder.holds(local, tiling, encoding, workers.reading)
        reader = "" if reused else _compress(folder, local, encoder, options, workers)
    if version:
        folder.note_version(source, version)
    return Outcome(source.slide_id, reader, reused)


def _compress(
    folder: CodesFolder, source: SlideSource, encoder: Encoder, options: CompressionOptions, workers: Workers
) -> str:
    """How the pixels were read."""
    compressed = compress_slide(
        source,
        encoder,
        options.tiling,
        masks=options.masks,
        d4_variants=options.d4_variants,
        most_failed=1.0 if source.slide_id in options.accept else MOST_FAILED,
        batch_tiles=options.batch_tiles,
        reading=workers.reading,
        threads=workers.threads,
    )
    folder.save(compressed)
    return compressed.reader


@contextmanager
def _reader_errors(source: SlideSource, reading: Reader) -> Iterator[None]:
    """Raises CrashingSlide or UnreachedSlide in place of the errors of the processes that read."""
    try:
        yield
    except ReaderDied as death:
        raise CrashingSlide(f"{source.slide_id}: reading it ended two processes ({death.how})") from death
    except ReaderHung as silence:
        if folder_answers(source, reading):
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


def folder_answers(source: SlideSource, reading: Reader) -> bool:
    """Whether a slide's file can be read by now, asked of a process, for a share that hangs would hold up this one."""
    try:
        reading.ask(Reach(source), time.monotonic() + ANSWERS_S)
    except (UnreachedSlide, ReaderDied, ReaderHung, ReaderLate, ReadersBusy):
        return False
    return True


def error_or_away(source: SlideSource, error: Exception) -> Exception:
    """The error of a slide, or UnreachedSlide when its file is away by now: a whole slide looks damaged then."""
    if source.uri or not isinstance(error, OSError):
        return error
    try:
        check_reach(file_of(source))
    except UnreachedSlide as away:
        return away
    return error
