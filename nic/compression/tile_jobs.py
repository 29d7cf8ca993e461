"""Which tiles of a slide have a code, and those tiles, tested: jobs for `nic.slides.jobs`."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import MaskFolder
from nic.errors import UnreadableSlide
from nic.slides.grid import TileGrid
from nic.slides.jobs import BLURRED, ENCODE, FAILED, Answer, CheckedTiles, LastSlide, TileShape
from nic.slides.qc import out_of_focus
from nic.slides.reader import in_bands
from nic.slides.slide import Slide
from nic.slides.source import SlideSource
from nic.slides.tissue import overview_px

OVERVIEW_PX = 640
CELLS_AT_A_TIME = 512
"""Of a job: so few that all processes have work until a slide is read, and so many that a job's own cost is small."""


@dataclass(frozen=True)
class SlidePlan:
    """What is to be read of a slide. tissue: bool [rows, cols], cells to read. excluded: uint8 [rows, cols], why others
    are not, of QC_TESTS. overview: uint8, a JPEG of the slide. band_cells: columns that are best read together. reader:
    how pixels are read. size_l0px: (width, height)."""

    grid: TileGrid
    tissue: NDArray[np.bool_]
    excluded: NDArray[np.uint8]
    overview: NDArray[np.uint8]
    band_cells: int
    fingerprint: str
    reader: str
    size_l0px: tuple[int, int]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "SlidePlan":
        """From what PlanTiles returns."""
        grid = dict(answer["grid"])
        grid["origin_l0px"] = tuple(grid["origin_l0px"])
        width, height = answer["size_l0px"]
        return cls(
            TileGrid(**grid),
            np.array(answer["tissue"]),
            np.array(answer["excluded"]),
            np.array(answer["overview"]),
            answer["band_cells"],
            answer["fingerprint"],
            answer["reader"],
            (width, height),
        )

    def jobs(self, source: SlideSource, shape: TileShape, *, test_focus: bool) -> list["ReadTiles"]:
        """All tiles to read; the same jobs however many processes there are."""
        rows, cols = np.nonzero(self.tissue)
        order = in_bands(rows, cols, self.band_cells)
        row, col = rows[order].astype(np.int32), cols[order].astype(np.int32)
        parts = [np.s_[start : start + CELLS_AT_A_TIME] for start in range(0, len(row), CELLS_AT_A_TIME)]
        return [ReadTiles(source, shape, self.fingerprint, row[part], col[part], test_focus) for part in parts]


@dataclass(frozen=True)
class Identify:
    """Open a slide. Returns its `fingerprint` and its `mpp`. Raises SlideError."""

    source: SlideSource

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        with Slide.open(self.source) as slide:
            return {"fingerprint": slide.fingerprint, "mpp": slide.mpp}


@dataclass(frozen=True)
class PlanTiles:
    """Find the tissue of a slide. Returns the fields of a SlidePlan.

    masks: where the tiling wants them. Raises SlideError: unreadable, no or wrong resolution, no tissue, a mask that
    does not fit.
    """

    source: SlideSource
    shape: TileShape
    tiling: Tiling
    masks: MaskFolder | None = None

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        yield from ()
        reader = last.reader(self.source, self.shape)
        slide, grid = reader.slide, reader.grid
        thumbnail, unreadable = slide.overview(overview_px(slide.size_l0px, slide.mpp))
        tissue, excluded = self.tiling.cells(slide, grid, thumbnail, unreadable, self.masks)
        return {
            "grid": {name: getattr(grid, name) for name in TileGrid.__dataclass_fields__},
            "tissue": tissue,
            "excluded": excluded,
            "overview": _jpeg(thumbnail),
            "band_cells": reader.band_cells,
            "fingerprint": slide.fingerprint,
            "reader": reader.way,
            "size_l0px": slide.size_l0px,
        }


@dataclass(frozen=True)
class ReadTiles:
    """Some tiles of a slide, row and col int32 [n], in the order in which they are read; those that could not be
    decoded or, where test_focus is set, are out of focus, only by their cells.

    Raises SlideError; also when the file was replaced since the plan was made.
    """

    source: SlideSource
    shape: TileShape
    fingerprint: str
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    test_focus: bool

    def run(self, last: LastSlide) -> Generator[CheckedTiles, None, Answer]:
        reader = last.reader(self.source, self.shape)
        if reader.slide.fingerprint != self.fingerprint:
            raise UnreadableSlide(f"{self.source.slide_id}: the file was replaced while it was read; run again")
        for batch in reader.batches(self.row.astype(np.intp), self.col.astype(np.intp), self.shape.together):
            state = np.where(batch.failed, FAILED, ENCODE).astype(np.uint8)
            if self.test_focus:
                state[~batch.failed & out_of_focus(batch.tiles, self.shape.tile_mpp)] = BLURRED
            row, col = batch.row.astype(np.int32), batch.col.astype(np.int32)
            yield CheckedTiles(batch.tiles[state == ENCODE], row, col, state)
        return {}


def _jpeg(thumbnail: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of the slide, its longer side OVERVIEW_PX at most, as the bytes of a JPEG."""
    scale = min(1.0, OVERVIEW_PX / max(thumbnail.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in thumbnail.shape[:2])
    small = cv2.resize(thumbnail, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1], np.uint8)
