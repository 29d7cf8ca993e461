"""The table of out-of-fold answers, by hand; nic.patients has the scores and calibrations that it is made of."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nic.patients.calibration import GradeProbabilities, SoftmaxProbabilities, most_probable
from nic.patients.calibration_fit import fit_by_fold, platt
from nic.patients.cohort import Labelled, Patient
from nic.patients.model_spec import PatientModelSpec
from nic.patients.out_of_fold import OutOfFold
from nic.patients.predictor import answered
from nic.patients.targets import Categories, Classes, Grades, Targets
from nic.stages.cross_validated import cross_validated_table

N = 30
RNG = np.random.default_rng(0)
INDEX = np.arange(N) % 3
FOLD = (np.arange(N) % 2)[None]
NAMES = ("a", "b", "c")
SPEC = PatientModelSpec(
    "x", "regression", "", NAMES, "e", "nic-encoder/1", 64.0, 2, "c", N, 0.0,
)  # fmt: skip
SEVERAL = replace(SPEC, kind="multiclass", calibration=SoftmaxProbabilities(NAMES, 1.5, (0.3, 0.0, -0.3)))
GRADED = replace(SPEC, kind="ordinal", calibration=GradeProbabilities(NAMES, 1.5, (-1.0, 1.0)))


def class_scores() -> OutOfFold:
    scores = np.eye(3)[INDEX] + RNG.normal(size=(N, 3))
    return OutOfFold((scores - scores.mean(1, keepdims=True))[None], FOLD)


def table(targets: Targets, out_of_fold: OutOfFold, spec: PatientModelSpec) -> pd.DataFrame:
    patients = tuple(Patient(f"P{n}", "train", ()) for n in range(N))
    return cross_validated_table(Labelled(patients, targets, ()), out_of_fold, spec)


def test_several_classes_have_the_class_its_scores_and_the_probability_of_each() -> None:
    out_of_fold = class_scores()
    rows = table(Categories(INDEX, NAMES), out_of_fold, SEVERAL)
    odds = np.exp(1.5 * out_of_fold.expected + [0.3, 0.0, -0.3])
    probability = odds / odds.sum(1, keepdims=True)
    np.testing.assert_allclose(rows[[f"probability_{name}" for name in NAMES]], probability)
    place = probability.argmax(1)
    assert rows["class"].tolist() == [NAMES[k] for k in place]
    assert rows["label"].tolist() == [NAMES[k] for k in INDEX]
    np.testing.assert_allclose(rows["prediction"], probability.max(1))
    np.testing.assert_array_equal(rows[[f"score_{name}" for name in NAMES]], out_of_fold.mean_score)
    np.testing.assert_array_equal(rows["score"], out_of_fold.mean_score[np.arange(N), place])
    np.testing.assert_array_equal(rows["score_as_ensemble"], out_of_fold.as_ensemble[np.arange(N), place])


def test_grades_have_the_expected_grade_and_the_probability_of_each() -> None:
    out_of_fold = OutOfFold((INDEX - 1.0 + RNG.normal(size=N))[None], FOLD)
    rows = table(Grades(INDEX, NAMES), out_of_fold, GRADED)
    probability = rows[[f"probability_{name}" for name in NAMES]].to_numpy()
    np.testing.assert_allclose(probability.sum(1), 1)
    np.testing.assert_allclose(rows["prediction"], probability @ [1, 2, 3])
    assert rows["class"].tolist() == [NAMES[k] for k in most_probable(probability)]
    np.testing.assert_array_equal(rows["score"], out_of_fold.mean_score)
    assert not any(name.startswith("score_") and name != "score_as_ensemble" for name in rows)


def test_two_classes_have_no_columns_of_several() -> None:
    positive = INDEX > 0
    out_of_fold = OutOfFold((positive + RNG.normal(size=N))[None], FOLD)
    spec = replace(
        SPEC, kind="classification", classes=("no", "yes"), calibration=platt(positive, out_of_fold.expected)
    )
    rows = table(Classes(positive, ("no", "yes")), out_of_fold, spec)
    assert list(rows) == ["patient", "site", "label", "score", "prediction", "score_as_ensemble"]
    np.testing.assert_array_equal(rows["prediction"], spec.predictions(out_of_fold.expected))


def test_an_answer_shows_the_networks_score_and_is_calibrated_by_the_expected_one() -> None:
    shown, expected = np.array([0.9, -0.5, -0.4]), np.array([-0.2, 0.6, -0.4])
    answer = answered(SEVERAL, shown, expected, 0.1, (), 5, ())
    assert (answer.class_name, answer.score, answer.class_scores) == ("b", -0.5, (0.9, -0.5, -0.4))
    assert answer.prediction == answer.calibrated["probability_b"] == max(answer.calibrated.values())
    grade = answered(GRADED, np.array(9.0), np.array(-9.0), 0.1, (), 5, ())
    assert (grade.class_name, grade.score) == ("a", 9.0)
    assert grade.prediction == pytest.approx(1, abs=1e-4)


def test_each_fold_has_its_own_calibration_of_several_classes() -> None:
    out_of_fold = class_scores()
    first, second = fit_by_fold(Categories(INDEX, NAMES), out_of_fold, FOLD[0])
    assert isinstance(first, SoftmaxProbabilities)
    assert isinstance(second, SoftmaxProbabilities)
    assert first.slope != second.slope
    assert first.classes == second.classes == NAMES
