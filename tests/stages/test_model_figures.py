"""All figures of a model by kind of endpoint: which there are, and that a planted signal shows in each."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from nic.errors import EndpointError, UnknownColumn
from nic.patients.calibration import PlattProbability, Prognosis
from nic.patients.calibration_fit import fit_calibration
from nic.patients.cohort import Labelled, Patient, SlideRow
from nic.patients.model_spec import PatientModelSpec
from nic.patients.out_of_fold import OutOfFold
from nic.patients.predictor import PatientPrediction, answered
from nic.patients.targets import (
    Categories,
    Classes,
    Grades,
    Survival,
    Targets,
    Values,
    guess_of,
    names_of,
    shares_of,
)
from nic.slides.slide import SlideSource
from nic.stages.model_figures import comparison_table, model_estimates, model_figures

N = 150


def study(kind: str, seed: int, signal: float = 1.0) -> tuple[Targets, np.ndarray]:
    """Labels, and scores that follow them with noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=N)
    score = signal * truth + 0.5 * rng.normal(size=N)
    match kind:
        case "regression":
            return Values(truth), score
        case "classification":
            return Classes(truth + 0.5 * rng.normal(size=N) > 0, ("no", "yes")), score
        case "multiclass":
            index, noise = rng.integers(0, 3, N), rng.normal(size=(N, 3))
            return Categories(index, ("a", "b", "c")), 1.5 * signal * np.eye(3)[index] + noise
        case "ordinal":
            grade = np.digitize(truth + 0.5 * rng.normal(size=N), (-0.5, 0.5))
            return Grades(grade, ("1", "2", "3")), score
    death, censored = rng.exponential(30 * np.exp(-truth)), rng.uniform(5, 100, N)
    return Survival(np.minimum(death, censored) + 0.01, death <= censored), score


def model(kind: str, calibrated: bool = True) -> PatientModelSpec:
    train, score = study(kind, seed=0)
    calibration = fit_calibration(train, OutOfFold(score[None], np.zeros((1, N), int))) if calibrated else None
    median = float(np.median(score))
    return PatientModelSpec(
        "endpoint", kind, "", names_of(train), "0" * 64, "nic-encoder/1", 64.0, 2, "c0ffee", N, median, calibration,
        guess=guess_of(train), shares=shares_of(train),
    )  # fmt: skip


def answers(spec: PatientModelSpec, scores: np.ndarray) -> list[PatientPrediction]:
    return [answered(spec, score, score, 0.0, (), 1, ()) for score in np.asarray(scores)]


def labelled(targets: Targets) -> Labelled:
    rng = np.random.default_rng(5)
    ages = [f"{age:.0f}" for age in rng.uniform(40, 80, N)]
    rows = [SlideRow(n, SlideSource(f"s{n}", None), {"age": age}) for n, age in enumerate(ages)]
    return Labelled(tuple(Patient(f"p{r.number}", "external", (r,)) for r in rows), targets, ())


NAMES = {
    "regression": ["spearman", "pearson", "mae", "r2", "coverage"],
    "classification": [
        "auc", "average_precision", "balanced_accuracy", "brier", "calibration_in_the_large", "calibration_slope",
    ],
    "multiclass": [
        "macro_auc", "auc_of_a", "auc_of_b", "auc_of_c",
        "balanced_accuracy", "recall_of_a", "recall_of_b", "recall_of_c", "multiclass_brier", "log_loss",
        "calibration_of_a", "calibration_of_b", "calibration_of_c",
        "calibration_slope_of_a", "calibration_slope_of_b", "calibration_slope_of_c",
    ],
    "ordinal": [
        "grade_c_index", "spearman", "quadratic_kappa", "grade_error",
        "balanced_accuracy", "recall_of_1", "recall_of_2", "recall_of_3", "ranked_probability_score",
        "calibration_of_at_least_2", "calibration_of_at_least_3",
        "calibration_slope_of_at_least_2", "calibration_slope_of_at_least_3",
    ],
    "survival": [
        "c_index", "uno_c", "auc_12m", "auc_24m", "auc_36m", "integrated_brier",
        "calibration_12m", "calibration_24m", "calibration_36m",
        "log_rank_z", "hazard_ratio_high_risk", "hazard_ratio_per_deviation", "hazard_ratio_adjusted",
    ],
}  # fmt: skip
UNCALIBRATED = [kind for kind in NAMES if kind not in ("multiclass", "ordinal")]
"""Kinds of which older models may have no calibration."""


@pytest.mark.parametrize("kind", NAMES)
def test_a_planted_signal_shows_in_every_figure_the_right_way(kind: str) -> None:
    spec = model(kind)
    targets, scores = study(kind, seed=1)
    estimates = model_estimates(labelled(targets), answers(spec, scores), spec, ["age"], seed=0)
    assert [e.name for e in estimates] == NAMES[kind]
    for estimate in estimates:
        match estimate.direction:
            case "higher" if estimate.name != "recall_of_2":  # a grade in the middle is hard to name
                assert estimate.low > estimate.chance, estimate.name
            case "lower":
                assert estimate.high < estimate.chance, estimate.name
            case "target":
                assert estimate.low - 0.05 < estimate.chance < estimate.high + 0.05, estimate.name


