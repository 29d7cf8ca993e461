"""Losses equal slow ones written from the formula."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.linear_model import CoxPHSurvivalAnalysis

from nic.errors import NoEvents
from nic.patients.losses import balanced_cross_entropy, cox_loss, cox_loss_breslow


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
