"""Losses equal slow ones written from the formula."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight
from sksurv.linear_model import CoxPHSurvivalAnalysis

from nic.errors import NoEvents
from nic.patients.losses import (
    CumulativeLink,
    balanced_cross_entropy,
    balanced_softmax,
    cox_loss,
    cox_loss_breslow,
    cox_loss_of_each,
)
from nic.patients.proportional_odds import fit_proportional_odds


def efron_by_hand(hazard: list[float], months: list[float], event: list[bool]) -> float:
    """Term by term, as Efron writes it."""
    total = 0.0
    for time in sorted({m for m, seen in zip(months, event, strict=True) if seen}):
        dead = [h for h, m, seen in zip(hazard, months, event, strict=True) if m == time and seen]
        at_risk = sum(math.exp(h) for h, m in zip(hazard, months, strict=True) if m >= time)
        dying = sum(math.exp(h) for h in dead)
        for place, h in enumerate(dead):
            total += math.log(at_risk - place / len(dead) * dying) - h
    return total / sum(event)


def survival(seed: int, n: int = 14) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    event = rng.random(n) < 0.6
    event[0] = True
    months = 1.0 + rng.integers(0, 6, n)
    return torch.tensor(rng.normal(0, 2, n)), torch.tensor(months), torch.tensor(event)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_cox_equals_efrons_formula_with_ties(seed: int) -> None:
    hazard, months, event = survival(seed)
    assert cox_loss(hazard, months, event).item() == pytest.approx(
        efron_by_hand(hazard.tolist(), months.tolist(), event.tolist())
    )


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_breslow_equals_its_formula_and_efron_without_ties(seed: int) -> None:
    hazard, months, event = survival(seed)
    risk = [torch.exp(hazard[months >= m]).sum().log() for m in months]
    wanted = sum(float(risk[i] - hazard[i]) for i in range(len(event)) if event[i]) / int(event.sum())
    assert cox_loss_breslow(hazard, months, event).item() == pytest.approx(wanted)
    apart = months + torch.arange(len(months)) / 100
    assert cox_loss_breslow(hazard, apart, event).item() == pytest.approx(cox_loss(hazard, apart, event).item())


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_each_patients_own_loss_is_that_of_breslows_hazard(seed: int) -> None:
    """And the gradient of its sum, the hazard held fixed, is that of the loss of all, times the number of events."""
    hazard, months, event = survival(seed)
    hazard.requires_grad_()
    own, expected = cox_loss_of_each(hazard, months, event).detach(), torch.zeros(len(months)).double()
    with torch.no_grad():
        for time in months[event]:  # each death adds to the cumulative hazard of all who live as long
            expected += (months >= time) * hazard.exp() / hazard[months >= time].exp().sum()
        torch.testing.assert_close(own, expected - event * (hazard - hazard.mean()))
    (gradient,) = torch.autograd.grad(cox_loss_breslow(hazard, months, event), hazard)
    torch.testing.assert_close(expected - event.double(), gradient * event.sum(), rtol=1e-6, atol=1e-9)
    larger = cox_loss_of_each(hazard.detach() * 400, months, event)
    assert torch.isfinite(larger).all()


def test_breslow_is_least_where_scikit_survival_puts_the_coefficients() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 3))
    months = np.ceil(20 * rng.exponential(np.exp(-x @ [0.8, -0.5, 0])))
    event = rng.random(120) < 0.7
    outcome = np.array(list(zip(event, months, strict=True)), dtype=[("event", bool), ("time", float)])
    fitted = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-12).fit(x, outcome).coef_
    coefficients = torch.tensor(fitted, requires_grad=True)
    cox_loss_breslow(torch.tensor(x) @ coefficients, torch.tensor(months), torch.tensor(event)).backward()
    assert coefficients.grad is not None
    assert coefficients.grad.abs().max() < 1e-6


def test_cox_gradient_equals_finite_differences() -> None:
    hazard, months, event = survival(3)
    assert torch.autograd.gradcheck(lambda h: cox_loss(h, months, event), hazard.requires_grad_())


def test_cox_is_least_where_scikit_survival_puts_the_coefficients() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    months = np.ceil(20 * rng.exponential(np.exp(-x @ [0.8, -0.5, 0])))
    event = rng.random(120) < 0.7
    outcome = np.array(list(zip(event, months, strict=True)), dtype=[("event", bool), ("time", float)])
    fitted = CoxPHSurvivalAnalysis(ties="efron", tol=1e-12).fit(x, outcome).coef_
    coefficients = torch.tensor(fitted, requires_grad=True)
    cox_loss(torch.tensor(x) @ coefficients, torch.tensor(months), torch.tensor(event)).backward()
    assert coefficients.grad is not None
    assert coefficients.grad.abs().max() < 1e-6


def test_cox_is_blind_to_a_constant_and_survives_great_hazards() -> None:
    hazard, months, event = survival(5)
    loss = cox_loss(hazard, months, event)
    assert cox_loss(hazard + 700, months, event).item() == pytest.approx(loss.item())
    great = (1e4 * hazard).float().requires_grad_()
    cox_loss(great, months, event).backward()
    assert great.grad is not None
    assert torch.isfinite(great.grad).all()


def test_a_higher_hazard_for_the_one_who_dies_first_is_better() -> None:
    months, event = torch.tensor([1.0, 2.0]), torch.tensor([True, False])
    assert cox_loss(torch.tensor([1.0, 0.0]), months, event) < cox_loss(torch.tensor([0.0, 1.0]), months, event)


def test_cox_without_events_is_refused() -> None:
    with pytest.raises(NoEvents, match="2 patients"):
        cox_loss(torch.zeros(2), torch.ones(2), torch.zeros(2, dtype=torch.bool))


def test_classes_weigh_the_same_whatever_their_shares() -> None:
    """With one positive in four, undecided logits get as much push from the one as from the three."""
    logit = torch.zeros(4, requires_grad=True)
    balanced_cross_entropy(logit, torch.tensor([1.0, 0, 0, 0]), 0.25).backward()
    assert logit.grad is not None
    assert logit.grad.sum().item() == pytest.approx(0, abs=1e-7)
    assert logit.grad[0] < 0


def test_the_softmax_loss_is_scikit_learns_log_loss_of_balanced_patients() -> None:
    rng = np.random.default_rng(0)
    label, logits = np.repeat([0, 1, 2], [30, 8, 2]), rng.normal(size=(40, 3))
    loss = balanced_softmax(torch.tensor(logits), torch.tensor(label), torch.tensor([30, 8, 2]) / 40)
    weight = compute_sample_weight("balanced", label)
    assert loss.item() == pytest.approx(log_loss(label, softmax(logits, axis=1), sample_weight=weight))


def link_of(label: np.ndarray, grades: int) -> CumulativeLink:
    return CumulativeLink(torch.tensor(np.bincount(label, minlength=grades) / len(label)))


def test_the_loss_of_grades_is_the_difference_of_two_logistic_functions() -> None:
    rng = np.random.default_rng(0)
    label, score = np.repeat([0, 1, 2, 3], [20, 5, 10, 5]), rng.normal(0, 3, 40)
    link = link_of(label, 4)
    with torch.no_grad():
        link.raw.copy_(torch.tensor([0.3, -2.0]))
    edges = np.r_[-np.inf, link.thresholds.detach().numpy(), np.inf]
    probability = expit(edges[1:] - score[:, None]) - expit(edges[:-1] - score[:, None])
    np.testing.assert_allclose(probability.sum(1), 1)
    weight = compute_sample_weight("balanced", label)
    wanted = log_loss(label, probability, sample_weight=weight)
    assert link(torch.tensor(score), torch.tensor(label)).item() == pytest.approx(wanted, rel=1e-6)


def test_a_score_of_0_makes_all_grades_equally_probable_at_first() -> None:
    link = link_of(np.array([0, 0, 0, 1, 2, 3, 4]), 5)
    torch.testing.assert_close(link.log_probabilities(torch.zeros(1)).exp(), torch.full((1, 5), 0.2))


@pytest.mark.parametrize("raw", [-1e4, -30.0, 0.0, 1e4])
def test_thresholds_stay_ordered_whatever_is_learned(raw: float) -> None:
    link = link_of(np.arange(6) % 5, 5).double()
    with torch.no_grad():
        link.raw.fill_(raw)
    assert (link.thresholds.diff() > 0).all()
    assert link.thresholds.mean().item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("size", [30.0, 1e4, 1e30])
def test_gradients_of_extreme_scores_are_finite(size: float) -> None:
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    link, shares = link_of(label.numpy(), 3).float(), torch.full((3,), 1 / 3)
    score = (torch.tensor([-1.0, -1, -1, 1, 1, 1]) * size).requires_grad_()
    logits = torch.outer(score.detach(), torch.tensor([1.0, 0, -1])).requires_grad_()
    link(score, label).backward()
    balanced_softmax(logits, label, shares).backward()
    for learned in (score, link.raw, logits):
        assert learned.grad is not None
        assert torch.isfinite(learned.grad).all()
    assert score.grad is not None
    assert score.grad[2] < 0 < score.grad[3]  # towards higher grades, and away from them


def test_the_loss_of_grades_is_least_where_the_regression_puts_coefficients_and_thresholds() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    label = np.digitize(x @ [1.5, -1] + rng.logistic(size=300), [-1, 0.5, 2.5])
    fit = fit_proportional_odds(x, label, 4, 0.0, compute_sample_weight("balanced", label))
    link, shift = link_of(label, 4).double(), fit.thresholds.mean()
    distances = torch.tensor(np.diff(fit.thresholds)) - 1e-3
    with torch.no_grad():
        link.raw.copy_(torch.log(torch.expm1(distances)))
    np.testing.assert_allclose(link.thresholds.detach().numpy(), fit.thresholds - shift)
    score = torch.tensor(x @ fit.coefficients - shift, requires_grad=True)
    link(score, torch.tensor(label)).backward()
    assert score.grad is not None
    assert link.raw.grad is not None
    assert (score.grad @ torch.tensor(np.c_[x, np.ones(300)])).abs().max() < 1e-5
    assert link.raw.grad.abs().max() < 1e-5
