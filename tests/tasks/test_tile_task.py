"""Labelled tiles: read from folders, resampled by area, never stretched, split without leaks."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from nic.errors import TaskError
from nic.tasks.tile_task import TileTask, load_tiles, read_image_folder, split


def folder(path: Path, side_px: int = 128, manifest: bool = True, per_class: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for label, name in enumerate(["tumour", "other"]):
        (path / name).mkdir(parents=True)
        for i in range(per_class):
            image = rng.integers(40 * label, 200, (side_px, side_px, 3)).astype(np.uint8)
            cv2.imwrite(str(path / name / f"slide{i % 4}__{i}.png"), image)
    if manifest:
        (path / "manifest.json").write_text(json.dumps({"name": "m", "classes": ["other", "tumour"], "mpp": 0.5}))
    return path


def test_classes_and_resolution_come_from_the_manifest(tmp_path: Path) -> None:
    task = read_image_folder(folder(tmp_path / "a"))
    assert (task.name, task.classes, task.mpp) == ("m", ("other", "tumour"), 0.5)
    assert [label for _, label in task.files] == [0] * 12 + [1] * 12


def test_a_bare_folder_takes_them_from_the_caller(tmp_path: Path) -> None:
    task = read_image_folder(folder(tmp_path / "a", manifest=False), "mine", 0.5)
    assert (task.name, task.classes) == ("mine", ("other", "tumour"))
    with pytest.raises(TaskError, match=r"no um/px"):
        read_image_folder(tmp_path / "a")


def test_tiles_are_area_means_of_the_centre(tmp_path: Path) -> None:
    task = read_image_folder(folder(tmp_path / "a", side_px=150))
    tile_set = load_tiles(task, 64, 1.0, tmp_path / "cache")
    path, _ = task.files[5]
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)[11:139, 11:139]
    expected = image.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(tile_set.tiles[5] - expected).max() <= 0.5 + 1e-9
    assert isinstance(tile_set.tiles, np.memmap)


def test_a_tile_smaller_than_the_field_is_refused_not_stretched(tmp_path: Path) -> None:
    task = read_image_folder(folder(tmp_path / "a", side_px=100))
    with pytest.raises(TaskError, match=r"100 x 100 px.*64 um \(128 px\)"):
        load_tiles(task, 64, 1.0, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_an_odd_resolution_is_averaged_by_area(tmp_path: Path) -> None:
    """0.4 um/px: 160 px become 64, so that every other pixel is shared by two."""
    task = read_image_folder(folder(tmp_path / "a", side_px=160, manifest=False), "odd", 0.4)
    tile = load_tiles(task, 64, 1.0, tmp_path / "cache").tiles[0]
    image = cv2.imread(str(task.files[0][0]), cv2.IMREAD_COLOR_RGB)
    fine = image.repeat(2, 0).repeat(2, 1)  # 320 half pixels = 64 x 5
    assert np.abs(tile - fine.reshape(64, 5, 64, 5, 3).mean((1, 3))).max() <= 0.51


def test_images_coarser_than_the_tile_are_refused(tmp_path: Path) -> None:
    task = read_image_folder(folder(tmp_path / "a", manifest=False), "coarse", 2.0)
    with pytest.raises(TaskError, match=r"coarse: images at 2 um/px, wanted 1 or finer"):
        load_tiles(task, 64, 1.0, tmp_path / "cache")


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path / "a")
    (path / "tumour" / "slide0__0.png").write_bytes(b"no image")
    with pytest.raises(TaskError, match=r"tumour/slide0__0\.png"):
        load_tiles(read_image_folder(path), 64, 1.0, tmp_path / "cache")


def test_faults_of_the_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no such folder"):
        read_image_folder(tmp_path / "gone")
    (tmp_path / "one" / "tumour").mkdir(parents=True)
    with pytest.raises(TaskError, match="at least two"):
        read_image_folder(tmp_path / "one", mpp=0.5)
    (tmp_path / "one" / "other").mkdir()
    with pytest.raises(TaskError, match="'other' has no images"):
        read_image_folder(tmp_path / "one", mpp=0.5)
    with pytest.raises(TaskError, match=r"task name 'a/b\.c'"):
        read_image_folder(tmp_path / "one", "a/b.c", mpp=0.5)


def test_faults_of_the_manifest_are_named(tmp_path: Path) -> None:
    manifest = folder(tmp_path / "a") / "manifest.json"
    manifest.write_text(json.dumps({"classes": ["other", "tumour", "stroma"], "mpp": 0.5}))
    with pytest.raises(TaskError, match="'stroma' has no images"):
        read_image_folder(tmp_path / "a")
    for text, said in (("{", "not JSON"), ("[]", "a list, wanted name")):
        manifest.write_text(text)
        with pytest.raises(TaskError, match=rf"a/manifest\.json: {said}"):
            read_image_folder(tmp_path / "a")


def test_the_digest_follows_the_pixels_not_the_place(tmp_path: Path) -> None:
    first, copy = (read_image_folder(folder(tmp_path / name)) for name in "ab")
    assert first.digest == copy.digest
    (tmp_path / "b" / "other" / "slide0__0.png").write_bytes((tmp_path / "b" / "other" / "slide1__1.png").read_bytes())
    assert read_image_folder(tmp_path / "b").digest != first.digest


@pytest.mark.parametrize("seed", range(5))
def test_no_group_stands_on_both_sides(tmp_path: Path, seed: int) -> None:
    tile_set = load_tiles(read_image_folder(folder(tmp_path / "a")), 64, 1.0, tmp_path / "cache")
    train, validation = split(tile_set, 0.25, seed)
    assert not set(tile_set.groups[train]) & set(tile_set.groups[validation])
    assert sorted([*train, *validation]) == list(range(24))
    assert set(tile_set.labels[validation]) == set(tile_set.labels[train]) == {0, 1}


def test_a_class_of_a_single_slide_cannot_be_split(tmp_path: Path) -> None:
    source = folder(tmp_path / "a")
    for path in list((source / "tumour").glob("slide[123]__*")):
        path.unlink()
    tile_set = load_tiles(read_image_folder(source), 64, 1.0, tmp_path / "cache")
    with pytest.raises(TaskError, match="'tumour' comes from 1 slides"):
        split(tile_set, 0.25, 0)


def test_few_slides_are_split_all_the_same(tmp_path: Path) -> None:
    source = folder(tmp_path / "a")
    for path in list(source.glob("*/slide[23]__*")):
        path.unlink()
    train, validation = split(load_tiles(read_image_folder(source), 64, 1.0, tmp_path / "cache"), 0.2, 0)
    assert len(train) == len(validation) == 6


def test_a_task_is_a_value() -> None:
    assert TileTask("a", ("x", "y"), 0.5, Path("p")) == TileTask("a", ("x", "y"), 0.5, Path("p"))
