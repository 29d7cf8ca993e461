"""Figures of a survival endpoint, of many draws at once.

All take labels `time_months` [n] and `event` [n] bool (True = death seen), predictions (a log hazard, higher = dies
earlier, or survival probabilities), and `counts` [R, n], how often a draw holds each patient; they give [R], NaN where
a draw does not define the figure. What is fitted, the censoring distribution, comes from the training patients.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sksurv.nonparametric import kaplan_meier_estimator

from nic.evaluation.bootstrap import mean, ratio
from nic.evaluation.classification import auc

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ROWS = 512
"""Deaths whose pairs are in memory at a time."""


@dataclass(frozen=True)
class Censoring:
    """Probability of not being censored by a time: a step function of the training patients.

    months: ascending. free: the probability from each month on. last_month: of follow-up; nothing is known after it.
    """

    months: Floats
    free: Floats
    last_month: float

    @classmethod
    def of(cls, time_months: Floats, event: Bools) -> "Censoring":
        """Kaplan-Meier with the roles of death and censoring changed."""
        months, free = kaplan_meier_estimator(event, time_months, reverse=True)
        return cls(np.r_[0.0, months], np.r_[1.0, free], float(time_months.max()))

    def weight(self, time_months: Floats) -> Floats:
        """How many patients one seen at a time stands for, 1 / probability; 0 where the training says nothing."""
        free = self.free[np.searchsorted(self.months, time_months, "right") - 1]
        return np.where((free > 0) & (time_months < self.last_month), 1 / np.where(free > 0, free, 1), 0.0)


def harrell(time_months: Floats, event: Bools, log_hazard: Floats, counts: Floats) -> Floats:
    """Harrell's C: of the pairs whose order is known, the share in which the higher log hazard dies earlier.

    A pair is known when the earlier time is a death; a death counts as earlier than a censoring at the same time. Ties
    of the log hazard count half. Source: Harrell 1982; oracle scikit-survival.
    """
    return _concordance(time_months, event, log_hazard, np.ones(len(event)), counts)


def uno(time_months: Floats, event: Bools, log_hazard: Floats, counts: Floats, *, censoring: Censoring) -> Floats:
    """Uno's C: Harrell's, each pair weighing as many as censoring has hidden, up to the training's last month.

    Source: Uno 2011; oracle scikit-survival.
    """
    return _concordance(time_months, event, log_hazard, censoring.weight(time_months) ** 2, counts)


def auc_at(
    time_months: Floats, event: Bools, log_hazard: Floats, counts: Floats, *, month: float, censoring: Censoring
) -> Floats:
    """Probability that one who died by `month` has a higher log hazard than one alive then (cumulative, dynamic).

    Oracle scikit-survival.
    """
    died, alive = event & (time_months <= month), time_months > month
    weight = np.where(died, censoring.weight(time_months), alive.astype(float))
    return auc(died, log_hazard, counts * weight)


def integrated_brier(
    time_months: Floats,
    event: Bools,
    survival: Floats,
    counts: Floats,
    *,
    months: Floats,
    censoring: Censoring,
) -> Floats:
    """Squared distance of survival probability and state, mean over patients and over `months`; 0.25 says nothing.

    survival: [n, T], the probability to be alive at months [T], ascending. Oracle scikit-survival.
    """
    died = (event[:, None] & (time_months[:, None] <= months)) * censoring.weight(time_months)[:, None]
    alive = (time_months[:, None] > months) * censoring.weight(months)
    errors = survival**2 * died + (1 - survival) ** 2 * alive  # [n, T]
    each = np.trapezoid(errors, months, axis=1) / (months[-1] - months[0])
    return mean(each, counts)


def calibration_at(
    time_months: Floats,
    event: Bools,
    survival: Floats,
    counts: Floats,
    *,
    month: float,
    censoring: Censoring,
) -> Floats:
    """Mean survival probability at `month` less the share alive then: above 0 where too much is promised.

    survival: [n], at that month. Patients censored before it are stood for by the others.
    """
    died = (event & (time_months <= month)) * censoring.weight(time_months)
    alive = (time_months > month) * censoring.weight(np.array([month]))
    return mean(survival, counts) - ratio(counts @ alive, counts @ (died + alive))


def kaplan_meier(time_months: Floats, event: Bools, at_months: Floats) -> Floats:
    """Share alive at each of `at_months`, [T]; the last known share beyond the last patient."""
    months, alive = kaplan_meier_estimator(event, time_months)
    shares: Floats = np.r_[1.0, alive][np.searchsorted(months, at_months, "right")]
    return shares


def _concordance(time_months: Floats, event: Bools, log_hazard: Floats, weight: Floats, counts: Floats) -> Floats:
    """Weighted share of concordant pairs. weight: [n], of the pairs whose earlier patient this is."""
    concordant, known = np.zeros(len(counts)), np.zeros(len(counts))
    drawn = counts.astype(np.float32)  # whole numbers below 2^24: exact, and the products of matrices at full speed
    deaths = np.flatnonzero(event & (weight > 0))
    for block in np.array_split(deaths, max(1, -(-len(deaths) // ROWS))):
        later = (time_months > time_months[block, None]) | ((time_months == time_months[block, None]) & ~event)
        difference = log_hazard[block, None] - log_hazard
        halves = later * ((difference > 0) * 2.0 + (difference == 0))  # [b, n]
        first = counts[:, block] * weight[block]
        concordant += (first * (drawn @ halves.T.astype(np.float32))).sum(1) / 2
        known += (first * (drawn @ later.T.astype(np.float32))).sum(1)
    return ratio(concordant, known)
