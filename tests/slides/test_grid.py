"""The grid's arithmetic: exact, and without drift."""

import math
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from nic.slides.grid import TileGrid

mpps = st.sampled_from([0.2425, 0.25, 0.265, 0.499, 0.503, 0.5])


def grid(mpp: float, bounds: tuple[int, int, int, int] = (0, 0, 100_000, 80_000)) -> TileGrid:
    return TileGrid.covering(bounds, mpp, 64, 1.0)


def test_a_tile_of_the_aperio_slide_is_128_257_px_wide() -> None:
    assert math.isclose(grid(0.499).side_l0px, 128.25651302605, rel_tol=1e-12)


@given(mpps, st.integers(0, 10_000))
def test_origins_are_rounded_one_by_one_so_that_nothing_drifts(mpp: float, col: int) -> None:
    exact = Fraction(64) / Fraction(str(mpp)) * col
    x, _ = grid(mpp, (17, 5, 10, 10)).cell_origin_l0px(0, col)
    assert abs(Fraction(x - 17) - exact) <= Fraction(1, 2) + Fraction(1, 10**6)


@example(mpp=0.265, overlap=62, width=50_000, col=0)  # 6594 tiles end at the edge itself
@given(mpps, st.integers(0, 63), st.integers(1, 50_000), st.integers(0, 500))
def test_overlapping_tiles_cover_the_bounds_each_one_stride_on(mpp: float, overlap: int, width: int, col: int) -> None:
    g = TileGrid.covering((9, 4, width, 10), mpp, 64, 1.0, overlap)
    assert math.isclose(g.stride_l0px * mpp, g.stride_um, rel_tol=1e-12)
    assert g.stride_um == 64 - overlap
    reached = (g.cols - 1) * g.stride_l0px + g.side_l0px
    assert width <= reached + 1e-6
    assert g.cols == 1 or reached - g.stride_l0px < width - 1e-6
    exact = Fraction(64 - overlap) / Fraction(str(mpp)) * col
    assert abs(Fraction(g.tile_origin_l0px(0, col)[0] - 9) - exact) <= Fraction(1, 2) + Fraction(1, 10**6)


@given(mpps, st.integers(0, 63), st.integers(0, 700), st.integers(0, 700))
def test_cells_lie_side_by_side_about_the_middles_of_their_tiles(mpp: float, overlap: int, row: int, col: int) -> None:
    g = TileGrid.covering((301, 77, 100_000, 100_000), mpp, 64, 1.0, overlap)
    left, top = g.tile_origin_l0px(row, col)
    x, y = g.cell_origin_l0px(row, col)
    beyond_x, beyond_y = g.cell_origin_l0px(row + 1, col + 1)
    assert abs((x + beyond_x) / 2 - (left + g.side_l0px / 2)) <= 1
    assert abs((y + beyond_y) / 2 - (top + g.side_l0px / 2)) <= 1
    if overlap == 0:
        assert (x, y) == (left, top)


@given(mpps, st.integers(1, 50_000), st.integers(1, 50_000))
def test_the_grid_covers_its_bounds_and_no_more(mpp: float, width: int, height: int) -> None:
    g = grid(mpp, (0, 0, width, height))
    assert (g.cols - 1) * g.side_l0px < width <= g.cols * g.side_l0px + 1e-6
    assert (g.rows - 1) * g.side_l0px < height <= g.rows * g.side_l0px + 1e-6
