"""Published results of an endpoint, with honest 95% intervals, beside a study's own."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nic.evaluation.figure import Estimate

CORRELATIONS = ("spearman", "pearson")
"""Figures whose interval follows from the value and the number of patients alone."""
LEVEL = 0.95
Part = Literal["external", "cross_validated"]


class PublishedResult(BaseModel):
    """A result that others published. The text below a field is its help in an editor."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    method: str
    """Name of the method."""
    value: float
    """The published value."""
    n: int = Field(ge=4)
    """Patients on whom it was measured."""
    part: Part = "external"
    """external: other patients than those of the training. cross_validated: the training patients."""
    figure: str = ""
    """Its figure, such as spearman or quadratic_kappa; else the figure that decides."""
    source: str = ""
    """Where it was published."""

    @model_validator(mode="after")
    def _is_a_correlation(self) -> "PublishedResult":
        if self.figure in CORRELATIONS and not -1 < self.value < 1:
            raise ValueError(f"{self.method}: a correlation of {self.value:g}, wanted one between -1 and 1")
        return self

    def estimate(self, figure: str) -> Estimate:
        """The value with its 95% interval, NaN where it does not follow from value and n. figure: if it names none."""
        name, low, high = self.figure or figure, math.nan, math.nan
        if name in CORRELATIONS and -1 < self.value < 1:
            low, high = correlation_interval(self.value, self.n)
        return Estimate(name, self.value, low, high, LEVEL, self.n)


@dataclass(frozen=True)
class ComparedResult:
    """A row of the table of published results. method: empty for the study's own."""

    method: str
    part: Part
    estimate: Estimate
    source: str = ""

    @property
    def value(self) -> str:
        """The value with its interval, where it has one."""
        return str(self.estimate) if math.isfinite(self.estimate.low) else f"{self.estimate.value:.3f}, no interval"


def correlation_interval(value: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a correlation of n patients by Fisher's z, whose standard error is 1 / sqrt(n - 3).

    value: between -1 and 1, ends excluded. n: 4 or more. Source: Fisher 1921; for Spearman's as for Pearson's.
    """
    middle, half = math.atanh(value), NormalDist().inv_cdf((1 + level) / 2) / math.sqrt(n - 3)
    return math.tanh(middle - half), math.tanh(middle + half)


def compared_results(
    published: Sequence[PublishedResult], part: Part, own: Mapping[str, Estimate], deciding: str
) -> list[ComparedResult]:
    """The results of a part by figure, the study's own first. own: its estimates by name. deciding: its main figure.

    A figure that the study has not measured is shown without its own row.
    """
    return list(_rows(published, part, own, deciding))


def _rows(
    published: Sequence[PublishedResult], part: Part, own: Mapping[str, Estimate], deciding: str
) -> Iterator[ComparedResult]:
    results = [(result, result.estimate(deciding)) for result in published if result.part == part]
    for figure in dict.fromkeys(estimate.name for _, estimate in results):
        if figure in own:
            yield ComparedResult("", part, own[figure])
        for result, estimate in results:
            if estimate.name == figure:
                yield ComparedResult(result.method, part, estimate, result.source)


def about_patients(results: Sequence[ComparedResult]) -> str:
    """A sentence on whether the patients may be the same as the study's own; empty where there is no published one."""
    own = {result.estimate.n for result in results if not result.method}
    theirs = sorted({result.estimate.n for result in results if result.method})
    if not theirs:
        return ""
    counts = " and ".join(map(str, theirs))
    same = "as many as here; the source must say whether they are the same"
    return (
        f"Published results are of {counts} patients, {same if own == set(theirs) else 'not those measured here'}. "
        "Their 95% intervals follow from value and number of patients (Fisher's z), where that is possible. A "
        "difference between two rows is not tested: that needs the answers of both methods for the same patients."
    )
