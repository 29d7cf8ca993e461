"""Detections, windows and places on grids that were made, against rules written a second time."""

import json
from pathlib import Path

import numpy as np
import pytest
from mitosis_slides import made_heads, made_slide, with_mitoses
from numpy.typing import NDArray

from nic.comparators.mitosis_detections import (
    WINDOW,
    Detections,
    MitosisOptions,
    candidates_geojson,
    densest_window,
    detect_mitoses,
    positive_class,
)
from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.task_heads import TaskHeads
from nic.errors import EncoderError, ForeignCodes
from nic.tasks.annotations import read_annotations

OPTIONS = MitosisOptions()


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> TaskHeads:
    return made_heads(tmp_path_factory.mktemp("heads"))


def cells_of(detections: Detections) -> list[tuple[int, int]]:
    return list(zip(detections.row.tolist(), detections.col.tolist(), strict=True))


def by_pairs(slide: CompressedSlide, threshold: float) -> list[tuple[int, int]]:
    """The same rule by comparing every pair of tiles in um: the next most probable that touches none before it."""
    odds = slide.codes[:, 1].astype(np.float32)
    probability = 1 / (1 + np.exp(-odds.astype(np.float64)))
    cells = sorted((-float(o), int(r), int(c)) for o, r, c in zip(odds, slide.row, slide.col, strict=True))
    likely = {(int(r), int(c)) for p, r, c in zip(probability, slide.row, slide.col, strict=True) if p >= threshold}
    kept: list[tuple[int, int]] = []
    for _, row, col in cells:
        apart = all(max(abs(row - r), abs(col - c)) * slide.grid.stride_um >= slide.grid.tile_px for r, c in kept)
        if (row, col) in likely and apart:
            kept.append((row, col))
    return kept


@pytest.mark.parametrize("overlap_px", [0, 16, 32, 40, 48])
def test_of_tiles_that_share_pixels_the_most_probable_is_kept(overlap_px: int, heads: TaskHeads) -> None:
    rng = np.random.default_rng(overlap_px)
    odds = rng.integers(-6, 6, (23, 17)) / 2.0  # many are equal
    odds[rng.random(odds.shape) < 0.2] = np.nan
    slide = made_slide(odds, overlap_px)
    detections = detect_mitoses(slide, heads, OPTIONS, 0.6)
    assert cells_of(detections) == by_pairs(slide, 0.6)
    assert len(detections) < (odds > 0).sum() or overlap_px == 0
    assert (np.diff(detections.probability) <= 0).all()


def test_a_higher_threshold_keeps_some_of_the_same_detections(heads: TaskHeads) -> None:
    slide = made_slide(np.random.default_rng(0).normal(0, 3, (20, 20)))
    lower = detect_mitoses(slide, heads, OPTIONS, 0.5)
    for threshold in (0.7, 0.9, 0.99):
        higher = detect_mitoses(slide, heads, OPTIONS, threshold)
        assert cells_of(higher) == cells_of(lower.at_least(threshold))
        assert 0 < len(higher) < len(lower)


def test_planted_mitoses_are_counted_where_they_are_densest(heads: TaskHeads) -> None:
    near = np.array([(r, c) for r in (20, 23, 26) for c in (30, 33, 36)])
    far = np.array([(2, 2), (2, 50), (50, 2)])
    slide = made_slide(
        with_mitoses((60, 60), np.concatenate([near, near + np.array([0, 1]), far]))
    )  # seen by two tiles each
    detections = detect_mitoses(slide, heads, OPTIONS, 0.9)
    assert len(detections) == 12
    window = densest_window(slide, detections, 0.1)  # ten cells of 32 um across
    assert (window.rows, window.cols, window.count) == (10, 10, 9)
    assert window.tissue_mm2 == pytest.approx(0.1024)
    assert window.per_mm2 == pytest.approx(9 / 0.1024)


def densest_by_trial(
    valid: NDArray[np.bool_], cells: list[tuple[int, int]], side: int, stride_um: float
) -> tuple[int, int, int, float]:
    """Row, column, count and mm2 of the densest window, by counting in every window."""
    rows, cols = valid.shape
    height, width = min(side, rows), min(side, cols)
    windows = []
    for row in range(rows - height + 1):
        for col in range(cols - width + 1):
            tissue = sum(valid[r, c] for r in range(row, row + height) for c in range(col, col + width))
            count = sum(row <= r < row + height and col <= c < col + width for r, c in cells)
            windows.append((row, col, count, int(tissue)))
    fullest = max(tissue for *_, tissue in windows)
    allowed = [window for window in windows if window[3] >= fullest / 2]
    row, col, count, tissue = max(allowed, key=lambda w: (w[2] / w[3], -w[0], -w[1]))
    return row, col, count, tissue * (stride_um / 1000) ** 2


@pytest.mark.parametrize(("overlap_px", "window_mm2", "side"), [(0, 0.15, 6), (32, 0.05, 7), (32, 0.2, 14), (0, 9, 47)])
def test_the_densest_window_is_that_of_all_windows(
    overlap_px: int, window_mm2: float, side: int, heads: TaskHeads
) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        odds = rng.normal(-3, 3, (19, 26))
        odds[(np.indices(odds.shape).sum(0) < 9) | (rng.random(odds.shape) < 0.3)] = np.nan
        slide = made_slide(odds, overlap_px)
        detections = detect_mitoses(slide, heads, OPTIONS, 0.5)
        window = densest_window(slide, detections, window_mm2)
        trial = densest_by_trial(slide.valid, cells_of(detections), side, slide.grid.stride_um)
        assert (window.row, window.col, window.count) == trial[:3]
        assert window.tissue_mm2 == pytest.approx(trial[3])


