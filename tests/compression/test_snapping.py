"""Tiles move to the nearest cells of one grid, lattice by lattice, and the report says how far."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nic.compression.interchange.snapping import covering_grid, snapped
from nic.compression.interchange.tile_codes import TileCodes, imported_encoder
from nic.errors import InterchangeError
from nic.slides.grid import TileGrid


def tiles_at(corners: NDArray[np.float64] | Sequence[tuple[float, float]], side: int = 512) -> TileCodes:
    """Tiles whose code is their number."""
    corner = np.asarray(corners, float)
    codes = np.arange(len(corner), dtype=np.float32)[:, None]
    tile_mpp = 0.25 * side / 256
    return TileCodes("s", codes, corner, 256, tile_mpp, 0.25, imported_encoder("e", "t", 1, 256, tile_mpp), "t")


def block(rows: int, cols: int, x: int, y: int, side: int = 512) -> NDArray[np.float64]:
    col, row = np.meshgrid(np.arange(cols), np.arange(rows))
    return np.stack([x + col.ravel() * side, y + row.ravel() * side], axis=1).astype(float)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(200, 700),
    st.integers(0, 999),
)
def test_one_lattice_is_never_moved(x: int, y: int, rows: int, cols: int, side: int, seed: int) -> None:
    corners = block(rows, cols, x, y, side)
    order = np.random.default_rng(seed).permutation(len(corners))
    slide, found = snapped(tiles_at(corners[order], side))
    assert (found.moved, found.collisions, found.lattices, found.max_l0px) == (0, 0, 1, 0)
    assert {tuple(c) for c in slide.corners_l0px()} == {tuple(c) for c in corners.astype(int)}
    assert np.array_equal(corners[order][slide.codes[:, 0].astype(int)], slide.corners_l0px())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 511), st.integers(0, 511))
def test_neighbours_of_any_contour_stay_neighbours(x: int, y: int) -> None:
    """Also when the contour lies halfway between two cells, where rounding to even would tear it."""
    small = block(3, 4, 20 * 512 + x, 20 * 512 + y)
    slide, found = snapped(tiles_at(np.concatenate([block(6, 6, 0, 0), small])))
    of_small = slide.codes[:, 0] >= 36
    assert np.array_equal(slide.codes[of_small, 0], np.arange(36, 48))  # in the order of rows and columns
    assert np.ptp(slide.row[of_small]) == 2
    assert np.ptp(slide.col[of_small]) == 3
    assert found.max_l0px == max(min(x, 512 - x), min(y, 512 - y))


def test_the_grid_is_that_of_the_largest_contour() -> None:
    corners = np.concatenate([block(2, 2, 7, 9), block(5, 5, 5000, 3000)])
    grid = covering_grid(tiles_at(corners))
    assert [(c - o) % 512 for c, o in zip((5000, 3000), grid.origin_l0px, strict=True)] == [0, 0]


def test_the_tile_nearest_to_a_cell_is_kept() -> None:
    corners = [*block(4, 4, 0, 0).tolist(), [100, 0], [3 * 512 + 200, 0]]
    with pytest.raises(InterchangeError, match="2 of 18 tiles lie in a cell that another tile takes"):
        snapped(tiles_at(corners))
    slide, found = snapped(tiles_at(corners), most_collisions=0.2)
    assert found.collisions == 2
    assert np.array_equal(slide.codes[:, 0], np.arange(16))


def test_a_note_that_does_not_hold_its_tiles_is_refused() -> None:
    tiles = tiles_at(block(4, 4, 0, 0))
    grid = TileGrid(256, 0.5, 0.25, (0, 0), 3, 4)
    with pytest.raises(InterchangeError, match="outside the grid of 3 x 4"):
        snapped(TileCodes(**{**vars(tiles), "grid": grid}))
