"""A linear probe finds what codes hold, says nothing where they hold nothing, and keeps to held-out groups."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from nic.encoder.probe import Probe, codes_of, enlarged_tiles, enlargement, probe, probe_plot
from nic.encoder.spec import EncoderSpec
from nic.errors import TaskError
from nic.tasks.entries import FolderEntry
from nic.tasks.image_folder import read_image_folder
from nic.tasks.tile_task import TileSet, TileTask, split

PER_GROUP, GROUPS = 10, 60


class Quadrants:
    """A real encoder at 0.5 um/px: means of the four quarters of a tile, after 2 x 2 px are averaged; [12]."""

    def __init__(self, sha256: str = "1" * 64) -> None:
        self.spec = EncoderSpec(12, 32, 0.5, 0.5, "quadrants", (), sha256)
        self.encoded = 0

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.encoded += len(tiles)
        return tiles.reshape(len(tiles), 2, 16, 2, 16, 3).mean((2, 4)).reshape(len(tiles), 12).astype(np.float32)


@pytest.fixture
def task(tmp_path: Path) -> TileTask:
    """16 px at 1.0 um/px: the field of Quadrants at half its resolution. The right half is brighter in class b."""
    rng = np.random.default_rng(0)
    for name, brighter in (("a", 0), ("b", 40)):
        (tmp_path / "task" / name).mkdir(parents=True)
        for number in range(30):
            image = rng.integers(60, 160, (16, 16, 3))
            image[:, 8:] += brighter
            cv2.imwrite(str(tmp_path / "task" / name / f"s{number % 10}_{number}.png"), image.astype(np.uint8))
    return read_image_folder(FolderEntry(name="task", path=tmp_path / "task", mpp=1.0, group_pattern=r"s\d_"))


def tile_set_of(labels: NDArray[np.int64], task: TileTask) -> TileSet:
    """Groups of PER_GROUP tiles; their pixels do not matter."""
    groups = np.repeat([f"slide{i}" for i in range(len(labels) // PER_GROUP)], PER_GROUP)
    return TileSet(task, np.zeros((len(labels), 1, 1, 3), np.uint8), labels, groups)


def test_a_linear_difference_of_codes_is_found(task: TileTask) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=PER_GROUP * GROUPS)
    codes = rng.normal(size=(len(labels), 8)).astype(np.float32)
    codes[:, 3] += 2 * labels
    scale = np.array([1, 1, 1, 1e-3, 1, 1, 1, 1e3], np.float32)  # of no matter
    tile_set = tile_set_of(labels, task)
    probed = probe("e", tile_set, codes * scale + 5, 1, 0)
    _, held_out = split(tile_set, 0.2, 0)
    best = roc_auc_score(labels[held_out], codes[held_out, 3])  # the direction that it has to find
    assert probed.auc.value == pytest.approx(best, abs=0.03)
    assert probed.auc.low < probed.auc.value < probed.auc.high
    assert probed.auc.groups == GROUPS // 5


@pytest.mark.parametrize("classes", [2, 3])
def test_an_outlying_tile_does_not_break_the_probe(task: TileTask, classes: int) -> None:
    """A probability of 0 to the last bit has a logarithm, too."""
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=PER_GROUP * GROUPS)
    common = rng.normal(0, 10, (len(labels), 1))  # hides the classes from all but a weakly penalised model
    signal = np.eye(classes)[labels] * np.where(np.arange(len(labels)) % 50, 0.5, 50)[:, None]
    codes = np.concatenate([common, common + signal], axis=1).astype(np.float32)
    probed = probe("e", tile_set_of(labels, replace(task, classes=tuple("abc"[:classes]))), codes, 1, 0)
    assert probed.auc.value > 0.9


def test_the_probe_is_scored_on_the_tiles_that_training_holds_out(task: TileTask) -> None:
    """Codes that tell the class of the training tiles and nothing of the others are worth nothing."""
    rng = np.random.default_rng(1)
    labels = rng.integers(2, size=PER_GROUP * GROUPS)
    tile_set = tile_set_of(labels, task)
    train, held_out = split(tile_set, 0.2, 7)
    codes = rng.normal(size=(len(labels), 4)).astype(np.float32)
    codes[train, 0] = labels[train]
    probed = probe("e", tile_set, codes, 1, 7)
    assert (probed.auc.n, probed.auc.groups) == (len(held_out), len(set(tile_set.groups[held_out])))
    assert probed.auc.low < 0.5 < probed.auc.high


def test_codes_that_only_identify_the_slide_do_not_score(task: TileTask) -> None:
    """A class a slide, and codes that name the slide: what is learned of some slides is of no use on others."""
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(40) % 2, PER_GROUP)
    codes = np.repeat(np.eye(40, dtype=np.float32), PER_GROUP, 0) + rng.normal(0, 0.01, (400, 40)).astype(np.float32)
    probed = probe("e", tile_set_of(labels, task), codes, 1, 0)
    assert probed.auc.low < 0.5 < probed.auc.high


def test_several_classes_agree_with_scikit_learn(task: TileTask) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(3, size=300)
    codes = rng.normal(size=(300, 5)).astype(np.float32) + np.eye(3, 5, dtype=np.float32)[labels]
    three = TileTask("three", ("a", "b", "c"), 1.0, task.source)
    probed = probe("e", tile_set_of(labels, three), codes, 1, 0)
    _, held_out = split(tile_set_of(labels, three), 0.2, 0)
    nearest_mean = -np.square(codes[held_out, None] - np.eye(3, 5)).sum(2)  # the best rule there is
    shares = np.exp(nearest_mean) / np.exp(nearest_mean).sum(1, keepdims=True)
    assert probed.auc.value == pytest.approx(roc_auc_score(labels[held_out], shares, multi_class="ovr"), abs=0.1)


def test_same_seed_same_probe(task: TileTask) -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(2, size=200)
    codes = rng.normal(size=(200, 3)).astype(np.float32)
    first, again = (probe("e", tile_set_of(labels, task), codes, 1, 5) for _ in range(2))
    assert (first.auc.value, first.auc.low, first.strength) == (again.auc.value, again.auc.low, again.strength)


def test_tiles_of_too_few_slides_are_refused(task: TileTask) -> None:
    labels = np.repeat([0, 0, 1, 1], PER_GROUP)
    with pytest.raises(TaskError, match="too few"):
        probe("e", tile_set_of(labels, task), np.zeros((40, 2), np.float32), 1, 0)


def spec(tile_px: int, tile_mpp: float) -> EncoderSpec:
    return EncoderSpec(2, tile_px, tile_mpp, tile_mpp, "x", ())


def test_enlargement_is_the_least_whole_number_that_fits(task: TileTask) -> None:
    assert task.mpp == 1.0
    assert enlargement(task, spec(64, 1.0)) == 1
    assert enlargement(task, spec(64, 0.98)) == 1  # as near as training allows
    assert enlargement(task, spec(128, 0.5)) == 2
    assert enlargement(task, spec(224, 0.4)) == 4  # 3 does not divide 224
    with pytest.raises(TaskError, match=r"task: images at 1 um/px"):
        enlargement(task, spec(7, 0.1))


def test_an_averaging_encoder_sees_the_original_of_repeated_pixels(task: TileTask, tmp_path: Path) -> None:
    encoder = Quadrants()
    tile_set = enlarged_tiles(task, encoder.spec, 2, tmp_path / "tiles")
    assert tile_set.tiles.shape[1:] == (16, 16, 3)
    codes = codes_of(encoder, tile_set, tmp_path / "codes")
    expected = tile_set.tiles.reshape(60, 2, 8, 2, 8, 3).mean((2, 4)).reshape(60, 12)
    assert np.abs(codes - expected).max() < 1e-3
    assert probe("e", tile_set, codes, 2, 0).auc.value > 0.95


def test_stored_codes_are_reused_only_for_the_same_encoder(task: TileTask, tmp_path: Path) -> None:
    first, again, other = Quadrants(), Quadrants(), Quadrants("2" * 64)
    tile_set = enlarged_tiles(task, first.spec, 2, tmp_path / "tiles")
    codes = codes_of(first, tile_set, tmp_path / "codes")
    assert np.array_equal(codes_of(again, tile_set, tmp_path / "codes"), codes)
    codes_of(other, tile_set, tmp_path / "codes")
    assert (first.encoded, again.encoded, other.encoded) == (60, 0, 60)
    assert len(list((tmp_path / "codes").iterdir())) == 2  # nothing half-written is left


def test_the_picture_has_one_panel_for_each_task(task: TileTask) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=200)
    codes = rng.normal(size=(200, 3)).astype(np.float32)
    probed = probe("first", tile_set_of(labels, task), codes, 1, 0)
    probes = [probed, Probe("second", "task", probed.auc, 1.0, 1), Probe("second", "other", probed.auc, 1.0, 1)]
    figure = probe_plot(probes)
    assert [axes.get_title() for axes in figure.axes] == ["task", "other"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["first", "second"]
