"""Cross-validated figures of several classes and grades: scores fold by fold, calibrated answers over all patients."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import cohen_kappa_score, log_loss, roc_auc_score

from nic.patients.calibration import GradeProbabilities, SoftmaxProbabilities
from nic.patients.model_spec import PatientModelSpec
from nic.patients.predictor import answered
from nic.patients.targets import Categories, Grades
from nic.stages.cross_validated import CrossValidated, cross_validated_figures

NAMES = ("1", "2", "3")
INDEX, FOLD = np.tile(np.arange(3), 20), np.repeat(np.arange(3), 20)
RNG = np.random.default_rng(0)
SPEC = PatientModelSpec(
    "x", "multiclass", "", NAMES, "a" * 64, "nic-encoder/1", 64.0, 3, "c0", 60, 0.0,
    SoftmaxProbabilities(NAMES, 1.0, (0.0, 0.0, 0.0)), shares=(1 / 3, 1 / 3, 1 / 3),
)  # fmt: skip


def test_of_several_classes_each_fold_has_an_auc_of_its_own() -> None:
    """The networks of each fold prefer another class, which their calibration takes back."""
    biases = 5 * np.eye(3)
    by_fold = [SoftmaxProbabilities(NAMES, 1.0, tuple((-bias).tolist())) for bias in biases]
    scores = 2 * np.eye(3)[INDEX] + RNG.normal(size=(60, 3)) + biases[FOLD]
    own = [replace(SPEC, calibration=by_fold[fold]) for fold in FOLD]
    answers = [answered(spec, score, score, 0.0, (), 1, ()) for spec, score in zip(own, scores, strict=True)]
    of = CrossValidated(np.ones(60, bool), answers, FOLD, by_fold, scores)
    figures = {figure.name: figure.value for figure in cross_validated_figures(Categories(INDEX, NAMES), of, SPEC)}
    each = [
        roc_auc_score(INDEX[fold == FOLD], softmax(scores[fold == FOLD], axis=1), multi_class="ovr")
        for fold in range(3)
    ]
    assert figures["macro_auc"] == pytest.approx(np.mean(each))
    calibrated = softmax(scores - biases[FOLD], axis=1)
    assert figures["log_loss"] == pytest.approx(log_loss(INDEX, calibrated))
    assert figures["balanced_accuracy"] == pytest.approx((calibrated.argmax(1) == INDEX).mean())


def test_of_grades_the_called_ones_of_all_folds_are_compared_together() -> None:
    """The scores of each fold have a level of their own, which the thresholds of its calibration have, too."""
    levels = np.array([-4.0, 0.0, 4.0])
    by_fold = [GradeProbabilities(NAMES, 3.0, (3 * level - 1.5, 3 * level + 1.5)) for level in levels]
    score = INDEX - 1 + 0.4 * RNG.normal(size=60) + levels[FOLD]
    spec = replace(SPEC, kind="ordinal", calibration=by_fold[1])
    own = [replace(spec, calibration=by_fold[fold]) for fold in FOLD]
    answers = [answered(s, np.asarray(x), np.asarray(x), 0.0, (), 1, ()) for s, x in zip(own, score, strict=True)]
    of = CrossValidated(np.ones(60, bool), answers, FOLD, by_fold, score)
    figures = {figure.name: figure.value for figure in cross_validated_figures(Grades(INDEX, NAMES), of, spec)}
    called = [NAMES.index(answer.class_name) for answer in answers]
    assert figures["quadratic_kappa"] == pytest.approx(cohen_kappa_score(INDEX, called, weights="quadratic"))
    assert figures["quadratic_kappa"] > 0.7
    assert figures["grade_c_index"] > 0.9
