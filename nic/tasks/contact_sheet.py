"""Contact sheets: rows of tiles as a picture, with captions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray

Tiles = NDArray[np.uint8]
INK, GOOD, BAD, PLAIN = "#22313f", "#2f855a", "#c2503f", "0.45"
GAP_PX, TILE_INCH, LABEL_INCH, CAPTION_INCH = 4, 0.82, 1.3, 0.27


@dataclass(frozen=True)
class Caption:
    """Words under a tile."""

    text: str
    colour: str = PLAIN


@dataclass(frozen=True)
class TileRow:
    """tiles: uint8 [N, px, px, 3]. label: to their left. captions: one under each, or none. above: free space.

    A caption has two lines at most.
    """

    label: str
    tiles: Tiles
    captions: tuple[Caption, ...] = ()
    above: bool = False


def contact_sheet(rows: Sequence[TileRow], title: str) -> Plot:
    """Tiles in rows, all of one size."""
    columns = max(len(row.tiles) for row in rows)
    heights = [TILE_INCH + CAPTION_INCH * bool(row.captions) + 0.14 * row.above for row in rows]
    width, height, head = LABEL_INCH + columns * TILE_INCH + 0.1, sum(heights) + 0.55, 0.45
    plot = Plot(figsize=(width, height), dpi=120)
    plot.suptitle(title, x=0.1 / width, y=1 - 0.12 / height, ha="left", va="top", color=INK, fontsize=10)
    top = height - head
    for row, tall in zip(rows, heights, strict=True):
        top -= 0.14 * row.above
        wide = len(row.tiles) * TILE_INCH
        axes = plot.add_axes((LABEL_INCH / width, (top - TILE_INCH) / height, wide / width, TILE_INCH / height))
        _draw(axes, row)
        top -= tall - 0.14 * row.above
    return plot


def _draw(axes: Axes, row: TileRow) -> None:
    px = row.tiles.shape[1]
    axes.imshow(_strip(row.tiles), interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    axes.text(-6, px / 2, row.label, ha="right", va="center", color=INK, fontsize=8)
    for place, caption in enumerate(row.captions):
        middle = place * (px + GAP_PX) + px / 2
        axes.text(middle, px + 3, caption.text, ha="center", va="top", color=caption.colour, fontsize=5.5)


def _strip(tiles: Tiles) -> Tiles:
    """[N, px, px, 3] side by side on white, [px + gap, N * (px + gap), 3]."""
    framed = np.pad(tiles, ((0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)
    return np.concatenate(list(framed), axis=1)


def augmentation_sheet(originals: Mapping[str, Tiles], augmented: Mapping[str, Tiles], strength: str) -> Plot:
    """For each task the original tiles [N, ...], and below them their augmented copies [copies, N, ...]."""
    rows: list[TileRow] = []
    for task, tiles in originals.items():
        rows.append(TileRow(f"{task}\nas it is", tiles, above=bool(rows)))
        rows += [TileRow("augmented", copy) for copy in augmented[task]]
    return contact_sheet(rows, f"Augmentation, strength {strength!r}: each column one tile")
