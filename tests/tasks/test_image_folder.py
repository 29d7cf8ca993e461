"""Layout `folder`: classes, resolution and groups of images in a folder a class."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from nic.errors import TaskError
from nic.tasks.entries import FolderEntry
from nic.tasks.image_folder import read_image_folder
from nic.tasks.tile_source import TileField
from nic.tasks.tile_task import TileTask, load_tiles, split

from .conftest import MakeFolder


def read(path: Path, **changes: object) -> TileTask:
    return read_image_folder(FolderEntry.model_validate({"name": "m", "path": path, "mpp": 0.5} | changes))


def known(task: TileTask) -> tuple[list[str], list[int], list[str]]:
    """Names, labels and groups of all tiles."""
    parts = list(task.source.parts(TileField(64, 1.0)))
    return (
        [name for part in parts for name in part.names],
        [int(label) for part in parts for label in part.labels],
        [str(group) for part in parts for group in part.groups],
    )


def test_classes_and_resolution_come_from_the_manifest(image_folder: MakeFolder) -> None:
    path = image_folder()
    (path / "manifest.json").write_text(json.dumps({"classes": ["b", "a"], "mpp": 0.25}))
    task = read(path, mpp=None)
    assert (task.name, task.classes, task.mpp) == ("m", ("b", "a"), 0.25)
    names, labels, _ = known(task)
    assert labels == [0] * 12 + [1] * 12
    assert names[0] == "b/slide0__0.png"
    assert read(path).mpp == 0.5  # what the study file says goes before


def test_folders_are_classes_by_default(image_folder: MakeFolder) -> None:
    """As NCT-CRC-HE-100K is unpacked: NORM/NORM-AAAA.tif, each tile a group of its own."""
    path = image_folder(classes=("TUM", "NORM"))
    for image in path.glob("*/*.png"):
        image.rename(image.with_name(f"{image.parent.name}-{image.stem[-2:].replace('_', 'A')}.png"))
    for folder in (".thumbnails", "TUM"):
        (path / folder).mkdir(exist_ok=True)
        (path / folder / "._hidden.png").write_bytes(b"made by a Mac")
    task = read(path)
    names, _, groups = known(task)
    assert task.classes == ("NORM", "TUM")
    assert names == groups == sorted(names)
    assert len(set(groups)) == 24


def test_folders_are_gathered_and_left_out(image_folder: MakeFolder) -> None:
    path = image_folder(classes=("TUM", "NORM", "STR", "BACK"))
    task = read(path, classes={"tumour": ["TUM"], "other": ["STR", "NORM"]}, ignore=["BACK"])
    names, labels, _ = known(task)
    assert task.classes == ("tumour", "other")
    assert np.bincount(labels).tolist() == [12, 24]
    assert not [name for name in names if name.startswith("BACK")]
    assert read(path, ignore=["BACK"]).classes == ("NORM", "STR", "TUM")


def test_groups_come_from_the_name_before_the_double_underscore_or_from_the_pattern(image_folder: MakeFolder) -> None:
    path = image_folder()
    assert set(known(read(path))[2]) == {"slide0", "slide1", "slide2", "slide3"}
    assert set(known(read(path, group_pattern=r"slide[01]|slide"))[2]) == {"slide0", "slide1", "slide"}
    assert set(known(read(path, group_pattern=r"^(\w)/"))[2]) == {"a", "b"}
    with pytest.raises(TaskError, match=r"a/slide0__0\.png: group_pattern 'TCGA-"):
        read(path, group_pattern=r"TCGA-\d+")
    with pytest.raises(TaskError, match=r"a/slide1__1\.png: group_pattern"):  # the bracket took no part
        read(path, group_pattern=r"(slide0)|slide")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mpp": None}, r"m: no um/px in task"),
        ({"classes": {"x": ["a"]}}, r"m: label 'b' belongs to no class, wanted 'a'"),
        ({"classes": {"x": ["a"], "y": ["b", "c"], "z": ["d"]}}, r"class 'z' has no tile"),
        ({"classes": {"x": ["a"], "y": ["b", "a"]}}, r"label 'a' is named twice"),
        ({"classes": {"x": ["a"], "y": ["b"]}, "ignore": ["b"]}, r"label 'b' is named twice"),
        ({"ignore": ["b"]}, r"m: 1 class \(a\), wanted at least two"),
        ({"classes": {"x": ["a", "b"]}}, r"m: 1 class \(x\), wanted at least two"),
    ],
)
def test_faults_are_named(image_folder: MakeFolder, changes: dict[str, object], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        read(image_folder(), **changes)


def test_faults_of_the_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no such folder"):
        read(tmp_path / "gone")
    (tmp_path / "one" / "tumour").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "one" / "tumour" / "0.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(TaskError, match=r"1 class \(tumour\), wanted at least two"):
        read(tmp_path / "one")
    (tmp_path / "one" / "other").mkdir()
    with pytest.raises(TaskError, match="'other' has no tile"):
        read(tmp_path / "one")


def test_faults_of_the_manifest_are_named(image_folder: MakeFolder) -> None:
    path = image_folder()
    (path / "manifest.json").write_text(json.dumps({"classes": ["a", "b", "stroma"], "mpp": 0.5}))
    with pytest.raises(TaskError, match="'stroma' has no tile"):
        read(path)
    for text, message in (("{", "Invalid JSON"), ("[]", "Input should be an object"), ('{"mpp": 0}', "mpp: .*than 0")):
        (path / "manifest.json").write_text(text)
        with pytest.raises(TaskError, match=rf"task/manifest\.json: {message}"):
            read(path)


def test_the_digest_follows_pixels_labels_and_groups_not_the_place(image_folder: MakeFolder) -> None:
    first, copy = image_folder("one"), image_folder("two")
    digest = read(first).digest
    assert read(copy).digest == digest
    others = [
        read(copy, mpp=0.4),
        read(copy, too_small="pad"),
        read(copy, group_pattern=re.compile(".")),
        read(copy, classes={"b": ["b"], "a": ["a"]}),
    ]
    (copy / "a" / "slide0__0.png").write_bytes((copy / "a" / "slide1__1.png").read_bytes())
    digests = {digest, read(copy).digest, *(other.digest for other in others)}
    assert len(digests) == 6


def test_a_second_folder_is_the_validation(image_folder: MakeFolder) -> None:
    """As CRC-VAL-HE-7K beside NCT-CRC-HE-100K, whose tiles name no patients."""
    first, second = image_folder("first"), image_folder("second", side_px=160, per_class=5)
    task = read(first, validation=second)
    names, labels, groups = known(task)
    assert len(names) == len(set(names)) == 2 * (12 + 5)
    held_out = [group in task.validation for group in groups]
    assert held_out == [name.startswith("second/") for name in names]
    assert np.bincount(np.array(labels)[held_out]).tolist() == [5, 5]
    assert task.digest != read(first).digest
    tile_set = load_tiles(task, 64, 1.0, first.parent / "cache")
    train, validation = split(tile_set, 0.2, 0)
    assert set(tile_set.groups[validation]) == task.validation
    assert sorted([*train, *validation]) == list(range(34))


def test_a_validation_without_one_of_the_classes_is_refused(image_folder: MakeFolder) -> None:
    first, second = image_folder("first"), image_folder("second", classes=("a",))
    with pytest.raises(TaskError, match="m, second: class 'b' has no tile"):
        read(first, validation=second)
    with pytest.raises(TaskError, match=r"gone: no such folder of labelled tiles"):
        read(first, validation=first / "gone")
