"""A slide to its compressed slide: tiles are read by other processes, or here, and encoded in this one."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.setting import Setting
from nic.compression.tile_jobs import PlanTiles, SlidePlan
from nic.encoder.spec import Encoder, batch_tiles_of
from nic.errors import OutOfFocus, TooManyFailedCells
from nic.slides.jobs import BLURRED, ENCODE, FAILED, IN_PROCESS, CheckedTiles, Reading, TileShape
from nic.slides.quality import REASONS
from nic.slides.slide import SlideSource
from nic.slides.turns import turned
from nic.threads import SharedThreads, map_ahead

MOST_FAILED = 0.1
"""Largest share of tissue tiles that may be undecodable, unless the slide is accepted as it is."""
AS_USUAL = Setting()


@dataclass(frozen=True)
class Batch:
    """Tiles of one slide to encode, uint8 [size, tile_px, tile_px, 3]. row, col: int32 [n] of the first n of them; the
    others repeat the last one, so that batches have one size."""

    tiles: NDArray[np.uint8]
    row: NDArray[np.int32]
    col: NDArray[np.int32]


def compress_slide(
    source: SlideSource,
    encoder: Encoder,
    setting: Setting = AS_USUAL,
    *,
    most_failed: float = MOST_FAILED,
    batch_tiles: int = 0,
    fill: bool = True,
    reading: Reading = IN_PROCESS,
    encoding: SharedThreads | None = None,
    watch: Callable[[int], None] = lambda tiles: None,
) -> CompressedSlide:
    """Encode the tissue tiles of a slide, some batches while the next ones are read.

    most_failed: largest share of them that may be undecodable; they are marked. batch_tiles: encoded at a time; 0: as
    many as suit the encoder. fill: whether the last batch is filled up to this size, because a GPU plans anew for each
    size. reading: where tiles are read. encoding: threads that other slides use too; None: one of its own. watch:
    called with how many tiles were read so far; what it raises ends it.
    The codes are the same for any number of processes and threads, and but for rounding for any batch_tiles.
    Raises SlideError: unreadable, no or wrong resolution, no tissue, nothing in focus, too much undecodable, a given
    mask that does not fit. Raises EncoderError when the encoder runs by something else than the setting says,
    or its tiles cannot overlap so.
    """
    spec = encoder.spec
    setting.check(encoder)
    shape = TileShape(spec.tile_px, spec.tile_mpp, spec.read_mpp, setting.overlap_px)
    exclude = tuple(setting.exclude)
    plan = SlidePlan.of(reading.ask(PlanTiles(source, shape, setting.tissue, setting.min_tissue, exclude)))
    codes = Codes(plan, setting.variants, spec.code_size)

    def encoded(batch: Batch) -> tuple[Batch, list[NDArray[np.float32]]]:
        return batch, [encoder.encode(np.ascontiguousarray(turned(batch.tiles, n))) for n in range(setting.variants)]

    size = batch_tiles or batch_tiles_of(encoder)
    jobs = plan.jobs(source, shape, test_focus="blurred" in exclude)
    with (
        closing(reading.stream(jobs)) as tiles,
        closing(_batches(codes.noted(tiles, watch), size, spec.tile_px, fill=fill)) as batches,
        closing(
            encoding.map_ahead(encoded, batches) if encoding else map_ahead(encoded, batches, threads=1)
        ) as encodings,
    ):
        for batch, turns in encodings:
            codes.put(batch, turns)
    failed = int(codes.failed.sum())
    if failed > most_failed * plan.tissue.sum() or failed == plan.tissue.sum():
        raise TooManyFailedCells(
            f"{source.slide_id}: {failed} of {plan.tissue.sum()} tissue tiles cannot be decoded, "
            f"wanted at most {most_failed:.0%}"
        )
    row, col, values = codes.finished()
    if not len(row):
        raise OutOfFocus(f"{source.slide_id}: all of {plan.tissue.sum()} tissue tiles are blurred")
    return CompressedSlide(
        slide_id=source.slide_id,
        codes=values[0],
        variants=values if setting.variants > 1 else None,
        row=row,
        col=col,
        grid=plan.grid,
        tissue=plan.tissue,
        failed=codes.failed,
        exclude=tuple(sorted(exclude)),
        tissue_rule=setting.tissue.said(source.slide_id),
        runtime=setting.runtime,
        excluded=codes.excluded,
        overview=plan.overview,
        encoder=spec,
        fingerprint=plan.fingerprint,
        min_tissue=setting.min_tissue,
        reader=plan.reader,
        size_l0px=plan.size_l0px,
    )


class Codes:
    """Codes of a slide as they come in, in any order; what comes twice counts once.

    failed: bool [rows, cols], cells that could not be decoded. excluded: uint8 [rows, cols], of REASONS.
    """

    def __init__(self, plan: SlidePlan, variants: int, code_size: int) -> None:
        self.tissue, self.excluded = plan.tissue, plan.excluded
        self.failed = np.zeros_like(plan.tissue)
        self._place = np.full(plan.tissue.shape, -1)
        self._place[plan.tissue] = np.arange(plan.tissue.sum())
        self._codes = np.empty((variants, plan.tissue.sum(), code_size), np.float16)

    def noted(self, tiles: Iterable[CheckedTiles], watch: Callable[[int], None]) -> Generator[CheckedTiles, None, None]:
        """The tiles, once it is noted which cells have none."""
        read = 0
        for checked in tiles:
            row, col = checked.row, checked.col
            self.failed[row, col] = checked.state == FAILED
            self.excluded[row, col] = np.where(checked.state == BLURRED, REASONS.index("blurred"), 0)
            read += len(checked.tiles)
            watch(read)
            yield checked

    def put(self, batch: Batch, turns: list[NDArray[np.float32]]) -> None:
        """turns: codes of a batch, [size, D], in each turn."""
        place = self._place[batch.row, batch.col]
        for turn, codes in enumerate(turns):
            self._codes[turn, place] = codes[: len(place)]

    def finished(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float16]]:
        """Row and col [N] of the cells with a code, sorted, and the codes [variants, N, D]."""
        row, col = np.nonzero(self.tissue & ~self.failed & (self.excluded == 0))
        return row.astype(np.int32), col.astype(np.int32), self._codes[:, self._place[row, col]]


def _batches(tiles: Iterable[CheckedTiles], size: int, tile_px: int, *, fill: bool) -> Generator[Batch, None, None]:
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
                yield Batch(buffer, cells[0], cells[1])
                cells, buffer, filled = np.empty_like(cells), np.empty_like(buffer), 0
    if filled:
        buffer[filled:] = buffer[filled - 1]
        yield Batch(buffer if fill else buffer[:filled], cells[0, :filled], cells[1, :filled])