@pytest.mark.parametrize("kind", NAMES)
def test_without_signal_the_intervals_hold_chance(kind: str) -> None:
    spec = model(kind)
    targets, scores = study(kind, seed=3 if kind == "ordinal" else 2, signal=0.0)
    estimates = model_estimates(labelled(targets), answers(spec, scores), spec, ["age"], seed=0)
    for estimate in estimates:
        if estimate.direction == "higher" and estimate.name != "r2":  # guessing explains less than nothing
            assert estimate.low < estimate.chance < estimate.high, estimate.name


@pytest.mark.parametrize("kind", UNCALIBRATED)
def test_a_model_from_before_calibration_is_measured_by_its_order(kind: str) -> None:
    spec = model(kind, calibrated=False)
    targets, scores = study(kind, seed=1)
    estimates = model_estimates(labelled(targets), answers(spec, scores), spec, [], seed=0)
    assert [e.name for e in estimates] == [name for name in NAMES[kind] if name in {e.name for e in estimates}]
    assert estimates[0].low > estimates[0].chance


def test_a_figure_beside_the_first_may_be_undefined() -> None:
    spec = model("survival")
    targets, scores = study("survival", seed=1)
    spec = replace(spec, median=99.0)  # nobody is at high risk
    estimates = model_estimates(labelled(targets), answers(spec, scores), spec, [], seed=0)
    assert [e.name for e in estimates if np.isnan(e.value)] == ["log_rank_z", "hazard_ratio_high_risk"]
    nobody = Survival(targets.time_months, np.zeros(N, bool))
    with pytest.raises(EndpointError, match="c_index of 150 patients is not defined"):
        model_estimates(labelled(nobody), answers(spec, scores), spec, [], seed=0)


def test_labels_of_another_kind_are_refused() -> None:
    spec = model("survival")
    targets, scores = study("regression", seed=1)
    with pytest.raises(EndpointError, match="endpoint is of survival, the labels are Values"):
        model_figures(targets, answers(spec, scores), spec)


def test_a_covariate_that_is_not_in_the_table_is_named() -> None:
    spec = model("survival")
    targets, scores = study("survival", seed=1)
    with pytest.raises(UnknownColumn, match="'grade'"):
        model_estimates(labelled(targets), answers(spec, scores), spec, ["grade"], seed=0)


@pytest.mark.parametrize("kind", NAMES)
def test_two_models_are_compared_figure_by_figure(kind: str) -> None:
    spec = model(kind)
    targets, scores = study(kind, seed=1)
    noise = scores + 3 * np.random.default_rng(3).normal(size=scores.shape)
    table = comparison_table(*(model_figures(targets, answers(spec, s), spec) for s in (scores, noise)), seed=0)
    assert table["figure"][0] == NAMES[kind][0]
    assert ((table["better"] == "higher") == (table["difference"] > 0)).all(), table
    assert table["low"][0] > 0


def test_each_model_is_called_at_its_own_threshold() -> None:
    """Two models of one score, of which one calls nearly all positive: the row is the difference of its columns."""
    spec = model("classification")
    assert isinstance(spec.calibration, PlattProbability)
    eager = replace(spec, calibration=replace(spec.calibration, threshold=spec.calibration.threshold - 2))
    targets, scores = study("classification", seed=1)
    table = comparison_table(*(model_figures(targets, answers(s, scores), s) for s in (spec, eager)), seed=0)
    row = table.set_index("figure").loc["balanced_accuracy"]
    apart = [balanced_accuracy_score(targets.positive, scores >= s.calibration.threshold) for s in (spec, eager)]
    assert row["difference"] == pytest.approx(apart[0] - apart[1])
    assert row["low"] > 0.1
    columns = [float(row[name].split()[0]) for name in ("model", "other")]
    assert row["difference"] == pytest.approx(columns[0] - columns[1], abs=1e-3)


def test_what_guessing_gets_is_of_the_models_own_training() -> None:
    """Neither labels of training patients nor the measured ones say it; an older model does not know."""
    targets, scores = study("regression", seed=1)
    spec = replace(model("regression"), guess=0.3)
    by_name = {figure.name: figure for figure in model_figures(targets, answers(spec, scores), spec)}
    assert by_name["mae"].reference == pytest.approx(np.abs(targets.value - 0.3).mean())
    older = replace(spec, guess=None)
    by_name = {figure.name: figure for figure in model_figures(targets, answers(older, scores), older)}
    assert by_name["mae"].reference is None


def test_what_lies_beyond_the_patients_follow_up_is_not_defined() -> None:
    """The model states months that its own training reached; these patients were followed for half as long."""
    spec = model("survival")
    assert isinstance(spec.calibration, Prognosis)
    assert spec.calibration.stated_months == (12.0, 24.0, 36.0)
    targets, scores = study("survival", seed=1)
    short = Survival(np.minimum(targets.time_months, 20.0), targets.event & (targets.time_months <= 20.0))
    estimates = {e.name: e for e in model_estimates(labelled(short), answers(spec, scores), spec, [], seed=0)}
    for name in ("auc", "calibration"):
        assert np.isfinite(estimates[f"{name}_12m"].value)
        assert np.isnan([estimates[f"{name}_24m"].value, estimates[f"{name}_36m"].value]).all()
    assert estimates["integrated_brier"].value < estimates["integrated_brier"].chance
