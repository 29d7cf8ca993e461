"""Training learns, is the same for the same seed, and the search finds weights and goes on after a kill."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nic.encoder.multitask import multitask_loss, normalised, uniform_weights
from nic.encoder.training import FittedEncoder, fit_multitask
from nic.encoder.tuning import Report, tune_task_weights
from nic.tasks.tile_task import TileSet, TileTask


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


def fit(seed: int, epochs: int = 3) -> FittedEncoder:
    sets = [tile_set("two", 2, 0), tile_set("three", 3, 1)]
    return fit_multitask(
        sets,
        {"two": 1, "three": 1},
        epochs=epochs,
        batch_size=32,
        learning_rate=1e-3,
        augmentation="light",
        seed=seed,
        log=lambda name, value, step: None,
    )


def test_it_learns_and_the_same_seed_gives_the_same_network() -> None:
    first, second = fit(0), fit(0)
    assert all(auc > 0.9 for auc in first.validation.values())
    assert first.validation == second.validation
    for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_are_normalised_to_mean_one() -> None:
    assert normalised({"a": 1, "b": 3}) == {"a": 0.5, "b": 1.5}
    assert uniform_weights(["a", "b"]) == normalised({"a": 7, "b": 7})


def test_the_loss_is_the_weighted_mean_of_cross_entropies() -> None:
    torch.manual_seed(0)
    logits = {"a": torch.randn(5, 2), "b": torch.randn(5, 9)}
    labels = {"a": torch.tensor([0, 1, 1, 0, 1]), "b": torch.tensor([8, 0, 3, 3, 1])}
    by_hand = [-logits[t].softmax(1)[torch.arange(5), labels[t]].log().mean() for t in "ab"]
    expected = (0.5 * by_hand[0] + 1.5 * by_hand[1]) / 2
    assert torch.allclose(multitask_loss(logits, labels, {"a": 0.5, "b": 1.5}), expected)


def peak(weights: dict[str, float], report: Report) -> float:
    """Highest where task b weighs four times task a."""
    score = -((np.log(weights["b"] / weights["a"]) - np.log(4)) ** 2)
    report(0, score)
    return float(score)


def test_the_search_begins_uniform_and_finds_the_better_weights() -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    tuning = tune_task_weights(
        peak, ["a", "b"], trials=25, seed=0, epochs=1, on_trial=lambda number, w, value, state: seen.append((number, w))
    )
    assert seen[0] == (0, {"a": 1.0, "b": 1.0})
    assert len(seen) == 25
    assert tuning.weights["b"] / tuning.weights["a"] == pytest.approx(4, rel=0.5)
    assert sum(tuning.weights.values()) == pytest.approx(2)


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    journal, calls = tmp_path / "trials.log", []

    def dies(weights: dict[str, float], report: Report) -> float:
        calls.append(weights)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return peak(weights, report)

    with pytest.raises(KeyboardInterrupt):
        tune_task_weights(dies, ["a", "b"], trials=5, seed=0, epochs=1, storage=journal)
    tuning = tune_task_weights(dies, ["a", "b"], trials=5, seed=0, epochs=1, storage=journal)
    assert len([t for t in tuning.trials if t.state == "complete"]) == 5
    assert len(calls) == 6


def test_no_trials_leave_uniform_weights() -> None:
    assert tune_task_weights(peak, ["a", "b"], trials=0, seed=0, epochs=1).weights == {"a": 1.0, "b": 1.0}
