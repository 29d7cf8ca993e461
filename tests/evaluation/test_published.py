"""Published results have honest intervals, and stand beside the study's own figure of the same name and part."""

import math
import re

import pytest
from pydantic import ValidationError
from scipy import stats

from nic.evaluation.figure import Estimate
from nic.evaluation.published import PublishedResult, about_patients, compared_results, correlation_interval

OWN = {"spearman": Estimate("spearman", 0.6, 0.5, 0.7, 0.95, 318, 0.0)}


def result(**changes: object) -> PublishedResult:
    return PublishedResult.model_validate({"method": "winner", "value": "0.617", "n": "321"} | changes)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [(0.558, 0.478, 0.629), (0.570, 0.491, 0.640), (0.617, 0.544, 0.681), (0.632, 0.561, 0.693)],
)
def test_intervals_of_the_external_test_are_those_of_fisher_z(value: float, low: float, high: float) -> None:
    assert [round(end, 3) for end in correlation_interval(value, 321)] == [low, high]


def test_the_interval_is_that_of_scipy() -> None:
    first, second = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 1.0, 4.0, 3.0, 6.0, 9.0]
    pearson = stats.pearsonr(first, second)
    expected = pearson.confidence_interval(0.95)
    assert correlation_interval(float(pearson.statistic), 6) == pytest.approx((expected.low, expected.high))


def test_a_figure_that_value_and_number_do_not_determine_has_no_interval() -> None:
    kappa = result(figure="quadratic_kappa", value=0.567).estimate("grade_c_index")
    assert (kappa.name, kappa.value, kappa.n) == ("quadratic_kappa", 0.567, 321)
    assert math.isnan(kappa.low)
    assert result().estimate("spearman").low == pytest.approx(0.544, abs=5e-4)


def test_each_figure_of_the_part_begins_with_the_study_s_own() -> None:
    published = [
        result(),
        result(method="other", part="cross_validated", n=500),
        result(method="rival", figure="pearson", value=0.5),
        result(method="third", value=0.57),
    ]
    rows = compared_results(published, "external", OWN, "spearman")
    assert [(row.method, row.estimate.name) for row in rows] == [
        ("", "spearman"),
        ("winner", "spearman"),
        ("third", "spearman"),
        ("rival", "pearson"),
    ]
    assert [row.value for row in rows[:2]] == ["0.600 [0.500, 0.700]", "0.617 [0.544, 0.681]"]
    (kappa,) = compared_results([result(figure="quadratic_kappa")], "external", OWN, "spearman")
    assert kappa.value == "0.617, no interval"
    assert compared_results(published, "cross_validated", {}, "spearman")[0].method == "other"


def test_whether_patients_may_be_the_same_is_said() -> None:
    rows = compared_results([result()], "external", OWN, "spearman")
    assert "of 321 patients, not those measured here" in about_patients(rows)
    same = compared_results([result(n=318)], "external", OWN, "spearman")
    assert "of 318 patients, as many as here; the source must say" in about_patients(same)
    assert about_patients([]) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"n": 3}, "greater than or equal to 4"), ({"figure": "spearman", "value": 1.2}, "a correlation of 1.2")],
)
def test_impossible_results_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        result(**changes)
