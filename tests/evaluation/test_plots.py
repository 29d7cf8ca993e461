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


def drawn_groups(plot: plots.Plot, panel: int = 0) -> np.ndarray:
    """(predicted, observed) of the groups, [2, groups]."""
    [bars] = plot.axes[panel].containers
    return np.array(bars.lines[0].get_data())


def test_calibration_compares_means_of_patients_with_like_answers() -> None:
    probability = RNG.permutation(np.linspace(0.01, 0.99, 36))
    positive = RNG.random(36) < probability
    plot = plots.calibration_of_probabilities(positive, probability, "b")
    order = probability.argsort().reshape(3, 12)
    np.testing.assert_allclose(drawn_groups(plot), [probability[order].mean(1), positive[order].mean(1)])


def test_calibration_of_values_counts_those_outside_their_interval() -> None:
    prediction = np.linspace(0, 10, 40)
    value = prediction + np.where(np.arange(40) < 5, 3.0, 0.5)
    plot = plots.calibration_of_values(value, prediction, 1.0, 0.9)
    assert "outside the 90% interval: 5 of 40" in texts(plot)
    predicted, observed = drawn_groups(plot)
    assert len(predicted) == 3
    assert (observed > predicted).all()


def test_calibration_of_survival_is_kaplan_meiers_of_each_group() -> None:
    """Without censoring, the share alive."""
    months, predicted = RNG.uniform(1, 40, 36), RNG.permutation(np.linspace(0.1, 0.9, 36))
    plot = plots.calibration_of_survival(months, np.ones(36, bool), {12.0: predicted, 24.0: predicted})
    order = predicted.argsort().reshape(3, 12)
    for panel, month in enumerate((12, 24)):
        np.testing.assert_allclose(
            drawn_groups(plot, panel), [predicted[order].mean(1), (months[order] > month).mean(1)]
        )


def test_a_month_that_nobody_reached_is_drawn_empty() -> None:
    plot = plots.calibration_of_survival(np.full(20, 5.0), np.ones(20, bool), {60.0: np.full(20, 0.5)})
    plot.canvas.draw()
    assert plot.axes[0].containers == []


def test_every_subgroup_is_a_line_with_its_patients() -> None:
    shown = texts(plots.forest({"all patients": C_INDEX, "site: fir": C_INDEX}))
    assert f"site: fir (n = {C_INDEX.n})" in shown
    assert "guessing" in shown


def test_a_group_without_deaths_is_not_sure_to_live() -> None:
    predicted = np.linspace(0.8, 0.9, 12)
    plot = plots.calibration_of_survival(np.full(12, 30.0), np.zeros(12, bool), {12.0: predicted})
    [bars] = plot.axes[0].containers
    [[low, high]] = [segment[:, 1] for segment in bars.lines[2][0].get_segments()]
    assert low == pytest.approx(1 / (1 + 1.959964**2 / 12))  # Wilson's, of 12 of 12
    assert high == 1
