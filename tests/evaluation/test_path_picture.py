"""The path of glimpses lies on the tiles that it names."""

import numpy as np
from matplotlib.patches import Rectangle

from nic.evaluation.map_picture import on_thumbnail
from nic.evaluation.path_picture import centres_px, path_picture
from nic.slides.grid import TileGrid

SIZE = (40_000, 30_000)
GRID = TileGrid(64, 1.0, 0.2425, (1234, 777), 100, 140)
PATH = np.array([[50, 70], [99, 139], [0, 0]])


def test_each_middle_lies_on_the_tile_that_the_map_shows_there() -> None:
    numbers = np.arange(14_000.0).reshape(100, 140)
    shown = on_thumbnail(numbers, GRID, (2000, 1500), SIZE)
    x, y = centres_px(PATH, GRID, 2000 / SIZE[0]).astype(int).T
    np.testing.assert_array_equal(shown[y, x], numbers[tuple(PATH.T)])


def test_a_picture_has_a_number_and_a_square_for_each_glimpse_and_a_line_through_them() -> None:
    thumbnail = np.full((1500, 2000, 3), 240, np.uint8)
    (axes,) = path_picture(PATH, GRID, thumbnail, SIZE, "slide A").axes
    middles = centres_px(PATH, GRID, 2000 / SIZE[0])
    np.testing.assert_allclose(np.array(axes.lines[0].get_xydata()), middles)
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
    squares = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose([square.get_center() for square in squares], middles)
    assert axes.get_title(loc="left") == "slide A"
