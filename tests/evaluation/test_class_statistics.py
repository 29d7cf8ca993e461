"""Statistics of classes and grades agree with an independent library, where each patient is written out as drawn."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from scipy.stats import somersd
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    confusion_matrix,
    log_loss,
    mean_absolute_error,
    recall_score,
    roc_auc_score,
)
from sksurv.metrics import concordance_index_censored

from nic.evaluation import classification, multiclass, ordinal

N, DRAWS = 30, 4
seeds, sizes = st.integers(0, 100_000), st.integers(3, 6)
few = settings(max_examples=30, deadline=None)


class Drawn:
    """Patients of some classes, their answers, and draws of them. Every class has a patient."""

    def __init__(self, seed: int, classes: int) -> None:
        rng = np.random.default_rng(seed)
        self.index = rng.permutation(np.r_[np.arange(classes), rng.integers(0, classes, N - classes)])
        self.logits = rng.normal(0, rng.choice([0.1, 1.0, 3.0]), (N, classes))
        self.probability = softmax(rng.normal(0, 2, (N, classes)), axis=1)
        self.called = rng.integers(0, classes, N)
        self.score = rng.integers(0, 9, N).astype(float)
        self.counts = rng.multinomial(N, np.full(N, 1 / N), DRAWS).astype(float)

    def each(self, *arrays: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """The arrays in each draw."""
        return [tuple(np.repeat(a, draw.astype(int), axis=0) for a in (self.index, *arrays)) for draw in self.counts]

    def all_classes_are_drawn(self) -> bool:
        return all(len(np.unique(index)) == self.logits.shape[1] for (index,) in self.each())


@few
@given(seed=seeds, classes=sizes)
def test_macro_auc_is_scikit_learns_one_against_the_rest(seed: int, classes: int) -> None:
    of = Drawn(seed, classes)
    assume(of.all_classes_are_drawn())
    pairs = of.each(softmax(of.logits, axis=1))
    expected = [roc_auc_score(index, p, multi_class="ovr", average="macro") for index, p in pairs]
    np.testing.assert_allclose(multiclass.macro_auc(of.index, of.logits, of.counts), expected, atol=1e-10)


@few
@given(seed=seeds)
def test_the_auc_of_a_class_counts_ties_half_and_ignores_what_a_patient_has_in_all_classes(seed: int) -> None:
    of, rng = Drawn(seed, 3), np.random.default_rng(seed)
    assume(of.all_classes_are_drawn())
    rows = np.array([[0, 1, 3], [1, 1, 1], [2, 0, 0], [0, 2, 0], [3, 1, 0]], float)  # whole patients are tied
    kind = rng.integers(0, 5, N)
    moved = rows[kind] + rng.integers(-3, 4, (N, 1))
    odds = (lambda p: p - np.log1p(-np.exp(p)))(log_softmax(rows, axis=1))[kind]
    for label in range(3):
        expected = [roc_auc_score(index == label, o[:, label]) for index, o in of.each(odds)]
        values = multiclass.auc_of(of.index, moved, of.counts, label=label)
        np.testing.assert_allclose(values, expected, atol=1e-10)


@few
@given(seed=seeds, classes=sizes)
def test_called_classes(seed: int, classes: int) -> None:
    of = Drawn(seed, classes)
    assume(of.all_classes_are_drawn())
    pairs = of.each(of.called)
    values = multiclass.balanced_accuracy(of.index, of.called, of.counts, classes=classes)
    np.testing.assert_allclose(values, [balanced_accuracy_score(*pair) for pair in pairs], atol=1e-10)
    recalls = [multiclass.recall_of(of.index, of.called, of.counts, label=label) for label in range(classes)]
    expected = [recall_score(*pair, average=None, labels=range(classes)) for pair in pairs]
    np.testing.assert_allclose(np.transpose(recalls), expected, atol=1e-10)
    table = multiclass.confusion(of.index, of.called, classes)
    np.testing.assert_array_equal(table, confusion_matrix(of.index, of.called, labels=range(classes)))


@few
@given(seed=seeds, classes=sizes)
def test_probabilities_of_classes(seed: int, classes: int) -> None:
    of = Drawn(seed, classes)
    pairs, labels = of.each(of.probability), list(range(classes))
    losses = [log_loss(*pair, labels=labels) for pair in pairs]
    np.testing.assert_allclose(multiclass.log_loss(of.index, of.probability, of.counts), losses, atol=1e-10)
    scores = [brier_score_loss(*pair, labels=labels, scale_by_half=False) for pair in pairs]
    np.testing.assert_allclose(multiclass.brier(of.index, of.probability, of.counts), scores, atol=1e-10)


def test_a_probability_of_zero_for_the_true_class_costs_much_and_not_everything() -> None:
    loss = multiclass.log_loss(np.array([1]), np.array([[1.0, 0.0, 0.0]]), np.ones((1, 1)))
    assert 30 < loss[0] < 40
    assert multiclass.brier(np.array([1]), np.array([[1.0, 0.0, 0.0]]), np.ones((1, 1)))[0] == 2


@few
@given(seed=seeds, classes=sizes)
def test_the_concordance_of_grades_is_somers_d_and_that_of_survival_without_censoring(seed: int, classes: int) -> None:
    of = Drawn(seed, classes)
    pairs = of.each(of.score)
    assume(all(len(np.unique(index)) > 1 for index, _ in pairs))
    values = ordinal.concordance(of.index, of.score, of.counts)
    np.testing.assert_allclose(2 * values - 1, [somersd(*pair).statistic for pair in pairs], atol=1e-10)
    died = [concordance_index_censored(np.ones(len(i), bool), 9.0 - i, s)[0] for i, s in pairs]
    np.testing.assert_allclose(values, died, atol=1e-10)


@few
@given(seed=seeds)
def test_the_concordance_of_two_grades_is_the_auc(seed: int) -> None:
    of = Drawn(seed, 3)
    two = np.minimum(of.index, 1)
    expected = classification.auc(two == 1, of.score, of.counts)
    np.testing.assert_allclose(ordinal.concordance(two, of.score, of.counts), expected, atol=1e-12)


@few
@given(seed=seeds, classes=sizes)
def test_called_grades(seed: int, classes: int) -> None:
    of = Drawn(seed, classes)
    pairs, labels = of.each(of.called), range(classes)
    kappas = [cohen_kappa_score(*pair, weights="quadratic", labels=labels) for pair in pairs]
    np.testing.assert_allclose(ordinal.quadratic_kappa(of.index, of.called, of.counts), kappas, atol=1e-10)
    errors = [mean_absolute_error(*pair) for pair in pairs]
    np.testing.assert_allclose(ordinal.grade_error(of.index, of.called, of.counts), errors, atol=1e-10)


@few
@given(seed=seeds, classes=sizes)
def test_the_ranked_probability_score_is_the_mean_brier_score_of_all_thresholds(seed: int, classes: int) -> None:
    of = Drawn(seed, classes)
    expected = [
        np.mean([brier_score_loss(i >= k, p[:, k:].sum(1).clip(0, 1), labels=[False, True]) for k in range(1, classes)])
        for i, p in of.each(of.probability)
    ]
    values = ordinal.ranked_probability_score(of.index, of.probability, of.counts)
    np.testing.assert_allclose(values, expected, atol=1e-10)


EVERYBODY = np.ones((1, 6))
INDEX = np.array([0, 0, 1, 1, 2, 2])


def test_a_perfect_answer_and_the_opposite() -> None:
    sure = np.eye(3)[INDEX]
    assert multiclass.macro_auc(INDEX, 50 * sure, EVERYBODY) == 1
    assert multiclass.balanced_accuracy(INDEX, INDEX, EVERYBODY, classes=3) == 1
    assert multiclass.brier(INDEX, sure, EVERYBODY) == multiclass.log_loss(INDEX, sure, EVERYBODY) == 0
    assert ordinal.concordance(INDEX, INDEX.astype(float), EVERYBODY) == 1
    assert ordinal.concordance(INDEX, -INDEX.astype(float), EVERYBODY) == 0
    assert ordinal.quadratic_kappa(INDEX, INDEX, EVERYBODY) == pytest.approx(1)
    assert ordinal.quadratic_kappa(INDEX, 2 - INDEX, EVERYBODY) == pytest.approx(-1)
    assert ordinal.ranked_probability_score(INDEX, sure, EVERYBODY) == 0


def test_one_answer_for_everybody_is_what_guessing_gets() -> None:
    equal = np.zeros((6, 3))
    assert multiclass.macro_auc(INDEX, equal, EVERYBODY) == 0.5
    assert multiclass.balanced_accuracy(INDEX, np.ones(6, int), EVERYBODY, classes=3) == pytest.approx(1 / 3)
    assert ordinal.concordance(INDEX, np.zeros(6), EVERYBODY) == 0.5
    assert ordinal.quadratic_kappa(INDEX, np.ones(6, int), EVERYBODY) == pytest.approx(0)


def test_a_draw_without_a_class_does_not_define_a_mean_over_classes_but_does_the_other_figures() -> None:
    counts = np.stack([np.ones(6), (INDEX != 2).astype(float), (INDEX == 1).astype(float)])
    logits = np.random.default_rng(0).normal(size=(6, 3))
    means = (
        multiclass.macro_auc(INDEX, logits, counts),
        multiclass.balanced_accuracy(INDEX, INDEX, counts, classes=3),
    )
    for values in means:
        assert np.isfinite(values).tolist() == [True, False, False]
    of_first = multiclass.auc_of(INDEX, logits, counts, label=0)
    assert np.isfinite(of_first).tolist() == [True, True, False]
    assert np.isfinite(ordinal.concordance(INDEX, logits[:, 0], counts)).tolist() == [True, True, False]
    assert np.isfinite(ordinal.quadratic_kappa(INDEX, INDEX, counts)).tolist() == [True, True, False]
    disagree = partial(ordinal.quadratic_kappa, INDEX, np.zeros(6, int))
    assert disagree(counts)[2] == pytest.approx(
        0
    )  # all true grades are one, all called grades another: no better than chance


def test_scores_of_any_size_have_finite_odds() -> None:
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
    odds = multiclass.log_odds(logits)
    assert np.isfinite(odds).all()
    np.testing.assert_allclose(odds[1], -np.log(2))
