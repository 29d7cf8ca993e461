"""A row's slide to its codes: slides and files of codes are opened by processes that they may crash."""

import errno
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nic.compression.compress import DEFAULT_TILING, compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import Encoder, EncoderSpec, at_once_of, batch_tiles_of
from nic.errors import ForeignCodes, NicError, OverLimit, UnreachedSlide, UnreadableSlide
from nic.serving.codes_file import check_codes
from nic.serving.confined import Roots, opened
from nic.serving.effort import Effort
from nic.serving.limits import Limits
from nic.slides.faults import ReaderFault
from nic.slides.jobs import IN_PROCESS, NO_DEADLINE, Answer, CheckedTiles, Job, LastSlide, Reading
from nic.slides.processes import Processes, ReaderDied, ReaderHung, ReaderLate, ReadersBusy
from nic.slides.slide import Slide, SlideSource
from nic.threads import SharedThreads

OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of the system that are this machine's and not the slide's."""
TOO_LATE = "not done in time; compress it, and give the file of its codes"


@dataclass(frozen=True)
class Look:
    """What is known of a slide before it is read. made_of: equal for the same pixels at the same um/px. px: in all."""

    made_of: str
    px: int


class RowReading:
    """Opens slides and files of codes, and encodes; threads may share it. deadline_s: of the monotonic clock. roots:
    folders that a path may lead to.

    encoder: None where the codes are of another tool. tiling: of slides. looking: opens slides and reads
    files of codes, so that a slide whose codes are at hand waits for no other. compressing: reads tiles. at_once:
    slides compressed at a time. strangers: whether a file of codes is copied before it is loaded.
    Each method raises SlideError, CodesError, RequestRefused (OutsideRoots; OverLimit when it is late or large);
    ReaderFault; `spec` and `compress` raise ForeignCodes where the encoder is of another tool.
    """

    def __init__(
        self,
        encoder: Encoder | None,
        tiling: Tiling = DEFAULT_TILING,
        looking: Reading = IN_PROCESS,
        compressing: Reading = IN_PROCESS,
        at_once: int = 1,
        *,
        strangers: bool = False,
    ) -> None:
        self.encoder, self.tiling, self.strangers = encoder, tiling, strangers
        self.looking, self.compressing = looking, compressing
        self._room = threading.BoundedSemaphore(at_once)
        self._encoding = SharedThreads(at_once_of(encoder) if encoder else 1)
        self._processes = [reading for reading in (looking, compressing) if isinstance(reading, Processes)]
        for processes in self._processes:
            weakref.finalize(self, processes.stop)

    @classmethod
    def within(cls, limits: Limits, encoder: Encoder | None, tiling: Tiling) -> "RowReading":
        """By as many processes as the limits say; by none, in this one."""
        if not limits.readers:
            return cls(encoder, tiling, at_once=limits.at_once, strangers=limits.apart)
        looking, compressing = (
            Processes(
                count,
                most_mb=limits.reader_mb if limits.apart else 0,
                tries=1 if limits.apart else 2,
                modules=["nic.serving.reading"],
                quiet=limits.apart,
                at_once=False,
            )
            for count in (limits.at_once + 1, limits.readers)
        )
        return cls(encoder, tiling, looking, compressing, limits.at_once, strangers=limits.apart)

    def stop(self) -> None:
        """End the processes, without waiting for it; it happens by itself once nobody holds this."""
        for processes in self._processes:
            processes.stop()

    @property
    def spec(self) -> EncoderSpec:
        return self._encoder.spec

    @property
    def _encoder(self) -> Encoder:
        if self.encoder is None:
            raise ForeignCodes("pixels, and the encoder is of another tool; give a file of its codes as features")
        return self.encoder

    def look(self, source: SlideSource, roots: Roots, deadline_s: float) -> Look:
        with _as_rows_know_it(source):
            return Look(**self.looking.ask(LookAt(source, roots), deadline_s))

    def compress(self, source: SlideSource, roots: Roots, effort: Effort, into: Path) -> None:
        """Leaves the codes in the file `into`."""
        encoder = self._encoder
        most = batch_tiles_of(encoder)  # more would wait in memory to be encoded in parts

        def watch(tiles: int) -> None:
            if tiles > effort.tiles:
                raise OverLimit(
                    f"more than {effort.tiles} tiles of tissue; compress it, and give the file of its codes"
                )
            effort.check_time()

        if not self._room.acquire(timeout=min(effort.left_s, threading.TIMEOUT_MAX)):
            raise OverLimit("the server is busy with other slides; ask again")
        try:
            with _as_rows_know_it(source):
                slide = compress_slide(
                    source,
                    encoder,
                    self.tiling,
                    batch_tiles=min(effort.batch_tiles or most, most),
                    fill=False,
                    reading=ConfinedReading(self.compressing, roots, effort.deadline_s),
                    threads=self._encoding,
                    watch=watch,
                )
            slide.save(into)
        finally:
            self._room.release()

    def features(self, source: SlideSource, roots: Roots, effort: Effort, into: Path) -> Path:
        """A file of codes that may be loaded: `into`, or the row's own where nobody is a stranger."""
        job = CheckCodes(source, roots, effort, into if self.strangers else None)
        with _as_rows_know_it(source):
            return Path(self.looking.ask(job, effort.deadline_s)["file"])


