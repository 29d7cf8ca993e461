"""Slides and files of codes are opened in processes of their own: one that crashes its process costs its own row."""

import errno
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nic.compression.compress_slide import DEFAULT_TILING, compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import Encoder, EncoderSpec, at_once_of, batch_tiles_of
from nic.errors import ForeignCodes, NicError, OverLimit, UnreachedSlide, UnreadableSlide
from nic.serving.limits import TOO_LATE, Budget, Limits
from nic.serving.roots import Roots, resolve
from nic.serving.untrusted_codes import check_codes
from nic.slides.jobs import IN_PROCESS, NO_DEADLINE, Answer, CheckedTiles, Job, LastSlide, Reader
from nic.slides.messages import ReaderFault
from nic.slides.slide import Slide, SlideSource
from nic.slides.subprocess_reader import ReaderDied, ReaderHung, ReaderLate, ReadersBusy, SubprocessReader
from nic.threads import SharedThreads

MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of the system that are the fault of this machine, not of the slide."""


@dataclass(frozen=True)
class SlideHeader:
    """What is known of a slide before its pixels are read. content: equal for the same pixels at the same um/px.
    px: width times height at level 0."""

    content: str
    px: int


class RowReader:
    """Opens slides and files of codes, and encodes; threads may share it.

    encoder: None where the codes are of another tool. tiling: of slides. opener: opens slides and files
    of codes; it is apart from tile_reader, so that a slide whose codes are cached waits for no other. tile_reader:
    reads tiles. at_once: slides compressed at a time. untrusted: whether a file of codes is copied before it is loaded.
    In each method, deadline_s is of the monotonic clock, and roots are the folders that a path may lead to. Each raises
    SlideError; CodesError; RequestRefused: OutsideRoots, or OverLimit when it is late or large; ReaderFault. `spec` and
    `compress` raise ForeignCodes without an encoder.
    """

    def __init__(
        self,
        encoder: Encoder | None,
        tiling: Tiling = DEFAULT_TILING,
        opener: Reader = IN_PROCESS,
        tile_reader: Reader = IN_PROCESS,
        at_once: int = 1,
        *,
        untrusted: bool = False,
    ) -> None:
        self.encoder, self.tiling, self.untrusted = encoder, tiling, untrusted
        self.opener, self.tile_reader = opener, tile_reader
        self._at_once = threading.BoundedSemaphore(at_once)
        self._threads = SharedThreads(at_once_of(encoder) if encoder else 1)
        self._processes = [reader for reader in (opener, tile_reader) if isinstance(reader, SubprocessReader)]
        for processes in self._processes:
            weakref.finalize(self, processes.stop)

    @classmethod
    def within(cls, limits: Limits, encoder: Encoder | None, tiling: Tiling) -> "RowReader":
        """With as many processes as the limits say; with none, this process reads."""
        if not limits.readers:
            return cls(encoder, tiling, at_once=limits.at_once, untrusted=limits.untrusted)
        opener, tile_reader = (
            SubprocessReader(
                count,
                most_mb=limits.reader_mb if limits.untrusted else 0,
                tries=1 if limits.untrusted else 2,
                modules=["nic.serving.row_reader"],
                quiet=limits.untrusted,
                at_once=False,
            )
            for count in (limits.at_once + 1, limits.readers)
        )
        return cls(encoder, tiling, opener, tile_reader, limits.at_once, untrusted=limits.untrusted)

    def stop(self) -> None:
        """End the processes, without waiting for them; garbage collection of this does it too."""
        for processes in self._processes:
            processes.stop()

    @property
    def spec(self) -> EncoderSpec:
        return self._encoder.spec

    @property
    def _encoder(self) -> Encoder:
        if self.encoder is None:
            raise ForeignCodes("this model has no encoder for pixels; give a file of codes of its tool as features")
        return self.encoder

    def header(self, source: SlideSource, roots: Roots, deadline_s: float) -> SlideHeader:
        with _row_errors(source):
            return SlideHeader(**self.opener.ask(ReadHeader(source, roots), deadline_s))

    def compress(self, source: SlideSource, roots: Roots, budget: Budget, into: Path) -> None:
        """Write the codes to the file `into`."""
        encoder = self._encoder
        most = batch_tiles_of(encoder)  # of a larger batch, a part would wait in memory

        def watch(tiles: int) -> None:
            if tiles > budget.tiles:
                raise OverLimit(
                    f"more than {budget.tiles} tiles of tissue; compress the slide, and give the file of its codes"
                )
            budget.check_time()

        if not self._at_once.acquire(timeout=min(budget.left_s, threading.TIMEOUT_MAX)):
            raise OverLimit("the server is busy with other slides; ask again")
        try:
            with _row_errors(source):
                slide = compress_slide(
                    source,
                    encoder,
                    self.tiling,
                    batch_tiles=min(budget.batch_tiles or most, most),
                    fill=False,
                    reading=ConfinedReader(self.tile_reader, roots, budget.deadline_s),
                    threads=self._threads,
                    watch=watch,
                )
            slide.save(into)
        finally:
            self._at_once.release()

    def features(self, source: SlideSource, roots: Roots, budget: Budget, into: Path) -> Path:
        """A checked file of codes: a copy at `into` where rows are untrusted, else the row's own file."""
        job = CheckCodes(source, roots, budget, into if self.untrusted else None)
        with _row_errors(source):
            return Path(self.opener.ask(job, budget.deadline_s)["file"])


