"""Decoded tiles on disk: whole or not there, broken ones are warned of, copies stay on one side of a split."""

import csv
import logging
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from nic.errors import TaskError
from nic.tasks.entries import FolderEntry, Hdf5Entry
from nic.tasks.hdf5_tiles import read_hdf5_tiles
from nic.tasks.image_folder import read_image_folder
from nic.tasks.tile_cache import find_copies, joined_groups
from nic.tasks.tile_task import TileSet, TileTask, load_tiles, split

from .conftest import MakeFolder


def read(path: Path, **fields: object) -> TileTask:
    return read_image_folder(FolderEntry.model_validate({"name": "m", "path": path, "mpp": 0.5} | fields))


def load(task: TileTask, tmp_path: Path) -> TileSet:
    return load_tiles(task, 64, 1.0, tmp_path / "cache")


def table(tmp_path: Path, name: str) -> list[list[str]]:
    (path,) = (tmp_path / "cache").glob(f"*/{name}")
    return list(csv.reader(path.open()))


def test_tiles_are_mapped_and_decoded_once(image_folder: MakeFolder, tmp_path: Path) -> None:
    path = image_folder()
    tile_set = load(read(path), tmp_path)
    assert isinstance(tile_set.tiles, np.memmap)
    image = cv2.imread(str(path / "b" / "slide3__11.png"), cv2.IMREAD_COLOR_RGB)
    place = [i for i in range(24) if tile_set.labels[i] == 1][2]  # sorted: slide0__0, slide0__4, slide0__8, slide1__1
    expected = cv2.imread(str(path / "b" / "slide0__8.png"), cv2.IMREAD_COLOR_RGB).reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert image.shape == (128, 128, 3)
    assert np.abs(tile_set.tiles[place] - expected).max() <= 0.5
    task = read(path)
    assert task.digest
    for file in path.glob("*/*.png"):
        file.unlink()
    assert (load(task, tmp_path).tiles == tile_set.tiles).all()


def test_the_file_is_a_valid_numpy_file_also_when_tiles_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "t" / name).mkdir(parents=True)
        for i in range(150):
            cv2.imwrite(str(tmp_path / "t" / name / f"{i:03}.png"), rng.integers(0, 255, (8, 8, 3)).astype(np.uint8))
    (tmp_path / "t" / "a" / "000.png").write_bytes(b"broken")
    task = read(tmp_path / "t", mpp=1.0)
    tile_set = load_tiles(task, 8, 1.0, tmp_path / "cache")
    first = cv2.imread(str(tmp_path / "t" / "a" / "001.png"), cv2.IMREAD_COLOR_RGB)
    assert tile_set.tiles.shape == (299, 8, 8, 3)
    assert (tile_set.tiles[0] == first).all()
    assert np.bincount(tile_set.labels).tolist() == [149, 150]
    assert len(tile_set.groups) == 299


def test_memory_does_not_grow_with_tiles(tmp_path: Path) -> None:
    """36 MB of tiles pass through a few MB."""
    count = 12_000
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        file["y"] = np.arange(count) % 2
    entry = Hdf5Entry(name="m", layout="hdf5", path=tmp_path / "x.h5", mpp=1.0)
    tracemalloc.start()
    try:
        tile_set = load_tiles(read_hdf5_tiles(entry), 32, 1.0, tmp_path / "cache")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tile_set.tiles.nbytes == 36_864_000
    assert peak < 16e6