def test_a_lonely_cell_at_the_edge_is_not_the_densest_window(heads: TaskHeads) -> None:
    odds = with_mitoses((40, 40), np.array([(0, 0), (30, 30), (30, 34)]))
    odds[:10] = odds[:, :10] = np.nan
    odds[0, 0] = 4.0
    slide = made_slide(odds, overlap_px=0)
    window = densest_window(slide, detect_mitoses(slide, heads, OPTIONS, 0.9), 0.4096)
    assert (window.rows, window.count) == (10, 2)


def test_the_file_has_every_detection_at_its_place_and_the_window(heads: TaskHeads, tmp_path: Path) -> None:
    mpp, origin = 0.2425, (1234, 777)
    planted = np.array([(3, 5), (17, 40), (58, 59)])
    slide = made_slide(with_mitoses((60, 61), planted, 3.0), 32, "a", mpp, origin)
    detections = detect_mitoses(slide, heads, OPTIONS, 0.9)
    window = densest_window(slide, detections, 0.25)
    path = tmp_path / "a.geojson"
    path.write_text(candidates_geojson(slide, detections, window))
    first, *others = read_annotations(path, (0, 0, 1, 1))
    assert [area.label for area in (first, *others)] == [WINDOW, "mitosis", "mitosis", "mitosis"]
    # Written anew in um: a tile is 64 um wide, the next begins 32 um on.
    middles_l0px = np.array(origin) + (planted[:, ::-1] * 32 + 32) / mpp
    drawn = np.array([area.rings[0][:4].mean(0) for area in others])
    assert np.abs(drawn - middles_l0px).max() <= 1
    assert np.abs(detections.centres_l0px(slide.grid) - middles_l0px).max() <= 0.5 + 1e-9
    sides = np.array([np.ptp(area.rings[0], axis=0) for area in others])
    assert np.abs(sides - 32 / mpp).max() <= 1
    corner, side = first.rings[0].min(0), np.ptp(first.rings[0], axis=0)
    assert np.abs(corner - (np.array(origin) + (np.array([window.col, window.row]) * 32 + 16) / mpp)).max() <= 1
    assert np.abs(side - 16 * 32 / mpp).max() <= 1
    [outline, *squares] = json.loads(path.read_text())["features"]
    assert outline["properties"]["measurements"] == pytest.approx(
        {"count": window.count, "tissue mm2": window.tissue_mm2, "per mm2": window.per_mm2}, rel=1e-5
    )
    probabilities = [square["properties"]["measurements"]["probability"] for square in squares]
    assert probabilities == pytest.approx([1 / (1 + np.exp(-3))] * 3, rel=1e-5)
    assert {square["properties"]["objectType"] for square in squares} == {"detection"}


def test_places_can_be_counted_from_the_corner_of_the_bounds(heads: TaskHeads, tmp_path: Path) -> None:
    slide = made_slide(with_mitoses((9, 9), np.array([(4, 4)])), origin_l0px=(500, 300))
    detections = detect_mitoses(slide, heads, OPTIONS, 0.9)
    window = densest_window(slide, detections, 0.05)
    whole, cropped = tmp_path / "whole.geojson", tmp_path / "cropped.geojson"
    whole.write_text(candidates_geojson(slide, detections, window))
    cropped.write_text(candidates_geojson(slide, detections, window, (500, 300)))
    areas = zip(read_annotations(whole, (0, 0, 1, 1)), read_annotations(cropped, (500, 300, 1, 1)), strict=True)
    assert all(np.array_equal(one.rings[0], other.rings[0]) for one, other in areas)


def test_the_class_that_is_counted() -> None:
    assert positive_class("mitosis", ("mitosis", "other"), "") == 0
    assert positive_class("mitosis", ("Mitosis", "other"), "") == 0
    assert positive_class("figures", ("no", "yes"), "") == 1
    assert positive_class("cells", ("a", "b", "c"), "b") == 1
    with pytest.raises(EncoderError, match="'cells': which class is counted is not known; its classes are a, b, c;"):
        positive_class("cells", ("a", "b", "c"), "")
    with pytest.raises(EncoderError, match="no class 'd'"):
        positive_class("cells", ("a", "b"), "d")


def test_heads_of_another_encoder_or_task_are_refused(heads: TaskHeads, tmp_path: Path) -> None:
    slide = made_slide(np.zeros((3, 3)))
    stranger = made_heads(tmp_path, sha256="b" * 64)
    with pytest.raises(ForeignCodes, match="s: codes of encoder aaaaaaaaaaaa, task heads of encoder bbbbbbbbbbbb"):
        detect_mitoses(slide, stranger, OPTIONS, 0.5)
    with pytest.raises(EncoderError, match=r"heads\.onnx: no head of task 'grade'; this encoder was taught mitosis"):
        detect_mitoses(slide, heads, MitosisOptions(task="grade"), 0.5)


@pytest.mark.parametrize(
    "fields", [{"window_mm2": 0.0}, {"window_mm2": float("nan")}, {"thresholds": ()}, {"thresholds": (0.5, 1.0)}]
)
def test_impossible_options_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(EncoderError, match="wanted"):
        MitosisOptions(**fields)  # type: ignore[arg-type]
