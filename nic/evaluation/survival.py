"""Statistics of a survival endpoint, for many draws at once.

All take labels `time_months` [n] and `event` [n] bool (True = death seen), predictions (a log hazard, higher = dies
earlier, or survival probabilities), and `counts` [R, n], how often a draw holds each patient. They return [R], NaN
where a draw does not define the statistic. Censoring is estimated from the patients of each draw, because another
hospital may follow its patients for longer or shorter than the training's did. It must not depend on the outcome.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nic.evaluation.bootstrap import mean, ratio
from nic.evaluation.classification import auc
from nic.evaluation.regression import tie_groups

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ROWS = 512
"""Deaths whose pairs are in memory at a time."""


@dataclass(frozen=True)
class LifeTable:
    """Patients by the month in which each was last seen, in each draw.

    months: [M] distinct, ascending. died, lost: [R, M], those who died and those who were censored in that month.
    """

    months: Floats
    died: Floats
    lost: Floats

    @classmethod
    def of(cls, time_months: Floats, event: Bools, counts: Floats) -> "LifeTable":
        _, order, starts = tie_groups(time_months)
        died, lost = (np.add.reduceat((counts * who)[:, order], starts, axis=1) for who in (event, ~event))
        return cls(time_months[order][starts], died, lost)

    @property
    def at_risk(self) -> Floats:
        """Patients seen in a month or later, [R, M]."""
        return (self.died + self.lost)[:, ::-1].cumsum(1)[:, ::-1]

    def alive(self, at_months: Floats) -> Floats:
        """Kaplan-Meier's share alive after each of `at_months` [T]: [R, T]."""
        return self._shares(ratio(self.died, self.at_risk), at_months)

    def uncensored(self, at_months: Floats) -> Floats:
        """Probability not to be censored by each of `at_months` [T]: [R, T]. Deaths come before it."""
        return self._shares(ratio(self.lost, self.at_risk - self.died), at_months)

    def followed(self, month: float) -> Bools:
        """Whether a draw's follow-up reaches beyond the month, or all were seen to die by then: [R]."""
        later = self.months > month
        return np.asarray((self.died + self.lost)[:, later].any(1) | ~self.lost[:, ~later].any(1))

    def _shares(self, leaving: Floats, at_months: Floats) -> Floats:
        """leaving: [R, M], the share of those at risk who leave in a month."""
        shares = np.pad((1 - np.nan_to_num(leaving)).cumprod(1), ((0, 0), (1, 0)), constant_values=1)
        return np.asarray(shares[:, np.searchsorted(self.months, at_months, "right")])


def inverse(probability: Floats) -> Floats:
    """How many patients each observed one stands for; 0 where nobody could be observed."""
    return np.where(probability > 0, 1 / np.where(probability > 0, probability, 1), 0.0)


def harrell(time_months: Floats, event: Bools, log_hazard: Floats, counts: Floats) -> Floats:
    """Harrell's C: of the pairs whose order is known, the share in which the higher log hazard dies earlier.

    A pair is known when the earlier time is a death; a death counts as earlier than a censoring at the same time. Ties
    of the log hazard count half. Source: Harrell 1982; oracle scikit-survival.
    """
    return _concordance(time_months, event, log_hazard, np.ones((1, len(event))), counts)


def uno(time_months: Floats, event: Bools, log_hazard: Floats, counts: Floats) -> Floats:
    """Uno's C: Harrell's, where each pair also stands for those that censoring has hidden.

    Source: Uno 2011; oracle scikit-survival.
    """
    weight = inverse(LifeTable.of(time_months, event, counts).uncensored(time_months)) ** 2
    return _concordance(time_months, event, log_hazard, weight, counts)


