"""The score map of a slide, and its files for viewers: GeoJSON for QuPath, and a TIFF raster."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from nic.slides.grid import TileGrid

RASTER_TILE_PX = 256
UM_PER_CM, NM_PER_CM = 10_000, 10_000_000
X_POSITION, Y_POSITION, RATIONAL = 286, 287, 5
"""TIFF: where the left and upper edge of a page lie, in units of the resolution."""


@dataclass(frozen=True)
class ScoreMap:
    """The scores that a model gave to the tiles of a slide.

    scores: [rows, cols] of `grid`, NaN where there is no code. The patient's score is their mean over all slides.
    size_l0px: (width, height) of level 0. unit: of a score: log odds, log hazard, or the endpoint's own.
    """

    slide_id: str
    scores: NDArray[np.floating]
    grid: TileGrid
    size_l0px: tuple[int, int]
    unit: str = "score"

    @property
    def cell_um(self) -> float:
        """Side of the square that shows a score: of a tile, or less where tiles overlap."""
        return self.grid.stride_um


def geojson(score_map: ScoreMap, origin_l0px: tuple[int, int] = (0, 0)) -> str:
    """One square a tile with its score, in level-0 px from `origin_l0px` on (x right, y down).

    QuPath opens them as tiles with a measurement. Where a slide has bounds, its pixels begin at their corner: pass that
    corner as origin. Scores have six digits.
    """
    head = json.dumps({"slide": score_map.slide_id, "unit": score_map.unit, "origin_l0px": origin_l0px})
    squares = (json.dumps(square, separators=(",", ":")) for square in _squares(score_map, origin_l0px))
    return '{"type":"FeatureCollection","nic":' + head + ',"features":[\n' + ",\n".join(squares) + "\n]}\n"


def _squares(score_map: ScoreMap, origin_l0px: tuple[int, int]) -> Iterator[dict[str, Any]]:
    for row, col in np.argwhere(np.isfinite(score_map.scores)).tolist():
        ring = outline_l0px(score_map.grid, (row, col), (1, 1), origin_l0px)
        score = float(f"{score_map.scores[row, col]:.6g}")
        yield {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"objectType": "tile", "measurements": {"score": score}},
        }


def outline_l0px(
    grid: TileGrid, first: tuple[int, int], cells: tuple[int, int], origin_l0px: tuple[int, int]
) -> list[tuple[int, int]]:
    """The closed outline (x, y) of cells that lie together, in level-0 px from `origin_l0px` on.

    first: row and column of the first cell. cells: rows and columns.
    """
    (row, col), (rows, cols), (x, y) = first, cells, origin_l0px
    (left, top), (right, bottom) = grid.cell_origin_l0px(row, col), grid.cell_origin_l0px(row + rows, col + cols)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return [(corner_x - x, corner_y - y) for corner_x, corner_y in corners]


def write_raster(score_map: ScoreMap, path: Path) -> None:
    """A tiled TIFF, float32, one pixel a tile, NaN where there is no score.

    Its resolution is that of the tiles, and its position that of the grid on the slide. The description holds slide,
    unit and grid as JSON.
    """
    grid, per_cm = score_map.grid, UM_PER_CM / score_map.cell_um
    place = [(round(at * grid.slide_mpp / UM_PER_CM * NM_PER_CM), NM_PER_CM) for at in grid.cell_origin_l0px(0, 0)]
    about = {
        "slide": score_map.slide_id,
        "unit": score_map.unit,
        "um_per_px": score_map.cell_um,
        "slide_mpp": grid.slide_mpp,
        "origin_l0px": grid.origin_l0px,
        "side_l0px": grid.side_l0px,
        "stride_l0px": grid.stride_l0px,
    }
    tifffile.imwrite(
        path,
        score_map.scores.astype(np.float32),
        tile=(RASTER_TILE_PX, RASTER_TILE_PX),
        compression="zlib",
        photometric="minisblack",
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
        description=json.dumps(about),
        metadata=None,
        extratags=[(tag, RATIONAL, 1, at, True) for tag, at in zip((X_POSITION, Y_POSITION), place, strict=True)],
    )
