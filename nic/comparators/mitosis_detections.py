"""Mitoses detected on one compressed slide, its densest window, and both as GeoJSON."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.task_heads import TaskHeads
from nic.errors import EncoderError, ForeignCodes, NoTissue
from nic.evaluation.score_map import outline_l0px
from nic.slides.grid import TileGrid

Counts = NDArray[np.int64]
WINDOW = "densest window"
"""Class of the window's outline in GeoJSON."""


@dataclass(frozen=True)
class MitosisOptions:
    """How mitoses are counted.

    task: the tile task whose head is used. positive: its class that is counted; empty: the class of the task's own
    name, else the second of two. window_mm2: area of the square that slides over the tissue; guidelines count in 2 mm2,
    which small slides do not have. thresholds: least probabilities of a detection, of which training patients choose
    one; by default in steps of half a log odds, because heads differ in how sure they are. Raises EncoderError for
    numbers that are impossible.
    """

    task: str = "mitosis"
    positive: str = ""
    window_mm2: float = 1.0
    thresholds: tuple[float, ...] = (0.5, 0.62, 0.73, 0.82, 0.88, 0.92, 0.95, 0.97, 0.98, 0.99, 0.993, 0.996, 0.998)

    def __post_init__(self) -> None:
        if not 0 < self.window_mm2 < math.inf:
            raise EncoderError(f"window_mm2={self.window_mm2:g}: wanted an area above 0")
        if not self.thresholds or not all(0 < threshold < 1 for threshold in self.thresholds):
            raise EncoderError(f"thresholds={self.thresholds}: wanted at least one probability between 0 and 1")


@dataclass(frozen=True)
class Detections:
    """Cells of a slide's grid that show a mitosis, the most probable first.

    row, col: int32 [M]. probability: float32 [M]. class_name: what was detected.
    """

    row: NDArray[np.int32]
    col: NDArray[np.int32]
    probability: NDArray[np.float32]
    class_name: str

    def __len__(self) -> int:
        return len(self.row)

    def at_least(self, threshold: float) -> "Detections":
        """Those of this probability or more: what a detection with this threshold gives."""
        kept = self.probability >= threshold
        return replace(self, row=self.row[kept], col=self.col[kept], probability=self.probability[kept])

    def centres_l0px(self, grid: TileGrid) -> NDArray[np.float64]:
        """(x, y) of the middle of each detection's tile, [M, 2]."""
        corners = [grid.tile_origin_l0px(int(row), int(col)) for row, col in zip(self.row, self.col, strict=True)]
        return np.array(corners, np.float64).reshape(-1, 2) + grid.side_l0px / 2


@dataclass(frozen=True)
class DensestWindow:
    """The window of a slide with the most detections for its tissue.

    row, col: its first cell. rows, cols: its size in cells. count: detections in it. tissue_mm2: area of its cells that
    have a code.
    """

    row: int
    col: int
    rows: int
    cols: int
    count: int
    tissue_mm2: float

    @property
    def per_mm2(self) -> float:
        """Detections per mm2 of tissue."""
        return self.count / self.tissue_mm2


def positive_class(task: str, classes: Sequence[str], named: str) -> int:
    """Place of the class that is counted, see MitosisOptions.positive. Raises EncoderError where it is not known."""
    alike = [place for place, name in enumerate(classes) if name.casefold() == (named or task).casefold()]
    if len(alike) == 1:
        return alike[0]
    if not named and len(classes) == 2:
        return 1
    beginning = f"no class {named!r}" if named else "which class is counted is not known"
    raise EncoderError(
        f"task {task!r}: {beginning}; its classes are {', '.join(classes)}; name one of them as positive"
    )


def detect_mitoses(slide: CompressedSlide, heads: TaskHeads, options: MitosisOptions, threshold: float) -> Detections:
    """Cells whose probability reaches the threshold, without those that share pixels with a more probable one.

    The most probable cell is kept, cells whose tiles overlap its tile are dropped, and so on. Of equal ones the first
    by (row, col) is kept. Tiles that lie side by side share nothing: each counts for itself, and a mitosis near an edge
    is seen by no tile in its middle; with overlap_px of half a tile each is in the middle of one. Raises ForeignCodes
    for codes of another encoder, EncoderError for a task without a head or a class that is not known.
    """
    if slide.encoder.sha256 != heads.encoder_sha256:
        raise ForeignCodes(
            f"{slide.slide_id}: codes of encoder {slide.encoder.sha256[:12]}, task heads of encoder "
            f"{heads.encoder_sha256[:12]}; compress the slide with the encoder of the heads"
        )
    probabilities = heads.probabilities(options.task, slide.codes)
    classes = heads.tasks[options.task]
    positive = positive_class(options.task, classes, options.positive)
    probability = probabilities[:, positive]
    likely = np.flatnonzero(probability >= threshold)
    order = likely[np.argsort(-probability[likely], kind="stable")]
    kept = order[_apart(slide.row[order], slide.col[order], slide.grid)]
    return Detections(slide.row[kept], slide.col[kept], probability[kept], classes[positive])


