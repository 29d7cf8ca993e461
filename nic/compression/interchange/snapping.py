"""Puts the tiles of another tool on one grid, and says how far they were moved."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.interchange.tile_codes import TileCodes
from nic.compression.tiling import Tiling
from nic.compression.tissue_rule import OwnMask
from nic.errors import InterchangeError
from nic.slides.grid import TileGrid

SAME_LATTICE_PX = 4


@dataclass(frozen=True)
class Snapping:
    """What the move onto a grid cost a slide.

    lattices: different moves, those within SAME_LATTICE_PX taken for one; CLAM begins a lattice at each contour. moved:
    tiles that do not lie exactly on their cell. max_l0px, mean_l0px: of all tiles' moves, the larger of |x| and |y|.
    collisions: tiles left out because another lay nearer to their cell.
    """

    slide_id: str
    tiles: int
    lattices: int
    moved: int
    max_l0px: float
    mean_l0px: float
    collisions: int

    def __str__(self) -> str:
        if not self.moved:
            return f"{self.slide_id}: {self.tiles} tiles, each exactly on its cell"
        return (
            f"{self.slide_id}: {self.tiles} tiles from {self.lattices} lattice(s), {self.moved} moved, by "
            f"{self.mean_l0px:.1f} level-0 px on average and {self.max_l0px:.0f} at most; {self.collisions} left out"
        )


def snapped(tiles: TileCodes, most_collisions: float = 0.0) -> tuple[CompressedSlide, Snapping]:
    """The compressed slide, and how far its tiles were moved.

    most_collisions: largest share of tiles that may be left out because their cell is taken. All tiles of a lattice
    are moved alike, so that neighbours stay neighbours. Raises NoTissue, ImplausibleResolution, InterchangeError.
    """
    tiles.check()
    grid = tiles.grid or covering_grid(tiles)
    row, col = _cells(grid, tiles)
    offset = _offset_l0px(grid, tiles, row, col)
    moves = np.abs(offset).max(axis=1)
    kept = _nearest_of_each_cell(row * grid.cols + col, moves)
    snapping = Snapping(
        slide_id=tiles.slide_id,
        tiles=len(tiles.codes),
        lattices=len(np.unique(np.rint(offset / SAME_LATTICE_PX), axis=0)),
        moved=int((moves > 0).sum()),
        max_l0px=float(moves.max()),
        mean_l0px=float(moves.mean()),
        collisions=len(tiles.codes) - len(kept),
    )
    if snapping.collisions > most_collisions * snapping.tiles:
        raise InterchangeError(
            f"{tiles.slide_id}: {snapping.collisions} of {snapping.tiles} tiles lie in a cell that another tile "
            f"takes ({snapping.lattices} lattices, moved by up to {snapping.max_l0px:.0f} px), wanted <= "
            f"{most_collisions:.1%}; "
            "give most_collisions to leave the farther ones out, or extract on one lattice"
        )
    return _slide(tiles, grid, kept, row, col), snapping


def covering_grid(tiles: TileCodes) -> TileGrid:
    """The grid on which most tiles lie exactly; it covers the slide where its size is known, else its tiles."""
    stride = tiles.stride_l0px
    origin = [_commonest_residue(tiles.corner_l0px[:, axis], stride) for axis in (0, 1)]
    low = np.minimum(0, np.floor((tiles.corner_l0px.min(axis=0) - origin) / stride + 0.5)).astype(int)
    x, y = (int(o + round(cells * stride)) for o, cells in zip(origin, low, strict=True))
    cols, rows = np.floor((tiles.corner_l0px.max(axis=0) - (x, y)) / stride + 0.5).astype(int) + 1
    if tiles.size_l0px:
        bounds = (x, y, tiles.size_l0px[0] - x, tiles.size_l0px[1] - y)
        slide = TileGrid.covering(bounds, tiles.slide_mpp, tiles.tile_px, tiles.tile_mpp, tiles.overlap_px)
        rows, cols = max(rows, slide.rows), max(cols, slide.cols)
    return TileGrid(tiles.tile_px, tiles.tile_mpp, tiles.slide_mpp, (x, y), int(rows), int(cols), tiles.overlap_px)


def _commonest_residue(position: NDArray[np.float64], stride: float) -> int:
    """Where, in [0, stride), most positions begin; each was rounded, so the last pixel before `stride` is 0."""
    residue = position % stride
    return int(np.bincount(np.rint(np.where(residue > stride - 1, 0, residue)).astype(int)).argmax())


def _cells(grid: TileGrid, tiles: TileCodes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Nearest (row, col) of each tile; halfway always down, so that no lattice is torn. Raises InterchangeError."""
    # A nanometre, lest neighbours of one lattice that lie halfway be parted by the last digit.
    cell = np.floor((tiles.corner_l0px - grid.origin_l0px) / grid.stride_l0px + 0.5 - 1e-6).astype(np.intp)
    col, row = cell.T
    if cell.min() < 0 or row.max() >= grid.rows or col.max() >= grid.cols:
        raise InterchangeError(
            f"{tiles.slide_id}: tiles outside the grid of {grid.rows} x {grid.cols} of its note; export it again"
        )
    return row, col


def _offset_l0px(grid: TileGrid, tiles: TileCodes, row: NDArray[np.intp], col: NDArray[np.intp]) -> NDArray[np.float64]:
    """(x, y) from each tile's cell to the tile, [N, 2]."""
    cells = np.rint(np.stack([col, row], axis=1) * grid.stride_l0px) + grid.origin_l0px
    return np.asarray(tiles.corner_l0px - cells)


def _nearest_of_each_cell(cell: NDArray[np.intp], moves: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each cell that is held, in the order of cells, which tile is moved least."""
    order = np.argsort(moves, kind="stable")
    return np.asarray(order[np.unique(cell[order], return_index=True)[1]])


def _slide(
    tiles: TileCodes, grid: TileGrid, kept: NDArray[np.intp], row: NDArray[np.intp], col: NDArray[np.intp]
) -> CompressedSlide:
    """Cells without a tile count as glass: other tools do not say which tiles they left out, and why."""
    tissue = np.zeros((grid.rows, grid.cols), bool)
    tissue[row[kept], col[kept]] = True
    return CompressedSlide(
        slide_id=tiles.slide_id,
        codes=tiles.codes[kept].astype(np.float16),
        row=row[kept].astype(np.int32),
        col=col[kept].astype(np.int32),
        grid=grid,
        tissue=tissue,
        failed=np.zeros_like(tissue),
        encoder=tiles.encoder,
        fingerprint=tiles.fingerprint,
        tiling=Tiling(tiles.encoder.tile_um, round(grid.overlap_px), 0.0, (), OwnMask()),
        reader=f"imported from {tiles.tool}",
        size_l0px=tiles.size_l0px,
    )
