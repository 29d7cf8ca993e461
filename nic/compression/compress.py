"""Slides to compressed slides: one, or a cohort that loses none."""

import csv
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.spec import Encoder
from nic.errors import CodesError, NoTissue, SlideError, TooManyFailedCells
from nic.slides.reader import TileReader
from nic.slides.slide import Slide, SlideSource
from nic.slides.tiling import TileGrid
from nic.slides.tissue import overview_px, tissue_fraction, tissue_mask

MOST_FAILED = 0.1
"""A slide of which a larger share of tissue tiles cannot be decoded is refused."""


def compress_slide(source: SlideSource, encoder: Encoder, *, min_tissue: float = 0.6) -> CompressedSlide:
    """Encode the tissue tiles of a slide, one batch while the next is read.

    min_tissue: least share of tissue in a tile. Raises SlideError: unreadable, no or wrong resolution, no tissue.
    """
    spec = encoder.spec
    with Slide.open(source) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, spec.tile_px, spec.tile_mpp)
        with TileReader(slide, grid, spec.read_mpp) as reader:
            tissue = _tissue_cells(slide, grid, min_tissue)
            codes, row, col, failed = _encoded(reader, tissue, encoder)
        if failed.sum() > MOST_FAILED * tissue.sum():
            raise TooManyFailedCells(
                f"{slide.slide_id}: {failed.sum()} of {tissue.sum()} tissue tiles cannot be decoded, "
                f"wanted at most {MOST_FAILED:.0%}"
            )
        return CompressedSlide(
            slide_id=slide.slide_id,
            codes=codes,
            row=row,
            col=col,
            grid=grid,
            tissue=tissue,
            failed=failed,
            encoder=spec,
            fingerprint=slide.fingerprint,
            min_tissue=min_tissue,
            reader=reader.way,
            size_l0px=slide.size_l0px,
        )


def _tissue_cells(slide: Slide, grid: TileGrid, min_tissue: float) -> NDArray[np.bool_]:
    """Cells to encode, bool [rows, cols]. Raises NoTissue."""
    thumbnail, unreadable = slide.overview(overview_px(slide.size_l0px, slide.mpp))
    # What the thumbnail cannot show may be tissue; the reader finds out, and counts what failed.
    mask = tissue_mask(thumbnail) | unreadable
    tissue = tissue_fraction(mask, slide.size_l0px, grid) >= min_tissue
    if not tissue.any():
        raise NoTissue(f"{slide.slide_id}: no tile of {grid.rows} x {grid.cols} holds {min_tissue:.0%} of tissue")
    return tissue


def _encoded(
    reader: TileReader, tissue: NDArray[np.bool_], encoder: Encoder
) -> tuple[NDArray[np.float16], NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Codes [N, D] with their row and col [N], and the cells that failed, bool [rows, cols]."""
    failed = np.zeros_like(tissue)
    codes = [np.empty((0, encoder.spec.code_size), np.float16)]
    rows, cols = np.nonzero(tissue)
    for batch in reader.batches(rows, cols):
        failed[batch.row, batch.col] = batch.failed
        if not batch.failed.all():
            codes.append(encoder.encode(batch.tiles[~batch.failed]).astype(np.float16))
    row, col = np.nonzero(tissue & ~failed)  # in the reader's order
    return np.concatenate(codes), row.astype(np.int32), col.astype(np.int32), failed


@dataclass(frozen=True)
class Refusal:
    """A slide that was not compressed. reason: the error's class; evidence: its message."""

    slide_id: str
    reason: str
    evidence: str


@dataclass
class CompressionReport:
    """What came of a cohort, by slide id."""

    done: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def compress_cohort(
    sources: Sequence[SlideSource], encoder: Encoder, out: Path, *, min_tissue: float = 0.6
) -> CompressionReport:
    """Compress every slide into out/<slide_id>.h5; a finished file is kept, a bad slide goes to out/refused.csv.

    Raises CodesError when two slides would be written to one file.
    """
    out.mkdir(parents=True, exist_ok=True)
    wanted = _one_by_id(sources)
    report = CompressionReport()

    def work(source: SlideSource) -> Refusal | bool:
        """Whether the slide was compressed now."""
        path = out / f"{source.slide_id}.h5"
        try:
            if _is_finished(path, source, encoder, min_tissue):
                return False
            path.unlink(missing_ok=True)  # of another encoder or slide: it must not be taken for this one's
            compress_slide(source, encoder, min_tissue=min_tissue).save(path)
        except (SlideError, CodesError) as error:
            return Refusal(source.slide_id, type(error).__name__, str(error))
        return True

    # A slide to each core: one is read while another is encoded.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        outcomes = tqdm(pool.map(work, wanted), total=len(wanted), desc="compress", unit="slide")
        for source, outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                report.refused.append(outcome)
            else:
                (report.done if outcome else report.reused).append(source.slide_id)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted run does not begin another slide
    _write_refusals(out / "refused.csv", report.refused)
    return report


def _one_by_id(sources: Sequence[SlideSource]) -> list[SlideSource]:
    """Each slide once, also where two rows of a table name it."""
    by_id: dict[str, SlideSource] = {}
    for source in sources:
        if by_id.setdefault(source.slide_id, source) != source:
            raise CodesError(
                f"{source.slide_id}.h5: wanted for two slides, or at two resolutions; rename one, or agree on its mpp"
            )
    return list(by_id.values())


def _is_finished(path: Path, source: SlideSource, encoder: Encoder, min_tissue: float) -> bool:
    """Whether the file is whole and of this slide, encoder and setting. Raises SlideError."""
    if not path.exists():
        return False
    with Slide.open(source) as slide:
        try:
            found = CompressedSlide.load(path)
        except CodesError:
            return False
        return (found.encoder.sha256, found.fingerprint, found.grid.slide_mpp, found.min_tissue) == (
            encoder.spec.sha256,
            slide.fingerprint,
            slide.mpp,
            min_tissue,
        )


def _write_refusals(path: Path, refused: Sequence[Refusal]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slide", "reason", "evidence"])
        table.writerows([r.slide_id, r.reason, r.evidence] for r in refused)
