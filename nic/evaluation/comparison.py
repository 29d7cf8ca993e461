"""Two sets of answers for the same patients: the difference of a figure, drawn in pairs."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nic.errors import EndpointError
from nic.evaluation.bootstrap import Interval, draws_of, percentile, whole
from nic.evaluation.endpoint_figures import Measure
from nic.evaluation.figure import RESAMPLES, Estimate, Labels, Metric, figure_of

Floats = NDArray[np.float64]


def paired_difference(
    metric: Metric,
    labels: Labels,
    first: Floats,
    second: Floats,
    *,
    seed: int,
    fold: NDArray[np.intp] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    interval: Interval = percentile,
) -> Estimate:
    """The figure of `first` less that of `second`, each draw holding the same patients for both.

    labels, first, second: of the same patients in the same order. The interval leaves 0 out where one is better. NaN
    where a figure is not defined of the patients. Raises EndpointError when the answers are not of as many patients.
    """
    ours, others = (Measure(metric, labels, score) for score in (first, second))
    return measured_difference(ours, others, seed=seed, fold=fold, resamples=resamples, level=level, interval=interval)


def measured_difference(
    first: Measure,
    second: Measure,
    *,
    seed: int,
    fold: NDArray[np.intp] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    interval: Interval = percentile,
) -> Estimate:
    """As `paired_difference`, each model by its own measure: what one calls positive at its threshold, the other may
    not call so at the other's.
    """
    metric, n = first.metric, len(first.score)
    if n != len(second.score):
        raise EndpointError(f"{metric.name}: answers for {n} and for {len(second.score)} patients; wanted the same")
    fold = np.zeros(n, np.intp) if fold is None else fold
    ours, others = (figure_of(m.metric, m.labels, m.score, fold) for m in (first, second))

    def difference(counts: Floats) -> Floats:
        return ours(counts) - others(counts)

    value = whole(difference, n)
    low = high = math.nan
    if math.isfinite(value):
        draws = draws_of(difference, fold, resamples, np.random.default_rng(seed))
        low, high = interval(difference, draws, n, level)
    return Estimate(metric.name, value, low, high, level, n, 0.0, metric.direction)


def differences(first: Sequence[Measure], second: Sequence[Measure], *, seed: int) -> list[Estimate]:
    """Paired differences of two models' measures, first less second, of the metrics that both have."""
    others = {measure.metric.name: measure for measure in second}
    return [
        measured_difference(m, others[m.metric.name], seed=seed)
        for m in first
        if m.metric.name in others and m.metric.direction != "target"
    ]
