"""Statistics of a regression, for many draws at once.

All take labels `value` [n], predictions `score` [n] (or the `ends` of intervals), and `counts` [R, n], how often a draw
holds each patient. They return [R], NaN where a draw does not define the statistic.
"""

import numpy as np
from numpy.typing import NDArray

from nic.evaluation.bootstrap import mean, ratio

Floats = NDArray[np.float64]


def spearman(value: Floats, score: Floats, counts: Floats) -> Floats:
    """Rank correlation; not defined where labels or predictions are constant."""
    middle = (counts.sum(1, keepdims=True) + 1) / 2
    first, second = mid_ranks(value, counts) - middle, mid_ranks(score, counts) - middle
    norm = np.sqrt((counts * first**2).sum(1) * (counts * second**2).sum(1))
    return ratio((counts * first * second).sum(1), norm)


def pearson(value: Floats, score: Floats, counts: Floats) -> Floats:
    """Linear correlation; not defined where labels or predictions are constant."""
    first, second = _centred(value, counts), _centred(score, counts)
    norm = np.sqrt((counts * first**2).sum(1) * (counts * second**2).sum(1))
    return ratio((counts * first * second).sum(1), norm)


def mean_absolute_error(value: Floats, score: Floats, counts: Floats) -> Floats:
    """Mean distance of prediction and label, in the endpoint's unit."""
    return mean(np.abs(score - value), counts)


def r2(value: Floats, score: Floats, counts: Floats) -> Floats:
    """Share of the labels' variance that the predictions explain; below 0 where their mean would do better."""
    return 1 - ratio(counts @ (score - value) ** 2, (counts * _centred(value, counts) ** 2).sum(1))


def coverage(value: Floats, ends: Floats, counts: Floats) -> Floats:
    """Share of labels inside their interval. ends: [n, 2], low and high."""
    return mean(((ends[:, 0] <= value) & (value <= ends[:, 1])).astype(float), counts)


def mid_ranks(values: Floats, counts: Floats) -> Floats:
    """Rank of each value in each draw, ties at the middle of theirs: [R, n]."""
    group, order, starts = tie_groups(values)
    size = np.add.reduceat(counts[:, order], starts, axis=1)
    ranks: Floats = (size.cumsum(1) - size / 2 + 0.5)[:, group]
    return ranks


def tie_groups(values: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Group of each value, [n], equal values together and ascending; the sorting order; where in it a group starts."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
    return group, order, starts


def _centred(values: Floats, counts: Floats) -> Floats:
    """[R, n], exactly 0 where a draw holds one value alone."""
    shifted = values - values.mean()
    centred = shifted - mean(shifted, counts)[:, None]
    tiny = 1e-12 * np.abs(shifted).max()
    return np.where(np.abs(centred) > tiny, centred, 0.0)
