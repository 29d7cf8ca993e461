"""What a patient's score means, learned from the training patients' out-of-fold answers. Needs numpy alone.

A score is what the networks give: a value in the endpoint's unit, log odds, or a log hazard. The calibrations are
values that travel in the model's spec as JSON; `calibration_fit` makes them. The calibrated probability of a class is
the prediction itself; what the other calibrations say stands beside the prediction, under their `names`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ResidualInterval:
    """A value's interval, as wide to both sides: the pooled residuals of a cross-validation around the ensemble.

    level: share of the training patients' labels that it held. In simulations it holds as many of new patients like
    them (docs/results/calibration.md). That is no guarantee: one is proven for split conformal intervals, where the
    model that answers is the one whose residuals were taken, and of CV+ only for 2 level - 1 (Barber et al. 2021).
    half_width: in the endpoint's unit. method: "conformal" in models from before it was called what it is.
    """

    level: float
    half_width: float
    method: Literal["residuals", "conformal"] = "residuals"

    @property
    def names(self) -> tuple[str, ...]:
        return ("low", "high")

    def of(self, score: float) -> dict[str, float]:
        return {"low": score - self.half_width, "high": score + self.half_width}


class ClassProbability:
    """The calibrated probability is the prediction of a class; nothing stands beside it."""

    names: tuple[str, ...] = ()

    def of(self, score: float) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class PlattProbability(ClassProbability):
    """Probability of the positive class, logistic in the score. threshold: score at and above which it is called."""

    slope: float
    intercept: float
    threshold: float
    method: Literal["platt"] = "platt"

    def probability(self, score: Floats) -> Floats:
        return logistic(self.slope * score + self.intercept)


@dataclass(frozen=True)
class IsotonicProbability(ClassProbability):
    """Probability of the positive class, rising from score to score and flat beyond the last. threshold: as above."""

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    threshold: float
    method: Literal["isotonic"] = "isotonic"

    def probability(self, score: Floats) -> Floats:
        return np.interp(score, self.scores, self.probabilities)


@dataclass(frozen=True)
class Prognosis:
    """Survival probabilities, exp(-H(t) exp(slope * log hazard)), and the place among the training patients.

    slope: below 1 where the networks' log hazards are too far apart. months, cumulative_hazard: H, a step function
    (Breslow). stated_months: at which an answer gives the probability. deviation, quantiles: of log
    hazards as the ensemble gives them to patients like those of the training; the quantiles from the lowest to the
    highest in equal steps.
    """

    slope: float
    months: tuple[float, ...]
    cumulative_hazard: tuple[float, ...]
    stated_months: tuple[float, ...]
    deviation: float
    quantiles: tuple[float, ...]
    method: Literal["breslow"] = "breslow"

    @property
    def names(self) -> tuple[str, ...]:
        return ("percentile", *(f"survival_{month:g}m" for month in self.stated_months))

    def of(self, score: float) -> dict[str, float]:
        """percentile: share of training patients with a lower log hazard, of 100."""
        percentile = float(np.interp(score, self.quantiles, np.linspace(0, 100, len(self.quantiles))))
        alive = self.survival(np.array([score]), np.array(self.stated_months))[0]
        return dict(zip(self.names, (percentile, *alive.tolist()), strict=True))

    def survival(self, log_hazard: Floats, months: Floats) -> Floats:
        """Probability to be alive, [n, T], of log hazards [n] at months [T]; after the last death it stays."""
        steps = np.r_[0.0, self.cumulative_hazard]
        hazard = steps[np.searchsorted(self.months, months, "right")]
        alive: Floats = np.exp(-hazard * np.exp(self.slope * log_hazard)[:, None])
        return alive


Calibration = ResidualInterval | PlattProbability | IsotonicProbability | Prognosis
METHODS: Mapping[str, Callable[..., Calibration]] = {
    "residuals": ResidualInterval,
    "conformal": ResidualInterval,  # as it was called before
    "platt": PlattProbability,
    "isotonic": IsotonicProbability,
    "breslow": Prognosis,
}


def logistic(log_odds: Floats) -> Floats:
    """Probability of log odds, of any size."""
    odds = np.exp(-np.abs(log_odds))
    return np.asarray(np.where(log_odds >= 0, 1, odds) / (1 + odds))


def calibration_from(fields: Mapping[str, Any]) -> Calibration:
    """What `dataclasses.asdict` made of a calibration, also after JSON. Raises KeyError, TypeError."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return METHODS[str(values["method"])](**values)
