"""Compressing a cohort: on the cores of this machine. nic.compression.on_ray does it on those of a cluster."""

from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from nic.compression.codes_folder import CodesFolder, Quarantined
from nic.compression.compress import threads_for
from nic.compression.work import How, Outcome, take
from nic.encoder.spec import Encoder
from nic.errors import CodesError
from nic.slides.slide import SlideSource
from nic.threads import cores

AS_USUAL = How()


@dataclass
class CompressionReport:
    """What came of a cohort, by slide id. reused: finished before, or by another run on the same folder.

    readers: how many of those done were read in which way.
    """

    done: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    readers: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, outcomes: Collection[Outcome]) -> "CompressionReport":
        return cls(
            done=sorted(o.slide for o in outcomes if not o.refusal and not o.reused),
            reused=sorted(o.slide for o in outcomes if o.reused),
            quarantined=sorted((o.refusal for o in outcomes if o.refusal), key=lambda refusal: refusal.slide),
            readers=Counter(o.reader for o in outcomes if o.reader),
        )


def compress_cohort(
    sources: Sequence[SlideSource],
    encoder: Encoder,
    out: Path,
    how: How = AS_USUAL,
) -> CompressionReport:
    """Compress every slide into out/<slide_id>.h5; a finished file is kept.

    A slide goes to each core; where slides are fewer, several cores go to each.
    A bad slide goes into quarantine, out/quarantine.csv, and is tried again by the next run. Another run on the same
    folder shares the work: what it holds is waited for.
    Raises CodesError when two slides would be written to one file.
    """
    wanted, folder = one_by_id(sources), CodesFolder(out)
    how = replace(how, threads=threads_for(len(wanted)))
    outcomes: list[Outcome] = []
    bar = tqdm(total=len(wanted), desc="compress", unit="slide")

    def work(source: SlideSource, wait: bool) -> bool:
        """Whether the slide was ours to do."""
        outcome = take(folder, source, encoder, how, wait=wait)
        if outcome:
            outcomes.append(outcome)
            bar.update()
        return outcome is not None

    pool = ThreadPoolExecutor(cores())  # a slide to each core: one is read while another is encoded
    try:
        ours = list(pool.map(lambda source: work(source, wait=False), wanted))
        busy = [source for source, done in zip(wanted, ours, strict=True) if not done]
        list(pool.map(lambda source: work(source, wait=True), busy))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted run does not begin another slide
        bar.close()
    folder.write_table()
    return CompressionReport.of(outcomes)


def one_by_id(sources: Sequence[SlideSource]) -> list[SlideSource]:
    """Each slide once, also where two rows of a table name it. Raises CodesError for two slides of one name."""
    by_id: dict[str, SlideSource] = {}
    for source in sources:
        if by_id.setdefault(source.slide_id, source) != source:
            raise CodesError(
                f"{source.slide_id}.h5: wanted for two slides, or at two resolutions; rename one, or agree on its mpp"
            )
    return list(by_id.values())
