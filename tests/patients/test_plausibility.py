"""An implausible cohort is reported with the size of its fault; a plausible one passes without a word."""

import numpy as np
import pytest

from nic.patients.plausibility import warnings_of
from nic.patients.targets import Classes, Survival, Targets, Values

SITES = ["delft", "utrecht", "leiden"]


def trial(seed: int, patients: int = 300) -> Survival:
    """Deaths at 2% a month and an end of study that each patient is followed to, if he lives."""
    rng = np.random.default_rng(seed)
    death, end = rng.exponential(50, patients), rng.uniform(24, 72, patients)
    return Survival(np.minimum(death, end), death < end)


def targets_of(kind: str, site: np.ndarray, strength: float, seed: int = 0) -> Targets:
    rng = np.random.default_rng(seed)
    lift = strength * (site == "delft")
    if kind == "regression":
        return Values(rng.normal(size=len(site)) + 2 * lift)
    if kind == "classification":
        return Classes(rng.random(len(site)) < 0.3 + 0.4 * lift, ("a", "b"))
    death, end = rng.exponential(50 * np.exp(-2 * lift)), rng.uniform(24, 72, len(site))
    return Survival(np.minimum(death, end), death < end)


@pytest.mark.parametrize("kind", ["regression", "classification", "survival"])
def test_a_site_that_predicts_the_label_is_reported_with_its_association(kind: str) -> None:
    site = np.random.default_rng(1).choice(SITES, 400)
    warnings = warnings_of(targets_of(kind, site, 1.0), site.tolist(), 1)
    words = {"regression": "explains ", "classification": "Cramer's V 0.", "survival": "log-rank"}
    assert len(warnings) == 1
    assert words[kind] in warnings[0]
    assert "p = " in warnings[0]
    assert warnings_of(targets_of(kind, site, 0.0), site.tolist(), 1) == []
    assert warnings_of(targets_of(kind, site, 1.0), [""] * 400, 1) == []
    assert warnings_of(targets_of(kind, site, 1.0), ["one"] * 400, 1) == []


def test_an_inverted_event_column_is_reported_and_a_right_one_is_not() -> None:
    for seed in range(20):
        right = trial(seed)
        assert warnings_of(right, [""] * 300, 1) == []
        (warning,) = warnings_of(Survival(right.time_months, ~right.event), [""] * 300, 1)
        assert "is the event column inverted?" in warning


def test_few_patients_and_few_events_are_reported_in_numbers() -> None:
    few = Values(np.arange(30.0))
    assert warnings_of(few, [""] * 30, 3) == ["30 training patients, fewer than 100: expect wide intervals"]
    rare = Classes(np.arange(200) < 12, ("no", "yes"))
    (warning,) = warnings_of(rare, [""] * 200, 2400)
    assert warning.startswith("12 patients of the rarer of no and yes for 2400 trained weights, 0.005 each")
    (warning,) = warnings_of(trial(0), [""] * 300, 1000)
    assert warning.startswith(f"{trial(0).event.sum()} events for 1000 trained weights")


def test_all_events_and_constant_values_are_no_reason_to_fail() -> None:
    site = ["a", "b"] * 75
    assert warnings_of(Survival(np.arange(1.0, 151), np.ones(150, bool)), site, 1) == []
    assert warnings_of(Values(np.ones(150)), site, 1) == []
    assert warnings_of(Classes(np.ones(150, bool), ("a", "b")), [""] * 150, 0) == []


def test_days_that_stand_as_months_are_asked_about() -> None:
    followed = trial(0)
    days = Survival(followed.time_months * 30.44, followed.event)
    (asked,) = warnings_of(days, [""] * 300, 1)
    assert "a patient is followed for 21" in asked
    assert "are these days? Divide them by 30.44" in asked
