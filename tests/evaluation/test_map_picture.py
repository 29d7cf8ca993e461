"""A mark in the slide and the same mark in the score map meet on the thumbnail, to the far corner."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nic.evaluation.map_picture import on_thumbnail, overlay
from nic.slides.grid import TileGrid

SIZE = (40_000, 30_000)


@given(st.floats(0.2, 0.6), st.integers(0, 3000), st.integers(0, 3000), st.integers(64, 900))
@settings(max_examples=60, deadline=None)
def test_every_pixel_shows_the_tile_that_holds_its_centre(mpp: float, x: int, y: int, width: int) -> None:
    grid = TileGrid.covering((x, y, SIZE[0] - x - 500, SIZE[1] - y - 700), mpp, 64, 1.0)
    numbers = np.arange(grid.rows * grid.cols, dtype=float).reshape(grid.rows, grid.cols)
    height = width * SIZE[1] // SIZE[0]
    shown = on_thumbnail(numbers, grid, (width, height), SIZE)
    assert shown.shape == (height, width)
    rng = np.random.default_rng(0)
    for row, col in zip(rng.integers(0, height, 50), rng.integers(0, width, 50), strict=True):
        x_l0px, y_l0px = (col + 0.5) * SIZE[0] / width, (row + 0.5) * SIZE[1] / height
        inside = [
            (r, c)
            for r in range(max(0, int((y_l0px - y) / grid.side_l0px) - 1), grid.rows)[:3]
            for c in range(max(0, int((x_l0px - x) / grid.side_l0px) - 1), grid.cols)[:3]
            if grid.cell_origin_l0px(r, 0)[1] <= y_l0px < grid.cell_origin_l0px(r + 1, 0)[1]
            and grid.cell_origin_l0px(0, c)[0] <= x_l0px < grid.cell_origin_l0px(0, c + 1)[0]
        ]
        expected = numbers[inside[0]] if inside else np.nan
        np.testing.assert_equal(shown[row, col], expected)


def test_a_planted_mark_stands_where_it_was_planted() -> None:
    """The last tile of an odd resolution with the bounds inside the slide."""
    grid = TileGrid(64, 1.0, 0.2425, (1234, 777), 100, 140)
    marked = np.zeros((100, 140))
    marked[99, 139] = 1
    shown = on_thumbnail(marked, grid, (2000, 1500), SIZE)
    rows, cols = np.nonzero(shown == 1)
    x, y = grid.cell_origin_l0px(99, 139)
    scale = SIZE[0] / 2000
    assert cols.min() == pytest.approx(x / scale, abs=1)
    assert rows.min() == pytest.approx(y / scale, abs=1)
    assert cols.max() + 1 == pytest.approx((x + grid.side_l0px) / scale, abs=1)


def test_glass_is_not_tinted_and_high_scores_are_red() -> None:
    grid = TileGrid(64, 1.0, 1.0, (0, 0), 2, 2)
    thumbnail = np.full((2, 2, 3), 200, np.uint8)
    tinted = overlay(np.array([[np.nan, 1.0], [-1.0, 0.0]]), grid, thumbnail, (128, 128))
    assert tinted.dtype == np.uint8
    assert tinted[0, 0].tolist() == [200, 200, 200]
    red, blue = tinted[0, 1].astype(int), tinted[1, 0].astype(int)
    assert red[0] > red[2] + 30
    assert blue[2] > blue[0] + 30
