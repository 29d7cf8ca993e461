"""The glimpses of a network as a picture: their places on the slide, numbered in their order."""

import numpy as np
from matplotlib.figure import Figure as Plot
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from nic.evaluation.map_picture import INK, PANEL_IN, Thumbnail
from nic.slides.grid import TileGrid

PATH, GLIMPSE_CELLS = "#c0392b", 9
"""Colour of the path, and the cells across that a glimpse shows."""


def path_picture(
    path: NDArray[np.integer], grid: TileGrid, thumbnail: Thumbnail, size_l0px: tuple[int, int], title: str = ""
) -> Plot:
    """The thumbnail, or a map on it: a square for what each glimpse shows, its number, and a line to the next one.

    path: [G, 2], row and column on the grid, as `nic.patients.glimpses.glimpse_path` returns it. thumbnail: [h, w, 3]
    of the whole slide. size_l0px: (width, height) of level 0.
    """
    height, width = thumbnail.shape[:2]
    plot = Plot(figsize=(PANEL_IN, PANEL_IN * height / width + 0.4), layout="constrained")
    axes = plot.subplots()
    axes.imshow(thumbnail)
    middles = centres_px(path, grid, width / size_l0px[0])
    side = GLIMPSE_CELLS * grid.stride_l0px * width / size_l0px[0]
    axes.plot(*middles.T, color=PATH, linewidth=1)
    halo = [withStroke(linewidth=2, foreground="white")]
    for number, (x, y) in enumerate(middles, start=1):
        axes.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, fill=False, edgecolor=PATH, linewidth=1))
        axes.annotate(str(number), (x, y), (4, 4), textcoords="offset points", color=PATH, path_effects=halo)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    axes.set_title(title, color=INK, fontsize=9, loc="left")
    return plot


def centres_px(path: NDArray[np.integer], grid: TileGrid, px_per_l0px: float) -> NDArray[np.float64]:
    """The middle of each tile of a path in pixels of a thumbnail: [G, 2], x and y."""
    corners = [grid.cell_origin_l0px(int(row), int(col)) for row, col in path]
    return (np.array(corners, np.float64) + grid.side_l0px / 2) * px_per_l0px
