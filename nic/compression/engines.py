"""Compressing a cohort: on the cores of this machine."""

import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from nic.compression.codes_folder import CodesFolder, Quarantined
from nic.compression.compress import MOST_FAILED, compress_slide
from nic.encoder.spec import Encoder
from nic.errors import CodesError, SlideError
from nic.slides.quality import REASONS
from nic.slides.slide import SlideSource


@dataclass
class CompressionReport:
    """What came of a cohort, by slide id. reused: finished before, or by another run on the same folder."""

    done: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)


def compress_cohort(
    sources: Sequence[SlideSource],
    encoder: Encoder,
    out: Path,
    *,
    min_tissue: float = 0.6,
    variants: int = 1,
    exclude: Collection[str] = REASONS[1:],
    accept: Collection[str] = (),
) -> CompressionReport:
    """Compress every slide into out/<slide_id>.h5, a slide to each core; a finished file is kept.

    A bad slide goes into quarantine, out/quarantine.csv, and is tried again by the next run. Another run on the same
    folder shares the work: what it holds is waited for. min_tissue, variants, exclude: as in compress_slide.
    accept: slides to compress however many of their tiles cannot be decoded.
    Raises CodesError when two slides would be written to one file.
    """
    wanted, folder = _one_by_id(sources), CodesFolder(out)
    report = CompressionReport()
    bar = tqdm(total=len(wanted), desc="compress", unit="slide")

    def work(source: SlideSource, wait: bool) -> bool:
        """Whether the slide was ours to do; its outcome goes into the report."""
        most_failed = 1.0 if source.slide_id in accept else MOST_FAILED
        with folder.claim(source.slide_id, wait=wait) as ours:
            if ours:
                _fill(folder, source, encoder, min_tissue, most_failed, variants, exclude, report)
                bar.update()
        return ours

    pool = ThreadPoolExecutor(os.cpu_count())  # a slide to each core: one is read while another is encoded
    try:
        ours = list(pool.map(lambda source: work(source, wait=False), wanted))
        busy = [source for source, done in zip(wanted, ours, strict=True) if not done]
        list(pool.map(lambda source: work(source, wait=True), busy))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted run does not begin another slide
        bar.close()
    folder.write_table()
    for names in (report.done, report.reused):
        names.sort()
    report.quarantined.sort(key=lambda refusal: refusal.slide)
    return report


def _fill(
    folder: CodesFolder,
    source: SlideSource,
    encoder: Encoder,
    min_tissue: float,
    most_failed: float,
    variants: int,
    exclude: Collection[str],
    report: CompressionReport,
) -> None:
    """Compress a claimed slide, unless its file is there."""
    slide_id = source.slide_id
    try:
        reused = folder.holds(source, encoder.spec, min_tissue, variants, exclude)
        if not reused:
            folder.clear(slide_id)
            compressed = compress_slide(
                source, encoder, min_tissue=min_tissue, most_failed=most_failed, variants=variants, exclude=exclude
            )
            compressed.save(folder.file(slide_id))
    except (SlideError, CodesError) as error:
        refusal = Quarantined.because(slide_id, error)
        folder.quarantine(refusal)
        report.quarantined.append(refusal)
    else:
        folder.release(slide_id)
        (report.reused if reused else report.done).append(slide_id)


def _one_by_id(sources: Sequence[SlideSource]) -> list[SlideSource]:
    """Each slide once, also where two rows of a table name it."""
    by_id: dict[str, SlideSource] = {}
    for source in sources:
        if by_id.setdefault(source.slide_id, source) != source:
            raise CodesError(
                f"{source.slide_id}.h5: wanted for two slides, or at two resolutions; rename one, or agree on its mpp"
            )
    return list(by_id.values())
