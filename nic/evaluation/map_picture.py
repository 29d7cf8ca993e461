"""A score map as a picture: tiles coloured over the slide's thumbnail, with a colour scale and a length bar."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Plot
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray
from PIL import Image

from nic.evaluation.score_map import ScoreMap
from nic.slides.grid import TileGrid

Thumbnail = NDArray[np.uint8]
INK, COLOURS, OPACITY = "#22313f", "RdBu_r", 0.7
WHITE_PX = 640
BARS_UM = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
UM_PER_MM = 1_000
PANEL_IN, HIGHEST_PANEL_IN = 4.3, 5.6


def picture(score_maps: Sequence[ScoreMap], thumbnails: Sequence[Thumbnail], title: str) -> Plot:
    """A patient's slides, one a row: the slide, and beside it the map over the grey slide. All share one colour scale.

    thumbnails: [h, w, 3] of the whole of each slide. The picture shows the part that has scores.
    """
    windows = [_scored(m, t) for m, t in zip(score_maps, thumbnails, strict=True)]
    highest = max(PANEL_IN * (bottom - top) / (right - left) for left, top, right, bottom in windows)
    size_in = (2 * PANEL_IN + 1.2, len(windows) * min(highest, HIGHEST_PANEL_IN) + 0.6)
    plot = Plot(figsize=size_in, layout="constrained")
    if title:
        plot.suptitle(title, color=INK, fontsize=12, x=0.01, ha="left")
    scores = np.concatenate([m.scores.ravel() for m in score_maps])
    scale = colour_scale(scores)
    panels = plot.subplots(len(windows), 2, squeeze=False)
    for row, score_map, thumbnail, window in zip(panels, score_maps, thumbnails, windows, strict=True):
        tinted = overlay(score_map.scores, score_map.grid, thumbnail, score_map.size_l0px, scale)
        for axes, image in zip(row, (thumbnail, tinted), strict=True):
            left, top, right, bottom = window
            axes.imshow(image)
            axes.set(xlim=(left, right), ylim=(bottom, top))
            axes.set_axis_off()
            _draw_length(axes, right - left, score_map.size_l0px[0] / thumbnail.shape[1] * score_map.grid.slide_mpp)
        row[0].set_title(score_map.slide_id, color=INK, fontsize=9, loc="left")
    colours = ScalarMappable(scale, COLOURS)
    bar = plot.colorbar(colours, ax=panels, shrink=0.75, aspect=30, pad=0.02, alpha=OPACITY)
    bar.ax.axhline(float(np.nanmean(scores)), color=INK, linewidth=1.5)
    bar.set_label(f"{score_maps[0].unit} of a tile\nline: their mean, the patient's score", color=INK, fontsize=9)
    return plot


def overlay(
    score_map: NDArray[np.floating],
    grid: TileGrid,
    thumbnail: Thumbnail,
    size_l0px: tuple[int, int],
    scale: Normalize | None = None,
) -> Thumbnail:
    """The thumbnail, uint8 [height, width, 3], tinted where tiles have scores. scale: by default that of these scores.

    The tissue is shown in grey: its pink and violet would mix with the colours of the scores.
    """
    height, width = thumbnail.shape[:2]
    scores = on_thumbnail(score_map, grid, (width, height), size_l0px)
    colours = 255 * colormaps[COLOURS]((scale or colour_scale(score_map))(scores))[..., :3]
    grey = np.repeat(cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    opacity = np.where(np.isfinite(scores), OPACITY, 0.0)[..., None]
    tinted: Thumbnail = np.rint((1 - opacity) * grey + opacity * colours).astype(np.uint8)
    return tinted


def on_thumbnail(
    score_map: NDArray[np.floating], grid: TileGrid, thumbnail_px: tuple[int, int], size_l0px: tuple[int, int]
) -> NDArray[np.float64]:
    """The score at every pixel of a thumbnail of the whole slide: [height, width], NaN where there is none.

    score_map: [rows, cols], NaN where there is no code. thumbnail_px: (width, height). size_l0px: (width, height) of
    level 0. Pixels are looked up by their centres among the tiles' own origins, so that nothing drifts.
    """
    columns = [grid.cell_origin_l0px(0, col)[0] for col in range(grid.cols + 1)]
    rows = [grid.cell_origin_l0px(row, 0)[1] for row in range(grid.rows + 1)]
    col = _tile_at(columns, thumbnail_px[0], size_l0px[0])
    row = _tile_at(rows, thumbnail_px[1], size_l0px[1])
    framed = np.pad(np.asarray(score_map, np.float64), 1, constant_values=np.nan)  # around the grid there is no score
    return framed[np.ix_(row, col)]


def colour_scale(score_map: NDArray[np.floating]) -> Normalize:
    """Blue below and red above the mean of the scores, which is the patient's score.

    The 2% of scores that are farthest from it share the last colours. Every kind of colour sight can read the scale.
    """
    middle = float(np.nanmean(score_map))
    reach = float(np.nanquantile(np.abs(score_map - middle), 0.98)) or 1.0
    return Normalize(middle - reach, middle + reach)


def png(plot: Plot, dpi: int = 130) -> bytes:
    """A plot as the bytes of a PNG."""
    content = io.BytesIO()
    plot.savefig(content, format="png", dpi=dpi, facecolor="white")
    return content.getvalue()


def overview(jpeg: NDArray[np.uint8] | None, size_l0px: tuple[int, int]) -> Thumbnail:
    """The small picture that a compressed slide carries, RGB [h, w, 3]; white where it carries none."""
    if jpeg is not None:
        with Image.open(io.BytesIO(jpeg.tobytes()), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))
    width, height = (max(1, round(side * WHITE_PX / max(size_l0px))) for side in size_l0px)
    return np.full((height, width, 3), 255, np.uint8)


def _tile_at(origins_l0px: list[int], pixels: int, size_l0px: int) -> NDArray[np.intp]:
    """For each pixel of an axis the tile that holds its centre, from 1; 0 before the first and N + 1 after the last."""
    centres = (np.arange(pixels) + 0.5) * size_l0px / pixels
    return np.searchsorted(origins_l0px, centres, side="right")


def _scored(score_map: ScoreMap, thumbnail: Thumbnail) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the tiles with scores and some margin, in pixels of the thumbnail."""
    rows, cols = np.nonzero(np.isfinite(score_map.scores))
    first = score_map.grid.cell_origin_l0px(rows.min() - 1, cols.min() - 1)
    last = score_map.grid.cell_origin_l0px(rows.max() + 2, cols.max() + 2)
    scale, (height, width) = thumbnail.shape[1] / score_map.size_l0px[0], thumbnail.shape[:2]
    left, top = (max(0.0, at * scale) for at in first)
    return left, top, min(width, last[0] * scale), min(height, last[1] * scale)


def _draw_length(axes: Axes, width_px: float, um_per_px: float) -> None:
    """A bar of a round length, about a sixth of the window."""
    length_um = min(BARS_UM, key=lambda um: abs(um - width_px * um_per_px / 6))
    text = f"{length_um / UM_PER_MM:g} mm" if length_um >= UM_PER_MM else f"{length_um} µm"
    place, font = "lower right", {"size": 8}
    bar = AnchoredSizeBar(axes.transData, length_um / um_per_px, text, place, sep=3, color=INK, fontproperties=font)
    bar.patch.set(alpha=0.75, linewidth=0)
    axes.add_artist(bar)
