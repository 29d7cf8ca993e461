"""A report needs no other file, says its numbers, and lets no patient's name become HTML."""

import base64
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from nic.evaluation.endpoint_figures import class_figures, grade_figures, multiclass_figures, ordinal_figures
from nic.evaluation.figure import Estimate
from nic.evaluation.figure_words import meaning_of, slugs, title_of
from nic.evaluation.published import ComparedResult
from nic.evaluation.report_page import Excluded, FlowStep, Picture, Report, comparison, interval, render, verdict
from nic.evaluation.subgroups import Subgroup

C_INDEX = Estimate("c_index", 0.712, 0.611, 0.803, 0.95, 41, 0.5)
EMPTY_TAGS = {"meta", "img", "br"}


def picture(file: str) -> Picture:
    return Picture(file, b"\x89PNG" + file.encode(), f"caption of {file}")


REPORT = Report(
    title="survival: evaluation",
    question="What?",
    notice="Synthetic study.",
    made="Measured today.",
    flow=[
        FlowStep("Patients in cohort.csv", 44),
        FlowStep("With a label", 41, [Excluded("without a label:", 3, ["P1", "<script>alert(1)</script>"])]),
        FlowStep("Measured", 41),
    ],
    patients="41 patients; 4 died, 37 were alive when last seen",
    estimates=[C_INDEX, Estimate("auc_24m", math.nan, math.nan, math.nan, 0.95, 41, 0.5)],
    result=picture("result.png"),
    confusion=None,
    calibration=picture("calibration.png"),
    subgroups=[Subgroup("", "all", C_INDEX), Subgroup("site", "fir", replace(C_INDEX, n=4))],
    subgroup_picture=picture("subgroups.png"),
    best=[picture("maps/best-1.png")],
    worst=[picture("maps/worst-1.png")],
    map_scale="Log hazards.",
    goodness="Ordered.",
    lineage={"Model": "models:/nic-survival/7"},
    uses=["Research."],
    misuses=["Diagnosis."],
)


class Balanced(HTMLParser):
    """Every tag is closed in its turn; keeps what links to elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in EMPTY_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "report",
    [
        REPORT,
        replace(REPORT, calibration=None, subgroup_picture=None, best=[], notice=""),
        replace(REPORT, confusion=picture("confusion.png")),
        replace(REPORT, confusion=picture("confusion.png"), calibration=None),
        replace(REPORT, calibration=replace(picture("calibration.png"), wide=True)),
    ],
)
def test_it_is_one_file_of_closed_tags(report: Report) -> None:
    parser = Balanced()
    parser.feed(render(report))
    assert parser.open == []
    decoded = [base64.b64decode(link.removeprefix("data:image/png;base64,")) for link in parser.links]
    assert decoded == [picture.png for picture in report.pictures]


def test_it_says_its_numbers() -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<style>.*</style>|<[^>]+>", " ", render(REPORT), flags=re.DOTALL))
    for words in (
        "0.712",
        "95% interval 0.611 to 0.803, 41 patients",
        "The whole interval is better than guessing (0.5).",
        "3 without a label:",
        "and 1 more",
        "AUC of death by month 24",
        "not defined too few patients or events: it needs patients who died by month 24, and patients who were "
        "followed beyond month 24",
        "Measured on 41 patients; 4 died, 37 were alive when last seen.",
        "Log hazards.",
        "site: fir",
        "few patients",
        "models:/nic-survival/7",
        "Diagnosis.",
    ):
        assert words in text, words


def test_published_results_stand_beside_the_model_s_own() -> None:
    published = [
        ComparedResult("", "external", C_INDEX),
        ComparedResult("Winner", "external", Estimate("c_index", 0.6, math.nan, math.nan, 0.95, 321), "A journal 2019"),
    ]
    page = render(replace(REPORT, published=published, published_note="Of 321 patients."))
    rows = re.findall(r"<td>(this model|Winner)</td>.*?</tr>", page, re.DOTALL)
    assert rows == ["this model", "Winner"]
    for words in ("Published results", "no interval", "A journal 2019", "Of 321 patients.", "321"):
        assert words in page
    assert "Published results" not in render(REPORT)


def test_names_do_not_become_html() -> None:
    html = render(REPORT)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("low", "high", "direction", "words"),
    [
        (0.6, 0.8, "higher", "better than"),
        (0.2, 0.4, "higher", "worse than"),
        (0.4, 0.6, "higher", "not shown to be better"),
        (0.2, 0.4, "lower", "better than"),
        (0.6, 0.8, "lower", "worse than"),
        (math.nan, math.nan, "higher", "too few patients for an interval"),
    ],
)
def test_the_verdict_is_the_intervals(low: float, high: float, direction: str, words: str) -> None:
    assert words in verdict(Estimate("x", 0.5, low, high, 0.95, 10, 0.5, direction))  # type: ignore[arg-type]


def test_a_target_is_to_be_met() -> None:
    slope = Estimate("calibration_slope", 0.8, 0.6, 1.1, 0.95, 10, 1.0, "target")
    assert comparison(slope) == "should be 1"
    assert interval(replace(slope, low=math.nan)) == "no interval"
    error = Estimate("mae", 0.8, 0.6, 1.1, 0.95, 10, None, "lower")
    assert comparison(error) == "guessing: not recorded in this older version; lower is better"
    assert "older version" in verdict(error)


def test_a_figure_without_words_is_called_by_its_name() -> None:
    assert (title_of("some_figure"), meaning_of("some_figure")) == ("some figure", "")
    assert title_of("calibration_36m") == "Calibration at month 36"
    assert title_of("auc_of_low-grade") == "AUC of low-grade"
    assert title_of("calibration_slope_of_at_least_g2") == "Calibration slope of at least g2"


def test_every_figure_says_what_its_number_means() -> None:
    index, rng = np.repeat(np.arange(3), 5), np.random.default_rng(0)
    answer, probability, shares = rng.normal(size=(15, 3)), rng.dirichlet(np.ones(3), 15), (0.3, 0.3, 0.4)
    names = ("a", "b", "c")
    figures = [
        *multiclass_figures(index, answer, names),
        *class_figures(index, probability, index, names, shares),
        *ordinal_figures(index, answer[:, 0]),
        *grade_figures(index, probability, index, names, shares),
    ]
    assert all(meaning_of(figure.name) for figure in figures)
    assert "auc_of_b" in {figure.name for figure in figures}
    assert "calibration_of_at_least_b" in {figure.name for figure in figures}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Low grade", "High grade (G3)"), ("low-grade", "high-grade-g3")),
        (("G1+", "G1-"), ("1-g1", "2-g1")),
        (("低", "b"), ("1", "2-b")),
    ],
)
def test_classes_have_names_that_a_registry_takes(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert slugs(names) == expected
