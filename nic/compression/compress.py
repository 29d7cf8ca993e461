"""Slides to compressed slides: one, or a cohort that loses none."""

import csv
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.spec import Encoder
from nic.errors import CodesError, NicError, NoTissue, TooManyFailedCells
from nic.slides.reader import TileReader
from nic.slides.slide import Slide, SlideSource
from nic.slides.tiling import TileGrid
from nic.slides.tissue import tissue_fraction, tissue_mask

THUMBNAIL_PX = 2048
MOST_FAILED = 0.1
"""A slide of which a larger share cannot be decoded is refused."""


def compress_slide(source: SlideSource, encoder: Encoder, *, min_tissue: float = 0.6) -> CompressedSlide:
    """Encode the tissue tiles of a slide.

    min_tissue: least share of tissue in a tile. Raises SlideError: unreadable, no or wrong resolution, no tissue.
    """
    spec = encoder.spec
    with Slide.open(source) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, spec.tile_px, spec.tile_mpp)
        reader = TileReader(slide, grid, spec.read_mpp)
        mask = tissue_mask(slide.thumbnail(THUMBNAIL_PX))
        tissue = tissue_fraction(mask, slide.size_l0px, grid) >= min_tissue
        if not tissue.any():
            raise NoTissue(f"{slide.slide_id}: no tile holds {min_tissue:.0%} of tissue")
        codes, rows, cols = [], [], []
        failed = np.zeros_like(tissue)
        cells = np.nonzero(tissue)
        for batch in reader.batches(cells[0], cells[1]):
            good = ~batch.failed
            failed[batch.row[batch.failed], batch.col[batch.failed]] = True
            if good.any():
                codes.append(encoder.encode(batch.tiles[good]).astype(np.float16))
                rows.append(batch.row[good])
                cols.append(batch.col[good])
        if failed.sum() > MOST_FAILED * tissue.sum():
            raise TooManyFailedCells(
                f"{slide.slide_id}: {failed.sum()} of {tissue.sum()} tissue tiles cannot be decoded, "
                f"wanted at most {MOST_FAILED:.0%}"
            )
        return CompressedSlide(
            slide.slide_id,
            np.concatenate(codes),
            np.concatenate(rows).astype(np.int32),
            np.concatenate(cols).astype(np.int32),
            grid,
            tissue,
            failed,
            spec,
            slide.fingerprint,
        )


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
    """Compress every slide into out/<slide_id>.h5; a finished file is kept, a bad slide goes to out/refused.csv."""
    out.mkdir(parents=True, exist_ok=True)
    report = CompressionReport()

    def work(source: SlideSource) -> Refusal | bool:
        path = out / f"{source.slide_id}.h5"
        try:
            if _is_finished(path, source, encoder):
                return False
            compress_slide(source, encoder, min_tissue=min_tissue).save(path)
        except NicError as error:
            return Refusal(source.slide_id, type(error).__name__, str(error))
        return True

    # Two threads: one slide is read while another is encoded, and each encodes on one core.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = tqdm(pool.map(work, sources), total=len(sources), desc="compress", unit="slide")
        for source, outcome in zip(sources, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                report.refused.append(outcome)
            else:
                (report.done if outcome else report.reused).append(source.slide_id)
    _write_refusals(out / "refused.csv", report.refused)
    return report


def _is_finished(path: Path, source: SlideSource, encoder: Encoder) -> bool:
    if not path.exists():
        return False
    try:
        found = CompressedSlide.load(path)
    except CodesError:
        return False
    with Slide.open(source) as slide:
        return found.encoder.sha256 == encoder.spec.sha256 and found.fingerprint == slide.fingerprint


def _write_refusals(path: Path, refused: Sequence[Refusal]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slide", "reason", "evidence"])
        table.writerows([r.slide_id, r.reason, r.evidence] for r in refused)
