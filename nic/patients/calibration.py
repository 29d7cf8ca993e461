"""What a patient's score means, learned from the training patients' out-of-fold answers. Needs numpy alone.

A score is what the networks give: a value in the endpoint's unit, log odds, or a log hazard; of several classes there
is one for each. The calibrations are values that travel in the model's spec as JSON; `calibration_fit` makes them. The
calibrated probability of one of two classes is the prediction itself; what the other calibrations say stands beside the
prediction, under their `names`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from nic.tables.cells import number

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
class SoftmaxProbabilities:
    """Probabilities of several classes, a softmax of slope * score + bias. slope: 0 or more. biases: of mean 0."""

    classes: tuple[str, ...]
    slope: float
    biases: tuple[float, ...]
    method: Literal["softmax"] = "softmax"

    @property
    def names(self) -> tuple[str, ...]:
        return probability_names(self.classes)

    def probabilities(self, scores: Floats) -> Floats:
        """[..., C] of the classes' scores [..., C]."""
        return np.asarray(softmax(self.slope * scores + np.array(self.biases), axis=-1))

    def of(self, scores: Floats) -> dict[str, float]:
        """scores: [C]."""
        return dict(zip(self.names, self.probabilities(scores).tolist(), strict=True))


@dataclass(frozen=True)
class GradeProbabilities:
    """Probabilities of ordered grades, by proportional odds: P(grade <= k) = logistic(threshold k - slope * score).

    classes: from the lowest grade on. slope: 0 or more. thresholds: rising, one fewer than classes.
    """

    classes: tuple[str, ...]
    slope: float
    thresholds: tuple[float, ...]
    method: Literal["proportional-odds"] = "proportional-odds"

    @property
    def names(self) -> tuple[str, ...]:
        return probability_names(self.classes)

    def probabilities(self, score: Floats) -> Floats:
        """[..., C] of scores [...]."""
        at_most = logistic(np.array(self.thresholds) - self.slope * np.asarray(score)[..., None])
        return np.diff(at_most, axis=-1, prepend=0.0, append=1.0)

    def expected(self, score: Floats) -> Floats:
        """The expected grade, [...] of scores [...]: the mean of `grade_values`, each weighed by its probability."""
        return np.asarray(self.probabilities(score) @ np.array(grade_values(self.classes)))

    def of(self, score: float) -> dict[str, float]:
        return dict(zip(self.names, self.probabilities(np.array(score)).tolist(), strict=True))


def probability_names(classes: Sequence[str]) -> tuple[str, ...]:
    """What the probabilities of classes are called in an answer."""
    return tuple(f"probability_{name}" for name in classes)


def most_probable(probabilities: Floats) -> NDArray[np.intp]:
    """The place of the class that is answered, [...] of [..., C]; the first of several that are equal."""
    return np.asarray(probabilities.argmax(-1))


def scores_of_classes(scores: Floats, places: NDArray[np.intp]) -> Floats:
    """Of each patient the score of one class: [N], of scores [N, C] and the classes' places [N]."""
    return np.take_along_axis(scores, places[:, None], axis=1)[:, 0]


def grade_values(classes: Sequence[str]) -> tuple[float, ...]:
    """The numbers that grades are averaged by: their own where all names are numbers, else 1 for the lowest, 2, ..."""
    try:
        return tuple(number(name) for name in classes)
    except ValueError:
        return tuple(float(place) for place in range(1, len(classes) + 1))


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


Calibration = (
    ResidualInterval | PlattProbability | IsotonicProbability | SoftmaxProbabilities | GradeProbabilities | Prognosis
)
METHODS: Mapping[str, Callable[..., Calibration]] = {
    "residuals": ResidualInterval,
    "conformal": ResidualInterval,  # as it was called before
    "platt": PlattProbability,
    "isotonic": IsotonicProbability,
    "softmax": SoftmaxProbabilities,
    "proportional-odds": GradeProbabilities,
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
