"""Compressing a cohort on the cores of this machine; nic.compression.on_ray does it on those of a cluster."""

from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from nic.compression.codes_folder import CodesFolder
from nic.compression.left_out import Quarantined, Streak, Unreached
from nic.compression.slide_of_cohort import IN_THIS_PROCESS, CompressionOptions, Outcome, Workers, take
from nic.encoder.spec import Encoder, at_once_of, devices_of
from nic.errors import CodesError
from nic.slides.slide import SlideSource
from nic.slides.subprocess_reader import SubprocessReader
from nic.threads import SharedThreads, cores

DEFAULTS = CompressionOptions()


@dataclass
class CompressionReport:
    """What became of a cohort, by slide id. reused: finished before, or by another run on the same folder.

    quarantined: refused. unreached: nothing is known of them. readers: how many were read in which way.
    shared: what each process and thread did, in words.
    """

    compressed: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    unreached: list[Unreached] = field(default_factory=list)
    readers: Counter[str] = field(default_factory=Counter)
    shared: str = ""

    @classmethod
    def of(cls, outcomes: Collection[Outcome], shared: str = "") -> "CompressionReport":
        left_out = sorted((o.left_out for o in outcomes if o.left_out), key=lambda record: record.slide)
        return cls(
            compressed=sorted(o.slide for o in outcomes if not (o.left_out or o.reused)),
            reused=sorted(o.slide for o in outcomes if o.reused),
            quarantined=[record for record in left_out if isinstance(record, Quarantined)],
            unreached=[record for record in left_out if isinstance(record, Unreached)],
            readers=Counter(o.reader for o in outcomes if o.reader),
            shared=shared,
        )


def tile_readers(options: CompressionOptions, count: int | None = None) -> SubprocessReader:
    """Processes that read tiles; they start at once. count: None for as many as there are cores."""
    return SubprocessReader(count, silent_s=options.silent_s, modules=["nic.compression.tile_jobs"])


def compress_cohort(
    sources: Sequence[SlideSource],
    encoder: Encoder,
    out: Path,
    options: CompressionOptions = DEFAULTS,
    *,
    readers: SubprocessReader | int | None = None,
) -> CompressionReport:
    """Compress every slide into out/<slide_id>.h5; a finished file is kept.

    readers: processes that read tiles, or how many; None for as many as there are cores. 0: this process reads, and
    dies of what crashes a decoder. Readers take one slide after the other, and share the last ones. Threads of this
    process encode, as many as gain by it.
    A bad slide goes into quarantine, out/quarantine.csv, one that cannot be reached into out/unreached.csv. The next
    run tries both again; an older file stays. Another run on the same folder shares the work: its slides are waited
    for. Raises CodesError when two slides would be written to one file, UnreachedSlides when many in a row cannot be
    reached, UnwritableFolder.
    """
    slides, folder = one_by_id(sources), CodesFolder(out)
    folder.sweep()
    with ExitStack() as held:
        workers = IN_THIS_PROCESS
        if readers != 0:
            reading = (
                readers if isinstance(readers, SubprocessReader) else held.enter_context(tile_readers(options, readers))
            )
            workers = Workers(reading, held.enter_context(SharedThreads(at_once_of(encoder))))
        outcomes = _all(slides, encoder, folder, options, workers)
        return CompressionReport.of(outcomes, _shared(workers, encoder))


def _all(
    slides: Sequence[SlideSource], encoder: Encoder, folder: CodesFolder, options: CompressionOptions, workers: Workers
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    streak = Streak()
    bar = tqdm(total=len(slides), desc="compress", unit="slide")

    def work(source: SlideSource, wait: bool) -> SlideSource | None:
        """The slide, when another run holds it."""
        outcome = take(folder, source, encoder, options, workers, wait=wait)
        if outcome is None:
            return source
        outcomes.append(outcome)
        bar.update()
        streak.note(outcome.left_out)
        return None

    # A slide for each process that reads, and one more, which is brought or written meanwhile.
    pool = ThreadPoolExecutor(workers.reading.count + 1 if isinstance(workers.reading, SubprocessReader) else cores())

    def all_of(left: Sequence[SlideSource], wait: bool) -> list[SlideSource]:
        """Those that another run holds."""
        begun = [pool.submit(work, source, wait) for source in left]
        return [source for future in as_completed(begun) if (source := future.result())]

    try:
        all_of(all_of(slides, wait=False), wait=True)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted run does not begin another slide
        bar.close()
        folder.write_tables()
    return outcomes


def _shared(workers: Workers, encoder: Encoder) -> str:
    """How the work was shared, in words."""
    if not (isinstance(workers.reading, SubprocessReader) and workers.threads):
        return ""
    reading, threads = workers.reading, workers.threads
    tiles = ", ".join(f"{counts.tiles:,}" for counts in reading.counts)
    ends = sum((counts.ends for counts in reading.counts), Counter[str]())
    devices = f" on {devices}" if (devices := devices_of(encoder)) else ""
    crashes = "".join(f"; {count} ended ({how})" for how, count in ends.items())
    return (
        f"read by {reading.count} {'process' if reading.count == 1 else 'processes'} ({tiles} tiles){crashes}; "
        f"encoded by {threads.count} {'thread' if threads.count == 1 else 'threads'}{devices}"
    )


def one_by_id(sources: Sequence[SlideSource]) -> list[SlideSource]:
    """Each slide once, also where two rows of a table name it. Raises CodesError for two slides of one name."""
    by_id: dict[str, SlideSource] = {}
    for source in sources:
        if by_id.setdefault(source.slide_id, source) != source:
            raise CodesError(
                f"{source.slide_id}.h5: wanted for two slides, or one at two resolutions; rename one, or give one mpp"
            )
    return list(by_id.values())
