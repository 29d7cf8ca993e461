"""Plots of calibration show what was predicted and what was observed."""

import numpy as np
import pytest
from matplotlib.figure import Figure as Plot

from nic.evaluation import calibration_plots

RNG = np.random.default_rng(0)


def texts(plot: Plot) -> str:
    plot.canvas.draw()
    return "\n".join(text.get_text() for text in plot.findobj(lambda a: hasattr(a, "get_text")))


def drawn_groups(plot: Plot, panel: int = 0) -> np.ndarray:
    """(predicted, observed) of the groups, [2, groups]."""
    [bars] = plot.axes[panel].containers
    return np.array(bars.lines[0].get_data())


def test_calibration_compares_means_of_patients_with_like_answers() -> None:
    probability = RNG.permutation(np.linspace(0.01, 0.99, 36))
    positive = RNG.random(36) < probability
    plot = calibration_plots.calibration_of_probabilities(positive, probability, "b")
    order = probability.argsort().reshape(3, 12)
    np.testing.assert_allclose(drawn_groups(plot), [probability[order].mean(1), positive[order].mean(1)])


def test_calibration_of_values_counts_those_outside_their_interval() -> None:
    prediction = np.linspace(0, 10, 40)
    value = prediction + np.where(np.arange(40) < 5, 3.0, 0.5)
    plot = calibration_plots.calibration_of_values(value, prediction, 1.0, 0.9)
    assert "outside the 90% interval: 5 of 40" in texts(plot)
    predicted, observed = drawn_groups(plot)
    assert len(predicted) == 3
    assert (observed > predicted).all()


def test_calibration_of_survival_is_kaplan_meiers_of_each_group() -> None:
    """Without censoring, the share alive."""
    months, predicted = RNG.uniform(1, 40, 36), RNG.permutation(np.linspace(0.1, 0.9, 36))
    plot = calibration_plots.calibration_of_survival(months, np.ones(36, bool), {12.0: predicted, 24.0: predicted})
    order = predicted.argsort().reshape(3, 12)
    for panel, month in enumerate((12, 24)):
        np.testing.assert_allclose(
            drawn_groups(plot, panel), [predicted[order].mean(1), (months[order] > month).mean(1)]
        )


def test_a_month_that_nobody_reached_is_drawn_empty() -> None:
    plot = calibration_plots.calibration_of_survival(np.full(20, 5.0), np.ones(20, bool), {60.0: np.full(20, 0.5)})
    plot.canvas.draw()
    assert plot.axes[0].containers == []


def test_a_group_without_deaths_is_not_sure_to_live() -> None:
    predicted = np.linspace(0.8, 0.9, 12)
    plot = calibration_plots.calibration_of_survival(np.full(12, 30.0), np.zeros(12, bool), {12.0: predicted})
    [bars] = plot.axes[0].containers
    [[low, high]] = [segment[:, 1] for segment in bars.lines[2][0].get_segments()]
    assert low == pytest.approx(1 / (1 + 1.959964**2 / 12))  # Wilson's, of 12 of 12
    assert high == 1


def test_each_event_has_a_panel_of_its_own() -> None:
    """Four classes: the second row has one panel."""
    index, probability = np.repeat(np.arange(4), 12), RNG.dirichlet(np.ones(4), 48)
    events = {f"class {label}": (index == label, probability[:, label]) for label in range(4)}
    plot = calibration_plots.calibration_of_events(events)
    shown = [axes for axes in plot.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == [f"class {label} (n = 12)" for label in range(4)]
    for label, axes in enumerate(shown):
        order = probability[:, label].argsort(kind="stable").reshape(4, 12)
        [bars] = axes.containers
        expected = [probability[order, label].mean(1), (index == label)[order].mean(1)]
        np.testing.assert_allclose(bars.lines[0].get_data(), expected)
