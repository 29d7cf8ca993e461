"""A slide to its compressed slide: tiles are read by other processes, or here, and encoded in this one."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tile_jobs import PlanTiles, SlidePlan
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import MaskFolder
from nic.encoder.spec import Encoder, batch_tiles_of, runtime_of
from nic.errors import OutOfFocus, TooManyFailedCells
from nic.slides.d4 import d4_variant
from nic.slides.jobs import BLURRED, ENCODE, FAILED, IN_PROCESS, CheckedTiles, Reader, TileShape
from nic.slides.qc import QC_TESTS
from nic.slides.slide import SlideSource
from nic.threads import SharedThreads, map_ahead

MOST_FAILED = 0.1
"""Largest share of tissue tiles that may be undecodable, unless the slide is accepted as it is."""
DEFAULT_TILING = Tiling()


def compress_slide(
    source: SlideSource,
    encoder: Encoder,
    tiling: Tiling = DEFAULT_TILING,
    *,
    masks: MaskFolder | None = None,
    d4_variants: int = 1,
    most_failed: float = MOST_FAILED,
    batch_tiles: int = 0,
    fill: bool = True,
    reading: Reader = IN_PROCESS,
    threads: SharedThreads | None = None,
    watch: Callable[[int], None] = lambda tiles: None,
) -> CompressedSlide:
    """Encode the tissue tiles of a slide, some batches while the next ones are read.

    masks: where the tiling wants them. d4_variants: 8 encodes each tile in its eight D4 variants too. most_failed:
    largest share of tissue tiles that may be undecodable; they are marked. batch_tiles: encoded at a time; 0: as many
    as suit the encoder. fill: whether the last batch is filled up to this size, because a GPU plans anew for each size.
    reading: where tiles are read. threads: that encode, for other slides too; None: one of its own. watch: called with
    how many tiles were read so far; what it raises ends it.
    The codes are the same for any number of processes and threads, and but for rounding for any batch_tiles.
    Raises SlideError: unreadable, no or wrong resolution, no tissue, nothing in focus, too much undecodable, a mask
    that is missing or does not fit. Raises EncoderError when the encoder's tiles cannot overlap so.
    """
    spec = encoder.spec
    tiling = tiling.of_slide(source.slide_id, spec, masks)
    shape = TileShape(spec.tile_px, spec.tile_mpp, spec.read_mpp, tiling.overlap_px)
    plan = SlidePlan.of(reading.ask(PlanTiles(source, shape, tiling, masks)))
    collector = CodesCollector(plan, d4_variants, spec.code_size)
    jobs = plan.jobs(source, shape, test_focus="blurred" in tiling.exclude)
    batch_tiles = batch_tiles or batch_tiles_of(encoder)
    encode = partial(_encoded, encoder, d4_variants)
    with (
        closing(reading.stream(jobs)) as tiles,
        closing(_batches(collector.noted(tiles, watch), batch_tiles, spec.tile_px, fill=fill)) as batches,
        closing(threads.map_ahead(encode, batches) if threads else map_ahead(encode, batches, threads=1)) as encoded,
    ):
        for batch, variants in encoded:
            collector.put(batch, variants)
    collector.check(source.slide_id, most_failed)
    row, col, codes = collector.codes()
    return CompressedSlide(
        slide_id=source.slide_id,
        codes=codes[0],
        variants=codes if d4_variants > 1 else None,
        row=row,
        col=col,
        grid=plan.grid,
        tissue=plan.tissue,
        failed=collector.failed,
        excluded=collector.excluded,
        overview=plan.overview,
        encoder=spec,
        fingerprint=plan.fingerprint,
        tiling=tiling,
        runtime=runtime_of(encoder),
        reader=plan.reader,
        size_l0px=plan.size_l0px,
    )


@dataclass(frozen=True)
class EncoderBatch:
    """Tiles of one slide to encode, uint8 [size, tile_px, tile_px, 3]. row, col: int32 [n] of the first n of them; the
    others repeat the last one, so that batches have one size."""

    tiles: NDArray[np.uint8]
    row: NDArray[np.int32]
    col: NDArray[np.int32]


class CodesCollector:
    """Collects the codes of a slide in any order; what comes twice counts once.

    failed: bool [rows, cols], cells that could not be decoded. excluded: uint8 [rows, cols], of QC_TESTS.
    """

    def __init__(self, plan: SlidePlan, d4_variants: int, code_size: int) -> None:
        self.tissue, self.excluded = plan.tissue, plan.excluded
        self.failed = np.zeros_like(plan.tissue)
        self._place = np.full(plan.tissue.shape, -1)
        self._place[plan.tissue] = np.arange(plan.tissue.sum())
        self._codes = np.empty((d4_variants, plan.tissue.sum(), code_size), np.float16)

    def noted(self, tiles: Iterable[CheckedTiles], watch: Callable[[int], None]) -> Generator[CheckedTiles, None, None]:
        """The tiles, once it is noted which cells have none."""
        read = 0
        for checked in tiles:
            row, col = checked.row, checked.col
            self.failed[row, col] = checked.state == FAILED
            self.excluded[row, col] = np.where(checked.state == BLURRED, QC_TESTS.index("blurred"), 0)
            read += len(checked.tiles)
            watch(read)
            yield checked

    def put(self, batch: EncoderBatch, variants: list[NDArray[np.float32]]) -> None:
        """variants: codes of a batch, [size, D], of each D4 variant."""
        place = self._place[batch.row, batch.col]
        for number, codes in enumerate(variants):
            self._codes[number, place] = codes[: len(place)]

    def check(self, slide_id: str, most_failed: float) -> None:
        """Once all is read. Raises TooManyFailedCells, OutOfFocus."""
        failed, tissue = int(self.failed.sum()), int(self.tissue.sum())
        if failed > most_failed * tissue or failed == tissue:
            raise TooManyFailedCells(
                f"{slide_id}: {failed} of {tissue} tissue tiles cannot be decoded, wanted at most {most_failed:.0%}"
            )
        if not self._with_code.any():
            raise OutOfFocus(f"{slide_id}: all of {tissue} tissue tiles are blurred")

    def codes(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float16]]:
        """Row and col [N] of the cells with a code, sorted, and the codes [d4_variants, N, D]."""
        row, col = np.nonzero(self._with_code)
        return row.astype(np.int32), col.astype(np.int32), self._codes[:, self._place[row, col]]

    @property
    def _with_code(self) -> NDArray[np.bool_]:
        return np.asarray(self.tissue & ~self.failed & (self.excluded == 0))


def _encoded(encoder: Encoder, d4_variants: int, batch: EncoderBatch) -> tuple[EncoderBatch, list[NDArray[np.float32]]]:
    """The batch, and its codes of each D4 variant."""
    return batch, [
        encoder.encode(np.ascontiguousarray(d4_variant(batch.tiles, number))) for number in range(d4_variants)
    ]


def _batches(
    tiles: Iterable[CheckedTiles], size: int, tile_px: int, *, fill: bool
) -> Generator[EncoderBatch, None, None]:
    """The tiles to encode in batches of one size; the last one may be smaller unless it is filled up."""
    cells = np.empty((2, size), np.int32)
    buffer = np.empty((size, tile_px, tile_px, 3), np.uint8)
    filled = 0
    for checked in tiles:
        encode = checked.state == ENCODE
        row, col = checked.row[encode], checked.col[encode]
        start = 0
        while start < len(row):
            stop = min(len(row), start + size - filled)
            into = np.s_[filled : filled + stop - start]
            buffer[into], cells[0, into], cells[1, into] = checked.tiles[start:stop], row[start:stop], col[start:stop]
            filled, start = filled + stop - start, stop
            if filled == size:
                yield EncoderBatch(buffer, cells[0], cells[1])
                cells, buffer, filled = np.empty_like(cells), np.empty_like(buffer), 0
    if filled:
        buffer[filled:] = buffer[filled - 1]
        yield EncoderBatch(buffer if fill else buffer[:filled], cells[0, :filled], cells[1, :filled])
