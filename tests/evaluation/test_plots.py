"""Plots show their numbers, and name an empty group rather than crash."""

import numpy as np
import pytest
from matplotlib.text import Annotation

from nic.evaluation import plots
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import estimate

RNG = np.random.default_rng(0)
MONTHS, EVENT, HAZARD = 60 * RNG.random(30) + 1, RNG.random(30) < 0.6, RNG.normal(size=30)
C_INDEX = estimate(deciding_figure("survival", (MONTHS, EVENT), HAZARD), seed=0, resamples=20)


def texts(plot: plots.Plot) -> str:
    plot.canvas.draw()
    return "\n".join(text.get_text() for text in plot.findobj(lambda a: hasattr(a, "get_text")))


def test_numbers_at_risk_are_those_still_followed() -> None:
    """A line of numbers a group, each below its month."""
    plot = plots.kaplan_meier(MONTHS, EVENT, HAZARD, 0.0, C_INDEX, "survival")
    below = [a for a in plot.axes[0].texts if isinstance(a, Annotation) and a.get_text().isdigit()]
    for line, group in enumerate((HAZARD <= 0, HAZARD > 0)):
        height = sorted({a.xyann[1] for a in below}, reverse=True)[line]
        shown = {a.xy[0]: int(a.get_text()) for a in below if a.xyann[1] == height}
        assert shown == {tick: (MONTHS[group] >= tick).sum() for tick in (0, 12, 24, 36, 48, 60)}
    assert "log-rank p" in texts(plot)
    assert "C-index" in texts(plot)


@pytest.mark.parametrize("months", [20.0, 61.0, 300.0])
def test_the_words_beside_the_numbers_at_risk_are_whole(months: float) -> None:
    """Left of the first number, without touching it, and inside of the picture."""
    plot = plots.kaplan_meier(MONTHS * months / 61, EVENT, HAZARD, 0.0, C_INDEX, "survival")
    plot.canvas.draw()
    below = [a for a in plot.axes[0].texts if isinstance(a, Annotation)]
    [words] = [a.get_window_extent() for a in below if a.get_text() == "at risk"]
    numbers = [a.get_window_extent() for a in below if a.get_text() != "at risk"]
    assert plot.bbox.x0 <= words.x0 < words.x1 < min(number.x0 for number in numbers)


@pytest.mark.parametrize(("median", "label"), [(99.0, "high risk: nobody"), (-99.0, "low risk: nobody")])
def test_the_legend_names_an_empty_risk_group(median: float, label: str) -> None:
    assert label in texts(plots.kaplan_meier(MONTHS, EVENT, HAZARD, median, C_INDEX, "survival"))


def test_groups_without_events_are_drawn() -> None:
    """Nobody died: both curves stay at the top, and there is no test of their difference."""
    plot = plots.kaplan_meier(MONTHS, np.zeros(30, bool), HAZARD, 0.0, C_INDEX, "survival")
    curves = [line for line in plot.axes[0].lines if "risk (n = " in str(line.get_label())]
    assert len(curves) == 2
    assert all((curve.get_ydata() == 1).all() for curve in curves)
    assert "log-rank" not in texts(plot)


def test_every_patient_is_a_point() -> None:
    estimated = estimate(deciding_figure("regression", (HAZARD,), MONTHS), seed=0, resamples=20)
    plot = plots.scatter(HAZARD, MONTHS, estimated, "score")
    assert len(plot.axes[0].collections[0].get_offsets()) == 30


def test_the_curve_goes_from_corner_to_corner() -> None:
    estimated = estimate(deciding_figure("classification", (EVENT,), HAZARD), seed=0, resamples=20)
    line = plots.roc(EVENT, HAZARD, estimated, "class").axes[0].lines[1]
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (0, 0)
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (1, 1)


@pytest.mark.parametrize("months", [5.0, 12.0, 20.0, 61.0, 300.0])
def test_the_axis_of_survival_has_some_ticks_and_not_too_many(months: float) -> None:
    time = np.linspace(0.5, months, 30)
    ticks = plots.kaplan_meier(time, EVENT, HAZARD, 0.0, C_INDEX, "survival").axes[0].get_xticks()
    assert 4 <= len(ticks) <= 7
    assert ticks[-1] <= months


def test_every_subgroup_is_a_line_with_its_patients() -> None:
    shown = texts(plots.forest({"all patients": C_INDEX, "site: fir": C_INDEX}))
    assert f"site: fir (n = {C_INDEX.n})" in shown
    assert "guessing" in shown