def _apart(row: NDArray[np.int32], col: NDArray[np.int32], grid: TileGrid) -> NDArray[np.bool_]:
    """Which of the cells, taken in their order, share no pixels with one taken before: bool [M]."""
    reach = math.ceil(grid.tile_px / (grid.tile_px - grid.overlap_px)) - 1  # cells away that a tile still overlaps
    covered = np.zeros((grid.rows + 2 * reach, grid.cols + 2 * reach), np.bool_)
    kept = np.zeros(len(row), np.bool_)
    for place, (r, c) in enumerate(zip(row.tolist(), col.tolist(), strict=True)):
        if not covered[r + reach, c + reach]:
            kept[place] = True
            covered[r : r + 2 * reach + 1, c : c + 2 * reach + 1] = True
    return kept


def densest_window(slide: CompressedSlide, detections: Detections, window_mm2: float) -> DensestWindow:
    """The square of about window_mm2 with the most detections per mm2 of tissue; of equal ones the first by (row, col).

    Its side is a whole number of cells; it does not leave the grid, and is smaller where the grid is. Windows with less
    than half the tissue of the fullest one are left out: few cells at the edge of a section would have any density.
    Raises NoTissue where no cell has a code.
    """
    if not len(slide.codes):
        raise NoTissue(f"{slide.slide_id}: no cell has a code")
    grid, cell_mm2 = slide.grid, (slide.grid.stride_um / 1000) ** 2
    side = max(1, round(math.sqrt(window_mm2 / cell_mm2)))
    rows, cols = min(side, grid.rows), min(side, grid.cols)
    detected = np.zeros((grid.rows, grid.cols), np.int64)
    detected[detections.row, detections.col] = 1
    count, cells = (_window_sums(of_cell, rows, cols) for of_cell in (detected, slide.valid.astype(np.int64)))
    full = 2 * cells >= cells.max()
    density = np.where(full, count / np.maximum(cells, 1), -1.0)
    row, col = (int(axis) for axis in np.unravel_index(density.argmax(), density.shape))
    return DensestWindow(row, col, rows, cols, int(count[row, col]), float(cells[row, col] * cell_mm2))


def _window_sums(values: Counts, rows: int, cols: int) -> Counts:
    """Sums over all windows of rows x cols cells, by their first cell."""
    total: Counts = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return total[rows:, cols:] - total[:-rows, cols:] - total[rows:, :-cols] + total[:-rows, :-cols]


def candidates_geojson(
    slide: CompressedSlide, detections: Detections, window: DensestWindow, origin_l0px: tuple[int, int] = (0, 0)
) -> str:
    """Detections as squares with their probability, and the window's outline, in level-0 px from `origin_l0px` on.

    QuPath opens them as detections of a class with a measurement, and as an annotation. A square is the detection's
    cell: the tile, or the middle of the tile where tiles overlap. Where a slide has bounds, QuPath's pixels begin at
    their corner: pass that corner as origin.
    """
    head = json.dumps({"slide": slide.slide_id, "unit": "probability", "origin_l0px": origin_l0px})
    features = [_window_feature(slide.grid, window, origin_l0px), *_features(slide.grid, detections, origin_l0px)]
    lines = (json.dumps(feature, separators=(",", ":")) for feature in features)
    return '{"type":"FeatureCollection","nic":' + head + ',"features":[\n' + ",\n".join(lines) + "\n]}\n"


def _features(grid: TileGrid, detections: Detections, origin_l0px: tuple[int, int]) -> Iterator[dict[str, Any]]:
    cells = zip(detections.row.tolist(), detections.col.tolist(), detections.probability.tolist(), strict=True)
    for row, col, probability in cells:
        ring = outline_l0px(grid, (row, col), (1, 1), origin_l0px)
        yield _feature("detection", ring, detections.class_name, {"probability": float(f"{probability:.6g}")})


def _window_feature(grid: TileGrid, window: DensestWindow, origin_l0px: tuple[int, int]) -> dict[str, Any]:
    ring = outline_l0px(grid, (window.row, window.col), (window.rows, window.cols), origin_l0px)
    figures = {"count": window.count, "tissue mm2": window.tissue_mm2, "per mm2": window.per_mm2}
    return _feature("annotation", ring, WINDOW, {name: float(f"{value:.6g}") for name, value in figures.items()})


def _feature(kind: str, ring: list[tuple[int, int]], name: str, measurements: dict[str, float]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": kind, "classification": {"name": name}, "measurements": measurements},
    }
