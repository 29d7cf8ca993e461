"""Score maps as pictures: beside their slides, with a scale of colours and one of lengths."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray
from PIL import Image

from nic.evaluation.heatmap import COLOURS, OPACITY, colour_scale, overlay
from nic.evaluation.score_map import ScoreMap

Thumbnail = NDArray[np.uint8]
INK = "#22313f"
WHITE_PX = 640
BARS_UM = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
UM_PER_MM = 1_000
PANEL_IN, HIGHEST_PANEL_IN = 4.3, 5.6


def picture(score_maps: Sequence[ScoreMap], thumbnails: Sequence[Thumbnail], title: str) -> Figure:
    """A patient's slides, one a row, each beside its map over the grey slide, with one scale of colours for all.

    thumbnails: [h, w, 3] of the whole of each slide; what is shown is where there are scores.
    """
    windows = [_scored(m, t) for m, t in zip(score_maps, thumbnails, strict=True)]
    highest = max(PANEL_IN * (bottom - top) / (right - left) for left, top, right, bottom in windows)
    size_in = (2 * PANEL_IN + 1.2, len(windows) * min(highest, HIGHEST_PANEL_IN) + 0.6)
    figure = Figure(figsize=size_in, layout="constrained")
    if title:
        figure.suptitle(title, color=INK, fontsize=12, x=0.01, ha="left")
    scores = np.concatenate([m.scores.ravel() for m in score_maps])
    scale = colour_scale(scores)
    panels = figure.subplots(len(windows), 2, squeeze=False)
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
    bar = figure.colorbar(colours, ax=panels, shrink=0.75, aspect=30, pad=0.02, alpha=OPACITY)
    bar.ax.axhline(float(np.nanmean(scores)), color=INK, linewidth=1.5)
    bar.set_label(f"{score_maps[0].unit} of a tile\nline: their mean, the patient's score", color=INK, fontsize=9)
    return figure


def png(figure: Figure, dpi: int = 130) -> bytes:
    """A figure as the bytes of a PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, facecolor="white")
    return content.getvalue()


def overview(jpeg: NDArray[np.uint8] | None, size_l0px: tuple[int, int]) -> Thumbnail:
    """The picture that a compressed slide carries, RGB [h, w, 3]; white paper where it carries none."""
    if jpeg is not None:
        with Image.open(io.BytesIO(jpeg.tobytes()), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))
    width, height = (max(1, round(side * WHITE_PX / max(size_l0px))) for side in size_l0px)
    return np.full((height, width, 3), 255, np.uint8)


def _scored(score_map: ScoreMap, thumbnail: Thumbnail) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the tiles with scores and some margin, in pixels of the thumbnail."""
    rows, cols = np.nonzero(np.isfinite(score_map.scores))
    first = score_map.grid.cell_origin_l0px(rows.min() - 1, cols.min() - 1)
    last = score_map.grid.cell_origin_l0px(rows.max() + 2, cols.max() + 2)
    scale, (height, width) = thumbnail.shape[1] / score_map.size_l0px[0], thumbnail.shape[:2]
    left, top = (max(0.0, at * scale) for at in first)
    return left, top, min(width, last[0] * scale), min(height, last[1] * scale)


def _draw_length(axes: Axes, width_px: float, um_per_px: float) -> None:
    """A bar of a round length, about a sixth of what is shown."""
    length_um = min(BARS_UM, key=lambda um: abs(um - width_px * um_per_px / 6))
    text = f"{length_um / UM_PER_MM:g} mm" if length_um >= UM_PER_MM else f"{length_um} µm"
    place, font = "lower right", {"size": 8}
    bar = AnchoredSizeBar(axes.transData, length_um / um_per_px, text, place, sep=3, color=INK, fontproperties=font)
    bar.patch.set(alpha=0.75, linewidth=0)
    axes.add_artist(bar)
