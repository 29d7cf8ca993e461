"""A figure: a number that says how well a model did on some patients, with its interval by the patient bootstrap.

Scores of different folds cannot be compared. Where patients have folds, a figure is taken in each fold and averaged;
each fold weighs as many patients as it has, and patients are drawn again within their fold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nic.errors import EndpointError
from nic.evaluation.bootstrap import Floats, Interval, Statistic, bca, by_fold, draws_of, members_of, percentile, whole
from nic.evaluation.figure_words import needs_of

Labels = tuple[NDArray[Any], ...]
Folds = NDArray[np.intp]
Direction = Literal["higher", "lower", "target"]
RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Figure:
    """One number of one model on n patients, as a function of how often each patient is drawn.

    direction: whether a higher or a lower value is better, or whether `reference` is the value to meet. reference: what
    guessing gets, or that target; None where it is not known. of_draws: counts [R, n] -> values [R], closed over the
    answers and the labels; NaN for a draw that does not define the figure. fold: [n], patients are drawn within theirs.
    """

    name: str
    direction: Direction
    reference: float | None
    of_draws: Statistic
    fold: Folds

    @classmethod
    def of(
        cls,
        name: str,
        statistic: Callable[..., Floats],
        labels: Labels,
        answers: NDArray[Any],
        reference: float | None,
        direction: Direction = "higher",
        fold: Folds | None = None,
    ) -> "Figure":
        """From statistic(*labels [n], answers [n, ...], counts [R, n]) -> [R]. fold: [n]; None for one list of all."""
        fold = np.zeros(len(answers), np.intp) if fold is None else fold

        def among(members: NDArray[np.intp]) -> Statistic:
            arrays = [array[members] for array in (*labels, answers)]
            return lambda counts: statistic(*arrays, counts)

        of_draws = by_fold([(members, among(members)) for members in members_of(fold)])
        return cls(name, direction, reference, of_draws, fold)

    @property
    def n(self) -> int:
        """Patients."""
        return len(self.fold)

    @property
    def value(self) -> float:
        """Of the patients themselves; NaN where they do not define it."""
        return whole(self.of_draws, self.n)


@dataclass(frozen=True)
class Estimate:
    """The value of a figure with its interval; NaN where it is not defined.

    level: of the interval. n: patients. chance: the figure's reference, under the name that records have for it.
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

    @property
    def is_defined(self) -> bool:
        return math.isfinite(self.value)

    def required(self) -> "Estimate":
        """Itself. Raises EndpointError where the patients do not define the figure."""
        if self.is_defined:
            return self
        raise EndpointError(
            f"{self.name} of {self.n} patients is not defined; it needs {needs_of(self.name)}, and finite scores"
        )


def estimate(
    figure: Figure, *, seed: int, resamples: int = RESAMPLES, level: float = 0.95, interval: Interval = bca
) -> Estimate:
    """The figure and its interval over patients drawn with replacement; NaN where it is not defined.

    Draws that do not define the figure are left out. With folds, the interval takes the folds for independent: near
    chance it is too narrow, see docs/results/coverage.md.
    """
    value, low, high = figure.value, math.nan, math.nan
    if math.isfinite(value):
        draws = draws_of(figure.of_draws, figure.fold, resamples, np.random.default_rng(seed))
        low, high = interval(figure.of_draws, draws, figure.n, level)
    return Estimate(figure.name, value, low, high, level, figure.n, figure.reference, figure.direction)


def difference(
    first: Figure,
    second: Figure,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    interval: Interval = percentile,
) -> Estimate:
    """One figure of two models on the same patients in the same order: first minus second, in pairs.

    Each draw holds the same patients for both. One model is better where the interval does not hold 0. Raises
    EndpointError when the models answered different numbers of patients.
    """
    if first.n != second.n:
        raise EndpointError(
            f"{first.name}: answers for {first.n} and for {second.n} patients; wanted the same patients"
        )

    def of_draws(counts: Floats) -> Floats:
        return first.of_draws(counts) - second.of_draws(counts)

    paired = Figure(first.name, first.direction, 0.0, of_draws, first.fold)
    return estimate(paired, seed=seed, resamples=resamples, level=level, interval=interval)


def differences(first: Sequence[Figure], second: Sequence[Figure], *, seed: int) -> list[Estimate]:
    """Paired differences of the figures that both models have, without those that are to meet a target."""
    others = {figure.name: figure for figure in second}
    compared = [figure for figure in first if figure.name in others and figure.direction != "target"]
    return [difference(figure, others[figure.name], seed=seed) for figure in compared]


def mean_of(figures: Sequence[Figure]) -> Figure:
    """The mean of one figure over several partitions of the same patients into folds.

    A draw of patients is the same in all of them. The interval is of the patients; what another partition would change
    is not in it.
    """
    if len(figures) == 1:
        return figures[0]

    def of_draws(counts: Floats) -> Floats:
        return np.asarray(np.mean([figure.of_draws(counts) for figure in figures], axis=0))

    first = figures[0]
    return Figure(first.name, first.direction, first.reference, of_draws, np.zeros(first.n, np.intp))