@dataclass(frozen=True)
class ConfinedReading:
    """Does jobs within roots and before a deadline, by the clock of this machine."""

    reading: Reading
    roots: Roots
    until_s: float

    def ask(self, job: Job, deadline_s: float = NO_DEADLINE) -> Answer:
        return self.reading.ask(Confined(job, job.source, self.roots), min(deadline_s, self.until_s))

    def stream(self, jobs: Sequence[Job], deadline_s: float = NO_DEADLINE) -> Generator[CheckedTiles, None, None]:
        confined = [Confined(job, job.source, self.roots) for job in jobs]
        return self.reading.stream(confined, min(deadline_s, self.until_s))


@dataclass(frozen=True)
class Confined:
    """A job on a slide whose path must lead under roots, wherever that path is looked up."""

    job: Job
    source: SlideSource
    roots: Roots

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        with confined(self.source, self.roots) as there:
            return (yield from replace(self.job, source=there).run(last))  # type: ignore[type-var]


@dataclass(frozen=True)
class LookAt:
    """Open a slide. Returns the fields of a Look."""

    source: SlideSource
    roots: Roots

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        with confined(self.source, self.roots) as there, Slide.open(there) as slide:
            width, height = slide.size_l0px
            return asdict(Look(f"{slide.fingerprint} {slide.mpp}", width * height))


@dataclass(frozen=True)
class CheckCodes:
    """Check a file of codes, and copy what is right in it to `into`, if there is such. Returns the `file` to load."""

    source: SlideSource
    roots: Roots
    effort: Effort
    into: Path | None

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        with confined(self.source, self.roots) as there:
            check_codes(there.path, self.effort)
            if self.into:
                CompressedSlide.load(there.path).save(self.into)
            return {"file": str(self.into or there.path)}


@contextmanager
def confined(source: SlideSource, roots: Roots) -> Iterator[SlideSource]:
    """The slide by its resolved path; messages name it as the row does, not by the name that a symlink leads to."""
    path = opened(source.path, roots)
    try:
        yield replace(source, path=path)
    except NicError as error:
        raise type(error)(str(error).replace(path.name, source.slide_id)) from error.__cause__


@contextmanager
def _as_rows_know_it(source: SlideSource) -> Iterator[None]:
    """What a process came to, and errors of the system, in the words of a row."""
    try:
        yield
    except ReaderDied as death:
        raise UnreadableSlide(
            f"reading it ended the process that read it ({death.how}); the file is damaged"
        ) from death
    except ReaderHung as silence:
        raise UnreachedSlide("it could not be read in time, and reading it hung; ask again") from silence
    except ReaderLate as late:
        raise OverLimit(TOO_LATE) from late
    except ReadersBusy as busy:
        raise OverLimit("the server is busy with other slides, or still starting; ask again") from busy
    except MemoryError as error:
        raise OverLimit("it wants more memory than the server allows") from error
    except NicError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in OURS:
            raise ReaderFault(f"OSError {error.__cause__.errno} in a process that reads slides") from error
        raise
    except OSError as error:
        if error.errno is None or error.errno in OURS:
            raise ReaderFault(f"OSError {error.errno} in a process that reads slides") from error
        words = f"{source.slide_id}: it cannot be read now ({errno.errorcode.get(error.errno, error.errno)})"
        raise UnreachedSlide(words) from error
