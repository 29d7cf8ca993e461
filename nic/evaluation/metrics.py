"""Figures of merit with patient-bootstrap intervals: Spearman, AUC and Harrell's C.

Where `fold` is given, scores of different folds do not compare: the figure is taken in each fold and averaged, each
fold weighing as many patients as it has, and patients are drawn again within their fold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from tqdm import tqdm

from nic.errors import EndpointError

Floats = NDArray[np.float64]
Statistic = Callable[..., float]
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; higher is better. level: of the interval. n: patients. chance: what guessing gets."""

    name: str
    value: float
    low: float
    high: float
    level: float
    n: int
    chance: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def spearman(value: Floats, score: Floats) -> float:
    """Rank correlation of labels and scores, [N] each; NaN when one of them is constant."""
    ranks = rankdata(value) - (len(value) + 1) / 2, rankdata(score) - (len(score) + 1) / 2
    norm = np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    return float((ranks[0] * ranks[1]).sum() / norm) if norm > 0 else float("nan")


def auc(positive: NDArray[np.bool_], score: Floats) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN with a single class."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    rank_sum = rankdata(score)[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def concordance(time_months: Floats, event: NDArray[np.bool_], log_hazard: Floats) -> float:
    """Harrell's C: of the pairs whose order is known, the share in which the higher log hazard dies earlier.

    A pair is known when the earlier time is a death; a death counts as earlier than a censoring at the same time. Ties
    of the log hazard count half. NaN without such a pair. Source: Harrell 1982; oracle scikit-survival.
    """
    earlier = (time_months[:, None] < time_months) | ((time_months[:, None] == time_months) & ~event[None, :])
    known = event[:, None] & earlier
    np.fill_diagonal(known, False)
    if not known.any():
        return float("nan")
    difference = log_hazard[:, None] - log_hazard
    return float(((difference > 0) & known).sum() + 0.5 * ((difference == 0) & known).sum()) / float(known.sum())


@dataclass(frozen=True)
class Metric:
    """A statistic of (labels..., scores) and what guessing gives."""

    name: str
    statistic: Statistic
    chance: float


METRICS = {
    "regression": Metric("spearman", spearman, 0.0),
    "classification": Metric("auc", auc, 0.5),
    "survival": Metric("c_index", concordance, 0.5),
}


def estimate(
    metric: Metric,
    labels: tuple[NDArray[Any], ...],
    score: Floats,
    *,
    seed: int,
    fold: NDArray[np.intp] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Estimate:
    """The figure and its percentile interval over patients drawn with replacement.

    labels: arrays [N] as the statistic takes them. score: [N]. Draws of which the figure is not defined (one class, no
    event) are left out; the interval is of the others. Raises EndpointError when it is not defined of the patients
    themselves.
    """
    rng = np.random.default_rng(seed)
    fold = np.zeros(len(score), np.intp) if fold is None else fold
    members = [np.flatnonzero(fold == number) for number in np.unique(fold)]

    def pooled(chosen: list[NDArray[np.intp]]) -> float:
        values = np.array([metric.statistic(*(a[i] for a in labels), score[i]) for i in chosen])
        weights = np.array([len(i) for i in chosen], float)
        defined = np.isfinite(values)
        return float(np.average(values[defined], weights=weights[defined])) if defined.any() else float("nan")

    value = pooled(members)
    if not np.isfinite(value):
        raise EndpointError(
            f"{metric.name} of {len(score)} patients is not defined; wanted labels of both classes, pairs of survival "
            "times with a known order, or values that differ, and finite scores"
        )
    draws = tqdm(range(resamples), desc=f"bootstrap {metric.name}", leave=False, delay=2)
    drawn = np.array([pooled([rng.choice(i, len(i)) for i in members]) for _ in draws])
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(metric.name, value, float(low), float(high), level, len(score), metric.chance)
