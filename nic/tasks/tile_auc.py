"""AUC of a tile task: its interval over slides or patients, and paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nic.errors import TaskError

Floats = NDArray[np.float64]
RESAMPLES, LEVEL = 1000, 0.95
AT_ONCE = 4_000_000
"""Weights held in memory at a time, resamples x tiles."""


@dataclass(frozen=True)
class TileScores:
    """The scores of a classifier for tiles that it was not trained on.

    labels: int64 [N]. scores: [N, classes], higher = more likely. groups: str [N], the slide or patient of each tile.
    """

    task: str
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    groups: NDArray[np.str_]


@dataclass(frozen=True)
class Resampled:
    """A figure, higher is better, with its value on each of the same draws of groups.

    draws: [RESAMPLES], NaN where it is not defined. n: tiles. groups: number of their slides or patients. Two figures
    of the same tiles and seed have the same draws, so their difference is a paired one.
    """

    value: float
    draws: Floats
    n: int
    groups: int

    @property
    def low(self) -> float:
        return float(np.nanquantile(self.draws, (1 - LEVEL) / 2))

    @property
    def high(self) -> float:
        return float(np.nanquantile(self.draws, (1 + LEVEL) / 2))

    def __sub__(self, other: "Resampled") -> "Resampled":
        return Resampled(self.value - other.value, self.draws - other.draws, self.n, self.groups)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def resampled_auc(tiles: TileScores, seed: int) -> Resampled:
    """AUC, macro one-vs-rest where there are more than two classes, on RESAMPLES draws of groups with replacement.

    Tiles of a slide are not independent, so slides (or patients) are drawn, not tiles. AUC is not defined in a draw
    without one of the classes. Raises TaskError when the tiles themselves lack one, or when a score is not finite.
    """
    classes = np.arange(tiles.scores.shape[1])
    missing = set(classes) - set(tiles.labels.tolist())
    if missing or not np.isfinite(tiles.scores).all():
        what = f"no tile of class number {min(missing)}" if missing else "scores that are not finite"
        raise TaskError(f"{tiles.task}: {what} among the {len(tiles.labels)} held-out tiles; AUC is not defined")
    columns = classes[1:] if len(classes) == 2 else classes
    names, group = np.unique(tiles.groups, return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    counts = np.concatenate([np.ones((1, len(names)), np.int64), counts])  # first all tiles once
    step = max(1, AT_ONCE // len(group))
    values = [
        np.mean([_weighted_auc(tiles.labels == c, tiles.scores[:, c], rows[:, group]) for c in columns], axis=0)
        for rows in np.split(counts, range(step, len(counts), step))
    ]
    value, draws = np.concatenate(values)[0], np.concatenate(values)[1:]
    return Resampled(float(value), draws, len(tiles.labels), len(names))


def _weighted_auc(positive: NDArray[np.bool_], score: NDArray[np.float32], weights: NDArray[np.int64]) -> Floats:
    """AUC with each tile counted `weights` [R, N] times, [R]; NaN where a class has no weight."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))  # of runs of equal scores
    weights = weights[:, order]
    positives = np.add.reduceat(weights * positive[order], starts, axis=1)
    negatives = np.add.reduceat(weights * ~positive[order], starts, axis=1)
    below = negatives.cumsum(1) - negatives / 2
    pairs = positives.sum(1) * negatives.sum(1)
    return np.where(pairs > 0, (positives * below).sum(1) / np.maximum(pairs, 1), np.nan)


def mean_auc(tasks: Sequence[TileScores], seed: int) -> Resampled:
    """The mean AUC over tasks, draw by draw; the groups of each task are drawn separately."""
    figures = [resampled_auc(scores, seed + place) for place, scores in enumerate(tasks)]
    return Resampled(
        float(np.mean([f.value for f in figures])),
        np.mean([f.draws for f in figures], axis=0),
        sum(f.n for f in figures),
        sum(f.groups for f in figures),
    )
