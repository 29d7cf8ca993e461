"""Figures of merit with intervals over patients drawn again: what an endpoint is judged by, and how sure it is.

Where `fold` is given, scores of different folds do not compare: the figure is taken in each fold and averaged, each
fold weighing as many patients as it has, and patients are drawn again within their fold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nic.errors import EndpointError
from nic.evaluation.bootstrap import Figure, Floats, Interval, bca, by_fold, draws_of, members_of, whole
from nic.evaluation.classification import auc
from nic.evaluation.regression import spearman
from nic.evaluation.survival import harrell

Labels = tuple[NDArray[Any], ...]
Statistic = Callable[..., Floats]
"""statistic(*labels [n], score [n, ...], counts [R, n]) -> [R]."""
Direction = Literal["higher", "lower", "target"]
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; NaN where it is not defined.

    level: of the interval. n: patients. direction: whether higher or lower is better, or whether `chance` is to be met.
    chance: what guessing gets, or the target; None where neither is known.
    """

    name: str
    value: float
    low: float
    high: float
    level: float
    n: int
    chance: float | None = None
    direction: Direction = "higher"

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Metric:
    """A statistic of labels, scores and counts, what guessing gives, and which way is better."""

    name: str
    statistic: Statistic
    chance: float | None
    direction: Direction = "higher"


METRICS = {
    "regression": Metric("spearman", spearman, 0.0),
    "classification": Metric("auc", auc, 0.5),
    "survival": Metric("c_index", harrell, 0.5),
}
"""The figure that decides, by kind of endpoint."""


def estimate(
    metric: Metric,
    labels: Labels,
    score: Floats,
    *,
    seed: int,
    fold: NDArray[np.intp] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    interval: Interval = bca,
) -> Estimate:
    """The figure and its interval over patients drawn with replacement.

    labels: arrays [N] as the statistic takes them. score: [N], or what the statistic takes in its place. Draws of which
    the figure is not defined (one class, no event) are left out; the interval is of the others. With folds it is given
    the networks, as if folds were independent: near chance it is too narrow, see docs/results/coverage.md. Raises
    EndpointError when it is not defined of the patients themselves.
    """
    found = estimate_or_nan(
        metric, labels, score, seed=seed, fold=fold, resamples=resamples, level=level, interval=interval
    )
    if not math.isfinite(found.value):
        raise EndpointError(
            f"{metric.name} of {len(score)} patients is not defined; wanted labels of both classes, pairs of survival "
            "times with a known order, or values that differ, and finite scores"
        )
    return found


def estimate_or_nan(
    metric: Metric,
    labels: Labels,
    score: Floats,
    *,
    seed: int,
    fold: NDArray[np.intp] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    interval: Interval = bca,
) -> Estimate:
    """As `estimate`, for figures of which others do not depend: NaN where it is not defined."""
    fold = np.zeros(len(score), np.intp) if fold is None else fold
    return _estimated(metric, figure_of(metric, labels, score, fold), fold, seed, resamples, level, interval)


def estimate_repeats(
    metric: Metric, labels: Labels, repeats: Sequence[tuple[Floats, NDArray[np.intp]]], *, seed: int
) -> Estimate:
    """The mean figure of several partitions of the same patients. repeats: of each the scores and folds, [N] both.

    A draw of patients is the same in all of them. What the figure of another partition would be is in the mean and not
    in the interval, which is of the patients.
    """
    if len(repeats) == 1:
        ((score, fold),) = repeats
        return estimate(metric, labels, score, seed=seed, fold=fold)
    figures = [figure_of(metric, labels, score, fold) for score, fold in repeats]
    everybody = np.zeros(len(repeats[0][0]), np.intp)
    return _estimated(metric, lambda counts: np.mean([f(counts) for f in figures], axis=0), everybody, seed)


def _estimated(
    metric: Metric,
    figure: Figure,
    strata: NDArray[np.intp],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    interval: Interval = bca,
) -> Estimate:
    """strata: [n]; patients are drawn again within theirs."""
    n = len(strata)
    value = whole(figure, n)
    low = high = math.nan
    if math.isfinite(value):
        low, high = interval(figure, draws_of(figure, strata, resamples, np.random.default_rng(seed)), n, level)
    return Estimate(metric.name, value, low, high, level, n, metric.chance, metric.direction)


def figure_of(metric: Metric, labels: Labels, score: Floats, fold: NDArray[np.intp]) -> Figure:
    """The metric of these patients as a function of counts, pooled over their folds."""

    def of(members: NDArray[np.intp]) -> Figure:
        parts = [a[members] for a in (*labels, score)]
        return lambda counts: metric.statistic(*parts, counts)

    return by_fold([(members, of(members)) for members in members_of(fold)])