def auc_at(time_months: Floats, event: Bools, log_hazard: Floats, counts: Floats, *, month: float) -> Floats:
    """Probability that one who died by `month` has a higher log hazard than one alive then (cumulative, dynamic).

    Not defined where nobody was followed beyond the month. Oracle scikit-survival.
    """
    died, alive = event & (time_months <= month), time_months > month
    weight = inverse(LifeTable.of(time_months, event, counts).uncensored(time_months))
    return auc(died, log_hazard, counts * np.where(died, weight, alive))


def integrated_brier(time_months: Floats, event: Bools, survival: Floats, counts: Floats, *, months: Floats) -> Floats:
    """Squared distance of survival probability and state, mean over patients and `months`; 0.25 is no information.

    survival: [n, T], the probability to be alive at months [T], ascending. Not defined where a draw's follow-up ends
    before the last of them. Oracle scikit-survival.
    """
    table = LifeTable.of(time_months, event, counts)
    died = survival**2 * (event[:, None] & (time_months[:, None] <= months))  # [n, T]
    alive = counts @ ((1 - survival) ** 2 * (time_months[:, None] > months))  # [R, T]
    of_dead = (counts * inverse(table.uncensored(time_months))) @ np.trapezoid(died, months, axis=1)
    of_living = np.trapezoid(alive * inverse(table.uncensored(months)), months, axis=1)
    each: Floats = (of_dead + of_living) / (months[-1] - months[0]) / counts.sum(1)
    return np.where(table.followed(months[-1]), each, np.nan)


def calibration_at(time_months: Floats, event: Bools, survival: Floats, counts: Floats, *, month: float) -> Floats:
    """Mean survival probability at `month` minus Kaplan-Meier's share alive then: above 0 where it is too high.

    survival: [n], at that month. Not defined where a draw's follow-up ends before the month.
    """
    table = LifeTable.of(time_months, event, counts)
    difference = mean(survival, counts) - table.alive(np.array([month]))[:, 0]
    return np.where(table.followed(month), difference, np.nan)


def kaplan_meier(time_months: Floats, event: Bools, at_months: Floats) -> Floats:
    """Share alive at each of `at_months`, [T]; the last known share beyond the last patient."""
    # Here: the other statistics do without, and it takes a second to import.
    from sksurv.nonparametric import kaplan_meier_estimator

    months, alive = kaplan_meier_estimator(event, time_months)
    shares: Floats = np.r_[1.0, alive][np.searchsorted(months, at_months, "right")]
    return shares


def pairs_in_order(time_months: Floats, event: Bools, log_hazard: Floats) -> Floats:
    """Each patient's pairs of known order that the hazards rank correctly, minus those ranked wrongly, [n].

    Divided by the number of patients. A patient in few such pairs is neither best nor worst.
    """
    later = (time_months > time_months[:, None]) | ((time_months == time_months[:, None]) & ~event)
    known = event[:, None] & later  # [i, j]: i is known to die before j
    ranked = known * np.sign(log_hazard[:, None] - log_hazard)
    return np.asarray((ranked.sum(1) + ranked.sum(0)) / len(event))


def _concordance(time_months: Floats, event: Bools, log_hazard: Floats, weight: Floats, counts: Floats) -> Floats:
    """Weighted share of concordant pairs. weight: [R or 1, n], of the pairs whose earlier patient this is."""
    concordant, known = np.zeros(len(counts)), np.zeros(len(counts))
    drawn = counts.astype(np.float32)  # whole numbers below 2^24: exact, and the products of matrices at full speed
    deaths = np.flatnonzero(event)
    for block in np.array_split(deaths, max(1, -(-len(deaths) // ROWS))):
        later = (time_months > time_months[block, None]) | ((time_months == time_months[block, None]) & ~event)
        difference = log_hazard[block, None] - log_hazard
        halves = later * ((difference > 0) * 2.0 + (difference == 0))  # [b, n]
        first = counts[:, block] * weight[:, block]
        concordant += (first * (drawn @ halves.T.astype(np.float32))).sum(1) / 2
        known += (first * (drawn @ later.T.astype(np.float32))).sum(1)
    return ratio(concordant, known)
