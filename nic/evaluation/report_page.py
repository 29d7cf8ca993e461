"""The report of an evaluation: one HTML file that needs no other, to be read on a screen and on paper."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nic.evaluation.figure import Estimate
from nic.evaluation.subgroups import LEAST_PATIENTS, Subgroup
from nic.evaluation.words import meaning_of, name_of

FEW_PATIENTS = 30
"""A subgroup with fewer is said to be small."""


@dataclass(frozen=True)
class Picture:
    """A PNG that is in the report, and beside it under the name `file`.

    caption: what is to be seen in it. wide: whether it takes a line of its own.
    """

    file: str
    png: bytes
    caption: str
    wide: bool = False

    @property
    def data_url(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Excluded:
    """Patients who left the flow. names: as many as are named."""

    reason: str
    patients: int
    names: Sequence[str] = ()


@dataclass(frozen=True)
class FlowStep:
    """Patients that are left, and those who have left since the step before. note: a sentence below, or empty."""

    what: str
    patients: int
    excluded: Sequence[Excluded] = ()
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What the report says, in the order in which it is read.

    question: what the model answers, a sentence. notice: a warning above all, or empty. made: when and by which run.
    figures: the first decides. best, worst: a picture a patient. goodness: what made them best and worst, a sentence.
    lineage: values by name. uses, misuses: sentences.
    """

    title: str
    question: str
    notice: str
    made: str
    flow: Sequence[FlowStep]
    figures: Sequence[Estimate]
    result: Picture
    calibration: Picture | None
    subgroups: Sequence[Subgroup]
    subgroup_picture: Picture | None
    best: Sequence[Picture]
    worst: Sequence[Picture]
    goodness: str
    lineage: Mapping[str, str]
    uses: Sequence[str]
    misuses: Sequence[str]

    @property
    def pictures(self) -> list[Picture]:
        """All of them, in the order of the report."""
        single = [picture for picture in (self.result, self.calibration, self.subgroup_picture) if picture]
        return [*single, *self.best, *self.worst]


def render(report: Report) -> str:
    """The HTML, pictures and styles inside it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure_name": name_of,
        "figure_meaning": meaning_of,
        "number": number,
        "interval": interval,
        "reference": reference,
    }
    return environment.get_template("report.html").render(
        report=report,
        headline=report.figures[0],
        verdict=verdict(report.figures[0]),
        few=FEW_PATIENTS,
        least=LEAST_PATIENTS,
    )


def number(value: float) -> str:
    """Three digits; n. d. where the figure is not defined."""
    if not math.isfinite(value):
        return "n. d."
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"


def interval(estimate: Estimate) -> str:
    """Low and high end, where there is an interval."""
    return f"{number(estimate.low)} to {number(estimate.high)}" if math.isfinite(estimate.low) else "no interval"


def reference(estimate: Estimate) -> str:
    """What the figure is compared with, and which way is better."""
    if estimate.direction == "target":
        return f"should be {estimate.chance:.3g}"
    guess = "not known" if estimate.chance is None else f"{estimate.chance:.3g}"
    return f"guessing: {guess}; {estimate.direction} is better"


def verdict(estimate: Estimate) -> str:
    """Whether the interval leaves guessing out, in a sentence."""
    if estimate.chance is None or not math.isfinite(estimate.low):
        return "Whether it is better than guessing was not measured."
    higher = estimate.direction != "lower"
    better = estimate.low > estimate.chance if higher else estimate.high < estimate.chance
    worse = estimate.high < estimate.chance if higher else estimate.low > estimate.chance
    guessing = f"guessing ({estimate.chance:.3g})"
    if better:
        return f"The whole interval is better than {guessing}."
    return (
        f"The whole interval is worse than {guessing}."
        if worse
        else f"The interval holds {guessing}: nothing is shown."
    )