def test_two_runs_may_decode_one_task_at_once(image_folder: MakeFolder, tmp_path: Path) -> None:
    path = image_folder()
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: load(read(path), tmp_path), range(4)))
    assert all((tile_set.tiles == loaded[0].tiles).all() for tile_set in loaded)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_broken_images_are_recorded_counted_and_warned_of(
    image_folder: MakeFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = image_folder(per_class=60, side_px=64)
    (path / "a" / "slide1__5.png").write_bytes(b"no image")
    for _ in range(2):  # when they are decoded, and when they are found decoded
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            tile_set = load_tiles(read(path), 32, 1.0, tmp_path / "cache")
        assert len(tile_set.tiles) == len(tile_set.labels) == len(tile_set.groups) == 119
        assert "m: 1 tiles left out" in caplog.text
        assert "a/slide1__5.png: cannot be read as an image" in caplog.text
    assert [row[0] for row in table(tmp_path, "left_out.csv")] == ["tile", "a/slide1__5.png"]


def test_more_than_a_hundredth_broken_is_refused_with_the_first_names(image_folder: MakeFolder, tmp_path: Path) -> None:
    path = image_folder(per_class=60, side_px=64)
    for i in (0, 4):
        (path / "b" / f"slide0__{i}.png").write_bytes(b"no image")
    with pytest.raises(TaskError, match=r"m: at least 2 of 120 tiles.*at most 1%: b/slide0__0\.png.*b/slide0__4\.png"):
        load_tiles(read(path), 32, 1.0, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_tile_smaller_than_the_field_is_refused_or_padded(image_folder: MakeFolder, tmp_path: Path) -> None:
    path = image_folder(side_px=100)
    with pytest.raises(TaskError, match=r"a/slide0__0\.png: 100 x 100 px.*64 um \(128 px\)"):
        load(read(path), tmp_path)
    assert not list((tmp_path / "cache").iterdir())
    assert load(read(path, too_small="pad"), tmp_path).tiles.shape == (24, 64, 64, 3)


def test_images_coarser_than_the_tile_are_refused(image_folder: MakeFolder, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"m: images at 2 um/px, wanted 1 or finer"):
        load(read(image_folder(), mpp=2.0), tmp_path)


def test_copies_cause_a_warning_and_share_a_side_of_the_split(
    image_folder: MakeFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A tile of slide 0 stands again under slide 3, and one of another label under slide 2."""
    path = image_folder()
    (path / "a" / "slide3__3.png").write_bytes((path / "a" / "slide0__0.png").read_bytes())
    (path / "b" / "slide2__2.png").write_bytes((path / "a" / "slide1__1.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        tile_set = load(read(path), tmp_path)
    assert "m: 2 tiles are copies of others, 1 of them with another label" in caplog.text
    assert table(tmp_path, "copies.csv")[1:] == [
        ["a/slide3__3.png", "a/slide0__0.png", "True"],
        ["b/slide2__2.png", "a/slide1__1.png", "False"],
    ]
    assert set(tile_set.groups) == {"slide0", "slide1"}
    for seed in range(5):
        train, validation = split(tile_set, 0.5, seed)
        assert not {t.tobytes() for t in tile_set.tiles[train]} & {t.tobytes() for t in tile_set.tiles[validation]}


def test_tiles_of_one_colour_are_no_copies(
    image_folder: MakeFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = image_folder()
    for name in ("slide0__0", "slide1__1", "slide3__3"):
        cv2.imwrite(str(path / "b" / f"{name}.png"), np.full((128, 128, 3), 243, np.uint8))
    with caplog.at_level(logging.WARNING):
        tile_set = load(read(path), tmp_path)
    assert not caplog.text
    assert set(tile_set.groups) == {"slide0", "slide1", "slide2", "slide3"}


def test_a_class_without_a_readable_tile_is_named(tmp_path: Path) -> None:
    for name, count in (("many", 200), ("rare", 1)):
        (tmp_path / "t" / name).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(tmp_path / "t" / name / f"{i}.png"), np.full((8, 8, 3), i, np.uint8))
    (tmp_path / "t" / "rare" / "0.png").write_bytes(b"")
    with pytest.raises(TaskError, match="class 'rare' has no tile"):
        load_tiles(read(tmp_path / "t", mpp=1.0), 8, 1.0, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("seed", range(20))
def test_groups_that_share_a_tile_become_one_as_when_merged_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.array([f"g{i}" for i in rng.integers(0, 15, 40)])
    copies = [(int(i), int(j)) for i, j in rng.integers(0, 40, (int(rng.integers(0, 12)), 2))]
    merged = [{group} for group in set(groups)]
    for i, j in copies:
        one, other = (next(m for m in merged if groups[k] in m) for k in (i, j))
        if one is not other:
            merged.remove(other)
            one |= other
    expected = [min(next(m for m in merged if group in m)) for group in groups]
    ours = joined_groups(groups, copies)
    assert [(a == b) for a in ours for b in ours] == [(a == b) for a in expected for b in expected]
    assert set(ours) <= set(groups)


def test_copies_point_to_the_first_and_glass_is_none() -> None:
    tiles = np.zeros((6, 2, 2, 3), np.uint8)
    tiles[[1, 3, 5], 0, 0, 2] = 7  # 1, 3 and 5 alike, the others of one colour
    assert find_copies([tile.tobytes() for tile in tiles], tiles) == [(3, 1), (5, 1)]
