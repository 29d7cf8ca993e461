"""The mean of a map is the score, and a mark in the slide stands in every file of its map where it was planted."""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import PixelEncoder, tissue_image
from leica import ODD_MPP, OFFSET_PX, write_scn
from PIL import Image

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.evaluation.map_picture import overview, picture, png
from nic.evaluation.score_map import ScoreMap, geojson, write_raster
from nic.patients.choices import Recipe
from nic.patients.cohort import Endpoint
from nic.patients.crops import PatientCells, SlideCells
from nic.patients.ensemble import fit_folds
from nic.patients.ensemble_graph import export_ensemble
from nic.patients.predictor import PatientModel
from nic.patients.targets import Classes
from nic.slides.grid import TileGrid
from nic.slides.slide import Slide, SlideSource
from nic.tasks.annotations import read_annotations


@dataclass(frozen=True)
class Marked:
    """A slide with a mark near its far corner, and the map of how dark its tiles are. mark_l0px: its middle (x, y)."""

    slide: CompressedSlide
    score_map: ScoreMap
    mark_l0px: tuple[int, int]
    bounds_l0px: tuple[int, int]


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Marked:
    image = tissue_image(4200, 3400)
    x, y, side = 3540, 2740, 234  # the last tissue before the margin; a tile and more
    image[y - side : y + side, x - side : x + side] = (70, 10, 110)
    source = SlideSource("far", write_scn(tmp_path_factory.mktemp("slides") / "far.scn", image))
    slide = compress_slide(source, PixelEncoder(), Tiling(exclude=()))
    scores = np.full(slide.valid.shape, np.nan)
    scores[slide.row, slide.col] = -slide.codes.astype(float).mean(1)
    assert slide.size_l0px
    with Slide.open(source) as opened:
        bounds = opened.bounds_l0px[:2]
    score_map = ScoreMap("far", scores, slide.grid, slide.size_l0px, "darkness")
    return Marked(slide, score_map, (x + OFFSET_PX[0], y + OFFSET_PX[1]), bounds)


def is_within_a_tile(place: Any, marked: Marked) -> bool:
    return bool(np.abs(np.subtract(place, marked.mark_l0px)).max() <= marked.score_map.grid.side_l0px)


def test_the_mark_stands_in_its_square(marked: Marked) -> None:
    squares = json.loads(geojson(marked.score_map))["features"]
    assert len(squares) == len(marked.slide.codes)
    darkest = max(squares, key=lambda square: square["properties"]["measurements"]["score"])
    corners = np.array(darkest["geometry"]["coordinates"][0])
    assert (corners[0] == corners[-1]).all()
    assert is_within_a_tile(corners[:4].mean(0), marked)
    assert darkest["properties"]["objectType"] == "tile"


def test_qupath_counts_from_the_bounds(marked: Marked) -> None:
    assert marked.bounds_l0px == OFFSET_PX
    [whole, inside] = [json.loads(geojson(marked.score_map, origin)) for origin in ((0, 0), marked.bounds_l0px)]
    first, moved = (np.array(f["features"][0]["geometry"]["coordinates"]) for f in (whole, inside))
    assert (first - moved == OFFSET_PX).all()
    assert inside["nic"]["origin_l0px"] == list(OFFSET_PX)


def test_the_reader_of_qupaths_files_finds_the_squares_again(marked: Marked, tmp_path: Path) -> None:
    (tmp_path / "far.geojson").write_text(geojson(marked.score_map, marked.bounds_l0px))
    areas = read_annotations(tmp_path / "far.geojson", (*marked.bounds_l0px, 4200, 3400))
    corners = np.array([area.rings[0][0] for area in areas])
    np.testing.assert_array_equal(corners, marked.slide.corners_l0px())


def test_squares_share_their_edges(marked: Marked) -> None:
    """Rounded as the tiles were read: neither gaps nor overlaps, to the last column."""
    squares = json.loads(geojson(marked.score_map))["features"]
    rings = np.array([square["geometry"]["coordinates"][0] for square in squares])
    corners = {tuple(ring[0]): ring for ring in rings}
    neighbours = [(ring, corners[tuple(ring[1])]) for ring in rings if tuple(ring[1]) in corners]
    assert len(neighbours) > 0.8 * len(rings)
    assert all((left[2] == right[3]).all() for left, right in neighbours)


def test_the_file_is_small(marked: Marked) -> None:
    assert len(geojson(marked.score_map)) < 220 * len(marked.slide.codes)


