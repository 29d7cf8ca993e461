"""Training learns, is the same for the same seed, and stops when nothing is gained any more."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from nic.encoder.multitask import multitask
from nic.encoder.train import VALIDATION, Hooks, OnEpoch, Schedule, TrainedEncoder, train
from nic.errors import EncoderError
from nic.tasks.tile_auc import resampled_auc
from nic.tasks.tile_task import TileSet, TileTask, split


def tile_set(name: str, classes: int, seed: int) -> TileSet:
    """Classes that differ by how coarse the texture is; ten sources a class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), 60)
    tiles = np.stack([_texture(rng, 2 ** (label + 1)) for label in labels])
    groups = np.array([f"s{i % 10}" for i in range(len(labels))])
    return TileSet(TileTask(name, tuple("abc"[:classes]), 1.0, Path()), tiles, labels, groups)


def _texture(rng: np.random.Generator, grain: int) -> np.ndarray:
    coarse = rng.integers(60, 200, (64 // grain, 64 // grain, 3))
    return coarse.repeat(grain, 0).repeat(grain, 1).astype(np.uint8)


SCHEDULE = Schedule(epochs=3, batch_size=32, learning_rate=1e-3, augmentation="light", seed=0)


def trained(schedule: Schedule = SCHEDULE, on_epoch: OnEpoch = lambda epoch, score: None) -> TrainedEncoder:
    sets = [tile_set("two", 2, 0), tile_set("three", 3, 1)]
    return train(sets, multitask(sets, {"two": 1, "three": 1}), schedule, Hooks(on_epoch=on_epoch))


@pytest.fixture(scope="module")
def first() -> TrainedEncoder:
    return trained()


def test_it_learns_and_the_same_seed_gives_the_same_network(first: TrainedEncoder) -> None:
    second = trained()
    assert all(auc > 0.9 for auc in first.validation.values())
    assert not first.encoder.training
    assert first.validation == second.validation
    for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_scores_are_of_tiles_that_training_never_saw(first: TrainedEncoder) -> None:
    assert first.held_out == sum(len(scores.labels) for scores in first.scores)
    for scores, tiles in zip(first.scores, [tile_set("two", 2, 0), tile_set("three", 3, 1)], strict=True):
        _, held_out = split(tiles, VALIDATION, 0)
        assert (scores.groups == tiles.groups[held_out]).all()
        assert (scores.labels == tiles.labels[held_out]).all()
        assert resampled_auc(scores, 0).value == pytest.approx(first.validation[scores.task])


def test_a_trial_can_end_its_training() -> None:
    seen: list[int] = []

    def poor(epoch: int, score: float) -> None:
        seen.append(epoch)
        raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        trained(on_epoch=poor)
    assert seen == [0]


def test_a_batch_holds_every_task_or_is_refused() -> None:
    with pytest.raises(EncoderError, match="batch_size 1: wanted at least a tile of each of the 2 tasks"):
        trained(replace(SCHEDULE, batch_size=1))


def test_training_ends_when_patience_does_and_the_best_epoch_is_kept() -> None:
    """Nothing can be learned from labels by chance, so that the best epoch is an early one."""
    tiles = tile_set("two", 2, 0)
    chance = replace(tiles, labels=np.random.default_rng(0).permutation(tiles.labels))
    seen: dict[int, float] = {}
    schedule = replace(SCHEDULE, epochs=10, learning_rate=1e-4, augmentation="none", patience=1)
    hooks = Hooks(on_epoch=lambda epoch, score: seen.update({epoch: score}))
    encoder = train([chance], multitask([chance], {"two": 1}), schedule, hooks)
    last, best = max(seen), max(seen, key=lambda epoch: seen[epoch])
    assert 3 < last < 9  # patience is not tried while the rate rises, in the first three epochs
    assert last == max(best, 3) + 1
    assert encoder.epoch == best
    assert encoder.score == seen[best]
    (held_out,) = encoder.scores
    assert resampled_auc(held_out, 0).value == pytest.approx(seen[best])


def test_learned_weights_can_be_read() -> None:
    sets = [tile_set("two", 2, 0), replace(tile_set("three", 3, 1), labels=np.arange(180) % 3)]
    schedule = replace(SCHEDULE, epochs=2, learning_rate=1e-2, augmentation="none")
    weights = train(sets, multitask(sets, None), schedule).objective.weighting.weights
    assert sum(weights.values()) == pytest.approx(2)
    assert weights["two"] > weights["three"]  # whose labels are by chance


def test_a_training_that_diverges_is_an_error() -> None:
    with pytest.raises(EncoderError, match="multitask: training diverged in epoch 0; lower learning_rate, now 1e"):
        trained(replace(SCHEDULE, learning_rate=1e30))