@dataclass(frozen=True)
class ConfinedReader:
    """A Reader that does jobs within roots and before a deadline."""

    reader: Reader
    roots: Roots
    until_s: float

    def ask(self, job: Job, deadline_s: float = NO_DEADLINE) -> Answer:
        return self.reader.ask(ConfinedJob(job, job.source, self.roots), min(deadline_s, self.until_s))

    def stream(self, jobs: Sequence[Job], deadline_s: float = NO_DEADLINE) -> Generator[CheckedTiles, None, None]:
        confined = [ConfinedJob(job, job.source, self.roots) for job in jobs]
        return self.reader.stream(confined, min(deadline_s, self.until_s))


@dataclass(frozen=True)
class ConfinedJob:
    """A job on a slide whose path must lead under roots; the process that does the job resolves the path."""

    job: Job
    source: SlideSource
    roots: Roots

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        with confined(self.source, self.roots) as source:
            return (yield from replace(self.job, source=source).run(last))  # type: ignore[type-var]


@dataclass(frozen=True)
class ReadHeader:
    """Open a slide. Returns the fields of a SlideHeader."""

    source: SlideSource
    roots: Roots

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        with confined(self.source, self.roots) as source, Slide.open(source) as slide:
            width, height = slide.size_l0px
            return asdict(SlideHeader(f"{slide.fingerprint} {slide.mpp}", width * height))


@dataclass(frozen=True)
class CheckCodes:
    """Check a file of codes, and copy what nic reads of it to `into`, if given. Returns the `file` to load."""

    source: SlideSource
    roots: Roots
    budget: Budget
    into: Path | None

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        with confined(self.source, self.roots) as source:
            check_codes(source.path, self.budget)
            if self.into:
                CompressedSlide.load(source.path).save(self.into)
            return {"file": str(self.into or source.path)}


@contextmanager
def confined(source: SlideSource, roots: Roots) -> Iterator[SlideSource]:
    """The slide by its resolved path. Messages name it as the row does, not by the file that a symlink leads to."""
    path = resolve(source.path, roots)
    try:
        yield replace(source, path=path)
    except NicError as error:
        raise type(error)(str(error).replace(path.name, source.slide_id)) from error.__cause__


@contextmanager
def _row_errors(source: SlideSource) -> Iterator[None]:
    """The end of a process, or an error of the system, becomes the error that refuses the row."""
    try:
        yield
    except ReaderDied as death:
        raise UnreadableSlide(f"it crashed the process that read it ({death.how}); the file is damaged") from death
    except ReaderHung as silence:
        raise UnreachedSlide("reading it hung, and was ended; ask again") from silence
    except ReaderLate as late:
        raise OverLimit(TOO_LATE) from late
    except ReadersBusy as busy:
        raise OverLimit("the server is busy with other slides, or still starting; ask again") from busy
    except MemoryError as error:
        raise OverLimit("it needs more memory than the server allows") from error
    except NicError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in MACHINE_ERRORS:
            raise ReaderFault(f"OSError {error.__cause__.errno} in a process that reads slides") from error
        raise
    except OSError as error:
        if error.errno is None or error.errno in MACHINE_ERRORS:
            raise ReaderFault(f"OSError {error.errno} in a process that reads slides") from error
        kind = errno.errorcode.get(error.errno, error.errno)
        raise UnreachedSlide(f"{source.slide_id}: it cannot be read now ({kind}); ask again") from error
