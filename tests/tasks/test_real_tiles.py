"""The layouts on data that others made: the study of real tiles, and outlines on a real slide."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from nic.slides.slide import Slide, SlideSource
from nic.study import read_study
from nic.tasks.entries import SlidesEntry
from nic.tasks.read_task import read_task
from nic.tasks.tile_source import TileField
from nic.tasks.tile_task import TileSet, load_tiles, split

STUDY = Path(__file__).resolve().parents[2] / "studies" / "real_tiles.yaml"


@pytest.fixture(scope="module")
def tile_sets(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TileSet]:
    cache = tmp_path_factory.mktemp("tiles")
    study = read_study(STUDY)
    assert study.root == shared_data.resolve()
    tasks = [read_task(entry) for entry in study.tile_tasks]
    return {task.name: load_tiles(task, 64, 1.0, cache) for task in tasks}


def test_every_tile_has_its_class(tile_sets: dict[str, TileSet]) -> None:
    """Counts as the sources' own descriptions give them."""
    counts = {
        name: dict(zip(tiles.task.classes, np.bincount(tiles.labels).tolist(), strict=True))
        for name, tiles in tile_sets.items()
    }
    assert counts["mitosis"] == {"other": 1963 - 398, "mitosis": 398}
    assert counts["metastasis"] == {"normal": 500, "metastasis": 500}
    assert counts["epithelium"] == {"other": 1922 + 1925, "epithelium": 2780}
    assert counts["tissue"] == dict.fromkeys(("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"), 7)


def test_groups_are_slides_and_patients_where_they_are_known(tile_sets: dict[str, TileSet]) -> None:
    count = {name: len(set(tiles.groups)) for name, tiles in tile_sets.items()}
    assert count == {"mitosis": 79, "metastasis": 1000, "epithelium": 19, "tissue": 63}
    for tiles in tile_sets.values():
        train, validation = split(tiles, 0.2, 0)
        assert not set(tiles.groups[train]) & set(tiles.groups[validation])


def test_a_cell_is_in_the_middle_of_its_tile(tile_sets: dict[str, TileSet], shared_data: Path) -> None:
    cells = pd.read_csv(shared_data / "brca_m2c" / "cells.csv").sort_values("file", kind="stable").reset_index()
    inner = cells[cells.x.between(64, 420) & cells.y.between(64, 420)].iloc[::200]
    for i, cell in inner.iterrows():
        image = cv2.imread(str(shared_data / "brca_m2c" / cell.file), cv2.IMREAD_COLOR_RGB)
        window = image[cell.y - 64 : cell.y + 64, cell.x - 64 : cell.x + 64]
        assert np.abs(tile_sets["epithelium"].tiles[i] - window.reshape(64, 2, 64, 2, 3).mean((1, 3))).max() <= 0.5
        assert tile_sets["epithelium"].labels[i] == (cell.label == 2)


def area_mean(window: NDArray[np.float64], side_px: float) -> NDArray[np.float64]:
    """64 x 64 means of the square in a window's corner, by differences of running sums along each axis in turn."""
    edges = np.arange(65) * side_px / 64
    below, share = np.floor(edges).astype(int), np.modf(edges)[0]
    for axis, across in ((0, share[:, None, None]), (1, share[None, :, None])):
        sums = np.insert(window.cumsum(axis), 0, 0, axis)
        window = np.diff(sums.take(below, axis) * (1 - across) + sums.take(below + 1, axis) * across, axis=axis)
    return window / (side_px / 64) ** 2


def test_outlines_on_a_scanned_slide(shared_data: Path, tmp_path: Path) -> None:
    """At the scanner's 0.499 um/px a tile's side is 128.26 px."""
    ring = [[300, 400], [1500, 400], [1500, 2000], [300, 2000], [300, 400]]
    feature = {"geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {"classification": {"name": "A"}}}
    (tmp_path / "CMU-1-Small-Region.geojson").write_text(json.dumps([feature]))
    slide = shared_data / "wsi" / "CMU-1-Small-Region.svs"
    entry = SlidesEntry(name="m", layout="slides", path=slide, annotations=tmp_path, background="rest", most=20)
    task = read_task(entry)
    tile_set = load_tiles(task, 64, 1.0, tmp_path / "cache")
    assert np.bincount(tile_set.labels).tolist() == [20, 20]
    side = 64 / task.mpp
    with Slide.open(SlideSource("s", slide)) as opened:
        image = opened.read_region(0, 0, 0, *opened.size_l0px).astype(float)
    names = [name for part in task.source.parts(TileField(64, 1.0)) for name in part.names]
    for name, tile, label in zip(names, tile_set.tiles, tile_set.labels, strict=True):
        row, col = map(int, re.findall(r"\d+", name)[-2:])
        inside = 400 < (row + 0.5) * side < 2000 and 300 < (col + 0.5) * side < 1500
        assert label == (0 if inside else 1)
        window = image[round(row * side) :, round(col * side) :][:130, :130]
        assert np.abs(tile - area_mean(window, side)).max() < 1