def test_the_mark_stands_in_the_raster(marked: Marked, tmp_path: Path) -> None:
    write_raster(marked.score_map, tmp_path / "map.tif")
    with tifffile.TiffFile(tmp_path / "map.tif") as file:
        page = file.pages[0].aspage()
        scores, tags = page.asarray(), page.tags
        assert page.is_tiled
        assert page.dtype == np.float32
        assert page.resolutionunit == 3  # centimetre
        um_per_px = 1e4 / page.get_resolution()[0]
        left_um, upper_um = (1e4 * tags[name].value[0] / tags[name].value[1] for name in ("XPosition", "YPosition"))
        about = json.loads(page.description)
    assert um_per_px == pytest.approx(64, rel=1e-6)
    assert (about["origin_l0px"], about["unit"]) == (list(OFFSET_PX), "darkness")
    np.testing.assert_array_equal(np.isnan(scores), ~marked.slide.valid)
    np.testing.assert_allclose(scores[marked.slide.valid], marked.score_map.scores[marked.slide.valid], rtol=1e-6)
    row, col = np.unravel_index(np.nanargmax(scores), scores.shape)
    middle_um = left_um + (col + 0.5) * um_per_px, upper_um + (row + 0.5) * um_per_px
    assert is_within_a_tile(np.array(middle_um) / ODD_MPP, marked)


def test_the_mark_stands_in_the_picture(marked: Marked) -> None:
    """The red pixels of the right-hand panel, as they are drawn."""
    darkest = np.where(marked.slide.valid, marked.score_map.scores == np.nanmax(marked.score_map.scores), np.nan)
    thumbnail = overview(marked.slide.overview, marked.score_map.size_l0px)
    plot = picture([replace(marked.score_map, scores=darkest)], [thumbnail], "darkness")
    with Image.open(io.BytesIO(png(plot, dpi=100))) as image:  # of a plot's own pixels
        drawn = np.asarray(image.convert("RGB"), float)
    panel = plot.axes[1]
    red = np.argwhere(drawn[..., 0] - drawn[..., 1:].mean(-1) > 60)[:, ::-1] + 0.5
    x, y = panel.transData.inverted().transform(red * (1, -1) + (0, drawn.shape[0])).T
    left, right = panel.get_xlim()
    inside = (left < x) & (x < right)
    place = np.array([np.median(x[inside]), np.median(y[inside])]) * marked.score_map.size_l0px[0] / thumbnail.shape[1]
    assert is_within_a_tile(place, marked)


def test_the_picture_shows_lengths_and_units(marked: Marked) -> None:
    thumbnail = overview(None, marked.score_map.size_l0px)
    assert (thumbnail == 255).all()
    plot = picture([marked.score_map, marked.score_map], [thumbnail, thumbnail], "patient 7")
    plot.canvas.draw()
    texts = {text.get_text() for text in plot.findobj(lambda a: hasattr(a, "get_text"))}
    assert {"patient 7", "200 µm"} <= texts  # about a sixth of a millimetre and more
    assert any("darkness of a tile" in text for text in texts)


def test_the_mean_of_every_file_is_the_score(tmp_path: Path) -> None:
    """Through the exported graph: two slides of a patient, of a class, whose map is of log odds."""
    encoder = EncoderSpec(8, 64, 1.0, 0.5, "multitask", (), "a" * 64)
    rng = np.random.default_rng(0)
    slides = [small_slide(f"s{n}", encoder, rng) for n in range(8)]
    targets = Classes(np.arange(8) % 2 == 0, ("a", "b"))
    cells = [PatientCells(slide.slide_id, (SlideCells.of(slide),)) for slide in slides]
    ensemble = fit_folds(cells, targets, Recipe(epochs=2), folds=2)
    endpoint = Endpoint("pattern", "classification", ("pattern",), positive="b")
    graph = tmp_path / "patient.onnx"
    export_ensemble(
        ensemble, endpoint, targets, cohort_digest="c", encoder=encoder, encoder_version="nic-encoder/1", path=graph
    )
    answer = PatientModel(graph).predict(slides[:2])
    score = answer.score
    maps = [ScoreMap(s.slide_id, m, s.grid, (999, 999)) for s, m in zip(slides, answer.score_maps, strict=False)]
    squares = [square for m in maps for square in json.loads(geojson(m))["features"]]
    assert np.mean([s["properties"]["measurements"]["score"] for s in squares]) == pytest.approx(score, abs=1e-5)
    for number, score_map in enumerate(maps):
        write_raster(score_map, tmp_path / f"{number}.tif")
    cells = np.concatenate([tifffile.imread(tmp_path / f"{number}.tif").ravel() for number in range(2)])
    assert np.nanmean(cells, dtype=float) == pytest.approx(score, abs=1e-5)


def small_slide(slide_id: str, encoder: EncoderSpec, rng: np.random.Generator) -> CompressedSlide:
    shape = int(rng.integers(4, 9)), int(rng.integers(4, 9))
    tissue = rng.random(shape) < 0.7
    row, col = (a.astype(np.int32) for a in np.nonzero(tissue))
    codes = rng.normal(size=(len(row), encoder.code_size)).astype(np.float16)
    grid = TileGrid(64, 1.0, ODD_MPP, (5, 9), *shape)
    return CompressedSlide(
        slide_id, codes, row, col, grid, tissue, np.zeros(shape, bool), encoder, slide_id, Tiling(encoder.tile_um)
    )
