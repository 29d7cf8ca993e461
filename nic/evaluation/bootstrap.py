"""The patient bootstrap. A draw of patients with replacement is a row of counts: how often it holds each patient.

A statistic is a function of counts, `[R, n] -> [R]`. So a thousand draws cost one pass of matrix arithmetic, and a
patient who is left out (for BCa) is a count of zero. A draw that does not define the statistic gives NaN.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""statistic(counts [R, n]) -> [R]."""
Ends = tuple[float, float]
Interval = Callable[[Statistic, Floats, int, float], Ends]
"""interval(statistic, its draws [R], n patients, level) -> low, high."""
LARGEST_JACKKNIFE = 500
BLOCK = 1 << 22
"""Counts in memory at a time, whatever the number of patients."""


def draws_of(statistic: Statistic, fold: NDArray[np.intp], resamples: int, rng: np.random.Generator) -> Floats:
    """The statistic of `resamples` draws, [resamples]; patients are drawn within their fold. fold: [n]."""
    return np.concatenate([statistic(counts) for counts in _drawn(fold, resamples, rng)])


def whole(statistic: Statistic, n: int) -> float:
    """The statistic of the n patients themselves."""
    return float(statistic(np.ones((1, n)))[0])


def percentile(statistic: Statistic, draws: Floats, n: int, level: float) -> Ends:
    """The middle `level` of the draws."""
    return _quantiles(draws, np.array([(1 - level) / 2, (1 + level) / 2]))


def bca(statistic: Statistic, draws: Floats, n: int, level: float) -> Ends:
    """The draws' quantiles, corrected for bias and for a spread that changes with the value.

    Source: Efron 1987, "Better bootstrap confidence intervals"; the acceleration is the jackknife's. Where all draws
    are on one side of the value, no correction is known: the ends are the percentiles.
    """
    value, defined = whole(statistic, n), draws[np.isfinite(draws)]
    below = float(((defined < value) + 0.5 * (defined == value)).mean()) if len(defined) else 0.0
    if not 0 < below < 1:
        return percentile(statistic, draws, n, level)
    bias, ends = ndtri(below), ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    moved = bias + (bias + ends) / (1 - acceleration(statistic, n) * (bias + ends))
    return _quantiles(draws, np.asarray(ndtr(moved)))


def acceleration(statistic: Statistic, n: int) -> float:
    """Skewness of the patients' influence on the statistic, by leaving each out; 0 where nobody changes it.

    Of many patients, several are left out together: the groups are fewer and less skewed, which gives the same.
    """
    groups = min(n, LARGEST_JACKKNIFE)
    left_out = statistic((np.arange(n) % groups != np.arange(groups)[:, None]).astype(float))
    known = left_out[np.isfinite(left_out)]
    influence = known.mean() - known if len(known) else known
    spread = (influence**2).sum() ** 1.5
    return float((influence**3).sum() / (6 * spread)) if spread > 0 else 0.0


def by_fold(folds: Sequence[tuple[NDArray[np.intp], Statistic]]) -> Statistic:
    """The mean over folds, each weighing as many patients as it has in the draw.

    folds: of each its members, and the statistic of their counts. A fold that does not define it is left out.
    """

    def pooled(counts: Floats) -> Floats:
        values = np.stack([statistic(counts[:, members]) for members, statistic in folds])  # [K, R]
        weights = np.stack([counts[:, members].sum(1) for members, _ in folds]) * np.isfinite(values)
        total = weights.sum(0)
        return np.where(total > 0, (np.nan_to_num(values) * weights).sum(0) / np.maximum(total, 1e-12), np.nan)

    return pooled


def mean(values: Floats, counts: Floats) -> Floats:
    """Mean of the patients' values, [n], in each draw, [R]."""
    means: Floats = counts @ values / counts.sum(1)
    return means


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below; NaN where there is nothing below."""
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


def members_of(fold: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Indices of each fold's patients."""
    return [np.flatnonzero(fold == number) for number in np.unique(fold)]


def _drawn(fold: NDArray[np.intp], resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    for block in np.array_split(np.arange(resamples), max(1, -(-resamples * len(fold) // BLOCK))):
        counts = np.empty((len(block), len(fold)))
        for chosen in members_of(fold):
            counts[:, chosen] = rng.multinomial(len(chosen), np.full(len(chosen), 1 / len(chosen)), len(block))
        yield counts


def _quantiles(draws: Floats, at: Floats) -> Ends:
    low, high = np.nanquantile(draws, at) if np.isfinite(draws).any() else (np.nan, np.nan)
    return float(low), float(high)
