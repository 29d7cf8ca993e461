"""Training and validation share no slide or patient, and every class stands in each."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nic.errors import TaskError
from nic.tasks.tile_task import TileSet, TileTask, split


def tile_set(labels: list[int], groups: list[str]) -> TileSet:
    task = TileTask("m", ("other", "tumour"), 0.5, Path())  # type: ignore[arg-type]
    return TileSet(task, np.zeros((len(labels), 1, 1, 3), np.uint8), np.array(labels), np.array(groups))


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_on_both_sides_of_a_split(seed: int) -> None:
    tiles = tile_set([0, 1] * 12, [f"slide{i // 2 % 4}" for i in range(24)])
    train, validation = split(tiles, 0.25, seed)
    assert not set(tiles.groups[train]) & set(tiles.groups[validation])
    assert sorted([*train, *validation]) == list(range(24))
    assert set(tiles.labels[validation]) == set(tiles.labels[train]) == {0, 1}


def test_a_class_of_a_single_slide_cannot_be_split() -> None:
    tiles = tile_set([0] * 12 + [1] * 4, [f"slide{i % 4}" for i in range(12)] + ["slide0"] * 4)
    with pytest.raises(TaskError, match="'tumour' comes from 1 slides"):
        split(tiles, 0.25, 0)


def test_few_slides_can_be_split_too() -> None:
    train, validation = split(tile_set([0, 1] * 6, [f"slide{i // 2 % 2}" for i in range(12)]), 0.2, 0)
    assert len(train) == len(validation) == 6


@pytest.mark.parametrize("seed", range(3))
def test_tiles_of_unknown_slides_are_split_in_proportion(seed: int) -> None:
    tiles = tile_set([0] * 80 + [1] * 20, [str(i) for i in range(100)])
    train, validation = split(tiles, 0.2, seed)
    assert np.bincount(tiles.labels[validation]).tolist() == [16, 4]
    assert sorted([*train, *validation]) == list(range(100))


def test_a_split_is_made_once_and_travels_with_the_tiles() -> None:
    tiles = tile_set([0, 1] * 12, [f"slide{i // 2 % 4}" for i in range(24)])
    train, _ = split(tiles, 0.25, 0)
    assert split(tiles, 0.25, 0)[0] is train
    assert split(tiles, 0.25, 1)[0] is not train
    elsewhere = pickle.loads(pickle.dumps(tiles))
    assert (elsewhere.splits[0.25, 0][0] == train).all()
    fewer = replace(tiles, labels=tiles.labels[:12], groups=tiles.groups[:12])
    assert sorted(np.concatenate(split(fewer, 0.25, 0))) == list(range(12))


def test_a_stated_validation_is_never_trained_on() -> None:
    tiles = tile_set([0, 1] * 12, [f"slide{i // 2 % 4}" for i in range(24)])
    stated = replace(tiles, task=replace(tiles.task, validation=frozenset({"slide1", "slide7"})))
    for seed in range(3):
        train, validation = split(stated, 0.5, seed)
        assert set(tiles.groups[validation]) == {"slide1"}
        assert sorted([*train, *validation]) == list(range(24))
    fewer = replace(stated, labels=stated.labels[train], groups=stated.groups[train])  # a probe's inner splits
    assert not set(fewer.groups[split(fewer, 0.3, 0)[0]]) & set(fewer.groups[split(fewer, 0.3, 0)[1]])


def test_a_stated_validation_holds_every_class() -> None:
    tiles = tile_set([0] * 6 + [1] * 6, ["a", "b", "c"] * 2 + ["c", "d"] * 3)
    task = replace(tiles.task, validation=frozenset({"a"}))
    with pytest.raises(TaskError, match="class 'tumour' is in training or in validation alone"):
        split(replace(tiles, task=task), 0.5, 0)
