"""A slide to its compressed slide."""

from contextlib import closing

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.setting import Setting
from nic.encoder.spec import Encoder
from nic.errors import NoTissue, OutOfFocus, TooManyFailedCells
from nic.slides.quality import REASONS, blurred, dark_regions, pen_marks, spoilt_cells
from nic.slides.reader import TileBatch, TileReader
from nic.slides.slide import Slide, SlideSource
from nic.slides.tiling import TileGrid
from nic.slides.tissue import overview_px, tissue_fraction
from nic.slides.turns import turned
from nic.threads import cores, done_ahead

MOST_FAILED = 0.1
"""Largest share of tissue tiles that may be undecodable, unless the slide is accepted as it is."""
BATCH_TILES = 64
MOST_TILES = 1024
"""Of a slide, encoded at a time by all its threads: 64 take some 80 MB."""
OVERVIEW_PX = 640
AS_USUAL = Setting()


def compress_slide(
    source: SlideSource,
    encoder: Encoder,
    setting: Setting = AS_USUAL,
    *,
    most_failed: float = MOST_FAILED,
    batch_tiles: int = BATCH_TILES,
    threads: int = 1,
) -> CompressedSlide:
    """Encode the tissue tiles of a slide, some batches while the next ones are read.

    most_failed: largest share of them that may be undecodable; they are marked. batch_tiles: encoded at a time, memory
    against speed; the codes are the same but for rounding. threads: that read, and as many that encode; fewer
    where batches are large; the codes are the same.
    Raises SlideError: unreadable, no or wrong resolution, no tissue, nothing in focus, too much undecodable, a given
    mask that does not fit. Raises EncoderError when the encoder runs by something else than the setting says,
    or its tiles cannot overlap so.
    """
    spec = encoder.spec
    setting.check(encoder)
    threads = max(1, min(threads, MOST_TILES // batch_tiles))
    with Slide.open(source) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, spec.tile_px, spec.tile_mpp, setting.overlap_px)
        with TileReader(slide, grid, spec.read_mpp, threads) as reader:
            thumbnail, unreadable = slide.overview(overview_px(slide.size_l0px, slide.mpp))
            tissue, excluded = _tissue_cells(slide, grid, thumbnail, unreadable, setting)
            codes, row, col, failed = _encoded(reader, tissue, encoder, setting, excluded, batch_tiles)
        if failed.sum() > most_failed * tissue.sum() or failed.sum() == tissue.sum():
            raise TooManyFailedCells(
                f"{slide.slide_id}: {failed.sum()} of {tissue.sum()} tissue tiles cannot be decoded, "
                f"wanted at most {most_failed:.0%}"
            )
        if not len(row):
            raise OutOfFocus(f"{slide.slide_id}: all of {tissue.sum()} tissue tiles are blurred")
        return CompressedSlide(
            slide_id=slide.slide_id,
            codes=codes[0],
            variants=codes if setting.variants > 1 else None,
            row=row,
            col=col,
            grid=grid,
            tissue=tissue,
            failed=failed,
            exclude=tuple(sorted(setting.exclude)),
            tissue_rule=setting.tissue.said(slide.slide_id),
            runtime=setting.runtime,
            excluded=excluded,
            overview=_jpeg(thumbnail),
            encoder=spec,
            fingerprint=slide.fingerprint,
            min_tissue=setting.min_tissue,
            reader=reader.way,
            size_l0px=slide.size_l0px,
        )


def threads_for(slides: int) -> int:
    """Threads of each, where so many slides share this machine's cores."""
    return max(1, cores() // max(1, slides))


def _tissue_cells(
    slide: Slide,
    grid: TileGrid,
    thumbnail: NDArray[np.uint8],
    unreadable: NDArray[np.bool_],
    setting: Setting,
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Cells to encode, bool [rows, cols], and why others are not, of REASONS. Raises NoTissue."""
    tests = {"pen": pen_marks, "dark": dark_regions}
    spoilt = {name: test(thumbnail) & ~unreadable for name, test in tests.items() if name in setting.exclude}
    # What the thumbnail cannot show may be tissue; the reader finds out, and counts what failed.
    usable = setting.tissue.mask(slide, thumbnail) | unreadable
    for mask in spoilt.values():
        usable &= ~mask
    share = tissue_fraction(usable, slide.size_l0px, grid)
    shares = {name: tissue_fraction(mask, slide.size_l0px, grid) for name, mask in spoilt.items()}
    tissue, excluded = share >= setting.min_tissue, spoilt_cells(share, shares, setting.min_tissue)
    if not tissue.any():
        found = ", ".join(f"{(excluded == n).sum()} are {REASONS[n]}" for n in np.unique(excluded) if n)
        raise NoTissue(
            f"{slide.slide_id}: no tile of {grid.rows} x {grid.cols} holds {setting.min_tissue:.0%} of tissue"
            + (f"; {found}" if found else "")
        )
    return tissue, excluded


def _jpeg(thumbnail: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of the slide, its longer side OVERVIEW_PX at most, as the bytes of a JPEG."""
    scale = min(1.0, OVERVIEW_PX / max(thumbnail.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in thumbnail.shape[:2])
    small = cv2.resize(thumbnail, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1], np.uint8)


def _encoded(
    reader: TileReader,
    tissue: NDArray[np.bool_],
    encoder: Encoder,
    setting: Setting,
    excluded: NDArray[np.uint8],
    batch_tiles: int,
) -> tuple[NDArray[np.float16], NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Codes [variants, N, D] sorted by (row, col), their row and col [N], and the cells that failed, [rows, cols].

    Cells out of focus are marked in `excluded`, [rows, cols], and have no code.
    """
    place = np.full(tissue.shape, -1)  # of each cell's code
    place[tissue] = np.arange(tissue.sum())
    codes = np.empty((setting.variants, tissue.sum(), encoder.spec.code_size), np.float16)
    failed = np.zeros_like(tissue)
    rows, cols = np.nonzero(tissue)

    def encoded(batch: TileBatch) -> tuple[TileBatch, NDArray[np.bool_], list[NDArray[np.float32]]]:
        """The batch, which of its tiles are sharp, and the codes of those in each turn."""
        sharp = ~batch.failed
        if "blurred" in setting.exclude:
            sharp &= ~blurred(batch.tiles, encoder.spec.tile_mpp)
        tiles = batch.tiles[sharp]
        turns = range(setting.variants if len(tiles) else 0)
        return batch, sharp, [encoder.encode(np.ascontiguousarray(turned(tiles, turn))) for turn in turns]

    with (
        closing(reader.batches(rows, cols, batch_tiles)) as batches,
        closing(done_ahead(encoded, batches, reader.threads)) as encodings,
    ):
        for batch, sharp, turns in encodings:
            failed[batch.row, batch.col] = batch.failed
            excluded[batch.row, batch.col] = np.where(sharp | batch.failed, 0, REASONS.index("blurred"))
            for turn, found in enumerate(turns):
                codes[turn, place[batch.row, batch.col][sharp]] = found
    row, col = np.nonzero(tissue & ~failed & (excluded == 0))
    return codes[:, place[row, col]], row.astype(np.int32), col.astype(np.int32), failed
