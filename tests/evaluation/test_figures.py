"""Figures say their numbers, and odd groups are said rather than crash."""

import numpy as np
import pytest

from nic.evaluation import figures
from nic.evaluation.metrics import METRICS, estimate

RNG = np.random.default_rng(0)
MONTHS, EVENT, HAZARD = 60 * RNG.random(30) + 1, RNG.random(30) < 0.6, RNG.normal(size=30)
C_INDEX = estimate(METRICS["survival"], (MONTHS, EVENT), HAZARD, seed=0, resamples=20)


def texts(figure: figures.Figure) -> str:
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_numbers_at_risk_are_those_still_followed() -> None:
    said = texts(figures.kaplan_meier(MONTHS, EVENT, HAZARD, 0.0, C_INDEX, "survival"))
    for group in (HAZARD <= 0, HAZARD > 0):
        for tick in (0, 12, 24):
            assert str((MONTHS[group] >= tick).sum()) in said.splitlines()
    assert "log-rank p" in said
    assert "C-index" in said


@pytest.mark.parametrize(("median", "said"), [(99.0, "high risk: nobody"), (-99.0, "low risk: nobody")])
def test_an_empty_risk_group_is_said(median: float, said: str) -> None:
    assert said in texts(figures.kaplan_meier(MONTHS, EVENT, HAZARD, median, C_INDEX, "survival"))


def test_groups_without_events_are_drawn() -> None:
    figures.kaplan_meier(MONTHS, np.zeros(30, bool), HAZARD, 0.0, C_INDEX, "survival").canvas.draw()


def test_every_patient_is_a_point() -> None:
    found = estimate(METRICS["regression"], (HAZARD,), MONTHS, seed=0, resamples=20)
    figure = figures.scatter(HAZARD, MONTHS, found, "score")
    assert len(figure.axes[0].collections[0].get_offsets()) == 30


def test_the_curve_goes_from_corner_to_corner() -> None:
    found = estimate(METRICS["classification"], (EVENT,), HAZARD, seed=0, resamples=20)
    line = figures.roc(EVENT, HAZARD, found, "class").axes[0].lines[1]
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (0, 0)
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (1, 1)
