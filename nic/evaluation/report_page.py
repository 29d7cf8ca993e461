"""The page of an evaluation's report: one HTML file that needs no other, for the screen and for paper."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nic.evaluation.figure import Estimate
from nic.evaluation.figure_words import meaning_of, needs_of, title_of
from nic.evaluation.published import ComparedResult
from nic.evaluation.subgroups import LEAST_PATIENTS, Subgroup

FEW_PATIENTS = 30
"""The report marks a subgroup with fewer as small."""


@dataclass(frozen=True)
class Picture:
    """A PNG in the report. It also lies beside the report under the name `file`.

    caption: what it shows. wide: whether it takes a line of its own.
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
    """Patients who were excluded at a step. names: of the first of them, or of none."""

    reason: str
    patients: int
    names: Sequence[str] = ()


@dataclass(frozen=True)
class FlowStep:
    """How many patients remain at a step, and who was excluded before it. note: a sentence below, or empty."""

    what: str
    patients: int
    excluded: Sequence[Excluded] = ()
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The content of the report, in the order in which it is read.

    question: what the model predicts, a sentence. notice: a warning above everything else, or empty. made: when and by
    which run. patients: how many were measured, with which outcomes. estimates: of all figures, the deciding one first.
    confusion: of an endpoint of several classes or grades. best, worst: one picture a patient. map_scale: what the
    numbers beside a map mean, sentences. goodness: by what patients are ordered, a sentence. lineage: values by name.
    uses, misuses: sentences. published: results of others beside the study's own. published_note: sentences on them.
    """

    title: str
    question: str
    notice: str
    made: str
    flow: Sequence[FlowStep]
    patients: str
    estimates: Sequence[Estimate]
    result: Picture
    confusion: Picture | None
    calibration: Picture | None
    subgroups: Sequence[Subgroup]
    subgroup_picture: Picture | None
    best: Sequence[Picture]
    worst: Sequence[Picture]
    map_scale: str
    goodness: str
    lineage: Mapping[str, str]
    uses: Sequence[str]
    misuses: Sequence[str]
    published: Sequence[ComparedResult] = ()
    published_note: str = ""

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in the order of the report."""
        single = (self.result, self.confusion, self.calibration, self.subgroup_picture)
        return [*(picture for picture in single if picture), *self.best, *self.worst]


def render(report: Report) -> str:
    """The HTML, with pictures and styles inside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure_title": title_of,
        "figure_meaning": meaning_of,
        "number": number,
        "interval": interval,
        "comparison": comparison,
    }
    return environment.get_template("report_page.html").render(
        report=report,
        headline=report.estimates[0],
        verdict=verdict(report.estimates[0]),
        few=FEW_PATIENTS,
        least=LEAST_PATIENTS,
    )


def number(value: float) -> str:
    """Three digits."""
    if not math.isfinite(value):
        return "not defined"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"


def interval(estimate: Estimate) -> str:
    """Low and high end, or that there is no interval; empty where there is no value either."""
    if not estimate.is_defined:
        return ""
    return f"{number(estimate.low)} to {number(estimate.high)}" if math.isfinite(estimate.low) else "no interval"


def comparison(estimate: Estimate) -> str:
    """The target, or what guessing gets and which direction is better; of a figure without a value the reason."""
    if not estimate.is_defined:
        return f"too few patients or events: it needs {needs_of(estimate.name) or 'other patients'}"
    if estimate.direction == "target":
        return f"should be {estimate.chance:.3g}"
    guess = "not recorded in this older version" if estimate.chance is None else f"{estimate.chance:.3g}"
    return f"guessing: {guess}; {estimate.direction} is better"


def verdict(estimate: Estimate) -> str:
    """Whether the interval excludes guessing, in a sentence."""
    if estimate.chance is None:
        return "It was not compared with guessing: this older version did not record what guessing gets."
    if not math.isfinite(estimate.low):
        return "It was not compared with guessing: there are too few patients for an interval."
    higher = estimate.direction != "lower"
    better = estimate.low > estimate.chance if higher else estimate.high < estimate.chance
    worse = estimate.high < estimate.chance if higher else estimate.low > estimate.chance
    guessing = f"guessing ({estimate.chance:.3g})"
    if better:
        return f"The whole interval is better than {guessing}."
    if worse:
        return f"The whole interval is worse than {guessing}."
    return f"The interval includes {guessing}: the model is not shown to be better."
