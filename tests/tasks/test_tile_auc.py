"""AUC equals scikit-learn's on every draw, groups are what is drawn, and differences are paired."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from nic.errors import TaskError
from nic.tasks.tile_auc import RESAMPLES, TileScores, _weighted_auc, mean_auc, resampled_auc


def scored(tiles: int, classes: int, seed: int, signal: float = 1.0, groups: int = 12) -> TileScores:
    rng = np.random.default_rng(seed)
    labels = np.arange(tiles) % classes
    raw = rng.normal(size=(tiles, classes)) + signal * np.eye(classes)[labels]
    scores = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
    return TileScores("t", labels, scores.astype(np.float32), rng.integers(groups, size=tiles).astype(str))


@given(st.integers(0, 10_000), st.integers(2, 40))
@settings(max_examples=50, deadline=None)
def test_weights_count_a_tile_as_often_as_it_is_drawn(seed: int, tiles: int) -> None:
    rng = np.random.default_rng(seed)
    positive, score = rng.random(tiles) < 0.5, rng.integers(0, 5, tiles).astype(np.float32)  # with ties
    weights = rng.integers(0, 4, (3, tiles))
    for auc, row in zip(_weighted_auc(positive, score, weights), weights, strict=True):
        labels, scores = np.repeat(positive, row), np.repeat(score, row)
        if len(set(labels)) < 2:
            assert np.isnan(auc)
        else:
            assert auc == pytest.approx(roc_auc_score(labels, scores))


@pytest.mark.parametrize("classes", [2, 5])
def test_the_auc_equals_that_of_scikit_learn(classes: int) -> None:
    scored_tiles = scored(300, classes, 0)
    scores = scored_tiles.scores[:, 1] if classes == 2 else scored_tiles.scores
    assert resampled_auc(scored_tiles, 0).value == pytest.approx(
        roc_auc_score(scored_tiles.labels, scores, multi_class="ovr")
    )


def test_each_draw_is_of_whole_groups() -> None:
    """The first draws again, group by group, with scikit-learn."""
    scored_tiles = scored(60, 2, 1, groups=5)
    draws = np.random.default_rng(7).multinomial(5, np.full(5, 0.2), RESAMPLES)
    for drawn, counts in zip(resampled_auc(scored_tiles, 7).draws[:20], draws, strict=False):
        tiles = np.concatenate(
            [np.tile(np.flatnonzero(scored_tiles.groups == str(g)), n) for g, n in enumerate(counts)]
        )
        assert drawn == pytest.approx(roc_auc_score(scored_tiles.labels[tiles], scored_tiles.scores[tiles, 1]))


def test_many_tiles_are_drawn_part_by_part_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    scored_tiles = scored(200, 3, 0)
    whole = resampled_auc(scored_tiles, 0)
    monkeypatch.setattr("nic.tasks.tile_auc.AT_ONCE", 1000)
    assert np.array_equal(resampled_auc(scored_tiles, 0).draws, whole.draws)


def test_copies_of_tiles_within_a_slide_do_not_narrow_the_interval() -> None:
    few = scored(120, 2, 3, groups=120)
    many = TileScores("t", *(np.repeat(a, 10, axis=0) for a in (few.labels, few.scores, few.groups)))
    narrow, wide = resampled_auc(many, 0), resampled_auc(few, 0)
    assert narrow.high - narrow.low == pytest.approx(wide.high - wide.low)
    assert (narrow.n, narrow.groups) == (1200, wide.groups)


def test_a_difference_of_the_same_tiles_is_paired() -> None:
    better, alike = scored(200, 2, 0, signal=1.0), scored(200, 2, 0, signal=0.98)
    gain = resampled_auc(better, 0) - resampled_auc(alike, 0)
    alone = resampled_auc(better, 0)
    assert gain.high - gain.low < 0.2 * (alone.high - alone.low)
    nothing = resampled_auc(better, 0) - resampled_auc(better, 0)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_the_mean_over_tasks_is_taken_draw_by_draw() -> None:
    scored_tiles = [scored(100, 2, seed) for seed in range(3)]
    mean, figures = (
        mean_auc(scored_tiles, 5),
        [resampled_auc(scores, 5 + place) for place, scores in enumerate(scored_tiles)],
    )
    assert mean.value == pytest.approx(np.mean([f.value for f in figures]))
    assert mean.draws[5] == pytest.approx(np.mean([f.draws[5] for f in figures]))
    assert mean.n == 300


def test_a_class_without_tiles_and_scores_that_are_not_finite_are_refused() -> None:
    scored_tiles = scored(30, 3, 0)
    two = scored_tiles.labels < 2
    with pytest.raises(TaskError, match="t: no tile of class number 2 among the 20"):
        resampled_auc(TileScores("t", scored_tiles.labels[two], scored_tiles.scores[two], scored_tiles.groups[two]), 0)
    with pytest.raises(TaskError, match="not finite"):
        resampled_auc(TileScores("t", scored_tiles.labels, scored_tiles.scores * np.nan, scored_tiles.groups), 0)
