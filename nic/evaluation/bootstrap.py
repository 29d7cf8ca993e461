"""Patients drawn with replacement, as counts: a draw says how often each patient is in it.

A figure is a function of counts, `[R, n] -> [R]`, so that a thousand draws cost one pass of matrix arithmetic, and a
patient left out (for BCa) is a count of zero. A draw of which the figure is not defined gives NaN.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
Figure = Callable[[Floats], Floats]
Ends = tuple[float, float]
Interval = Callable[[Figure, Floats, int, float], Ends]
"""interval(figure, its draws [R], n patients, level) -> low, high."""
LARGEST_JACKKNIFE = 500
BLOCK = 1 << 22
"""Counts in memory at a time, whatever the number of patients."""


def draws_of(figure: Figure, fold: NDArray[np.intp], resamples: int, rng: np.random.Generator) -> Floats:
    """The figure of `resamples` draws, [resamples]; patients are drawn again within their fold. fold: [n]."""
    return np.concatenate([figure(counts) for counts in _drawn(fold, resamples, rng)])


def whole(figure: Figure, n: int) -> float:
    """The figure of the n patients themselves."""
    return float(figure(np.ones((1, n)))[0])


def percentile(figure: Figure, draws: Floats, n: int, level: float) -> Ends:
    """The middle `level` of the draws."""
    return _quantiles(draws, np.array([(1 - level) / 2, (1 + level) / 2]))


def bca(figure: Figure, draws: Floats, n: int, level: float) -> Ends:
    """The draws' quantiles, moved for bias and for a spread that changes with the figure.

    Source: Efron 1987, "Better bootstrap confidence intervals"; the acceleration is the jackknife's. Where every draw
    is on one side of the figure there is nothing to move by, and the percentiles are given.
    """
    value, defined = whole(figure, n), draws[np.isfinite(draws)]
    below = float(((defined < value) + 0.5 * (defined == value)).mean()) if len(defined) else 0.0
    if not 0 < below < 1:
        return percentile(figure, draws, n, level)
    bias, ends = ndtri(below), ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    moved = bias + (bias + ends) / (1 - acceleration(figure, n) * (bias + ends))
    return _quantiles(draws, np.asarray(ndtr(moved)))


def acceleration(figure: Figure, n: int) -> float:
    """Skewness of the patients' influence on the figure, from leaving each out; 0 where nobody changes it.

    Of many patients several are left out together: their mean's skewness is smaller by what their number is.
    """
    groups = min(n, LARGEST_JACKKNIFE)
    left_out = figure((np.arange(n) % groups != np.arange(groups)[:, None]).astype(float))
    known = left_out[np.isfinite(left_out)]
    influence = known.mean() - known if len(known) else known
    spread = (influence**2).sum() ** 1.5
    return float((influence**3).sum() / (6 * spread)) if spread > 0 else 0.0


def by_fold(figures: Sequence[tuple[NDArray[np.intp], Figure]]) -> Figure:
    """One figure of several folds: their mean, each weighing as many patients as it has in the draw.

    figures: of each fold its members and the figure of their counts. A fold whose figure is not defined is left out.
    """

    def pooled(counts: Floats) -> Floats:
        values = np.stack([figure(counts[:, members]) for members, figure in figures])  # [K, R]
        weights = np.stack([counts[:, members].sum(1) for members, _ in figures]) * np.isfinite(values)
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
