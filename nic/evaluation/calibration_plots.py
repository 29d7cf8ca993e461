"""Plots of calibration by matplotlib: what was predicted, against what was observed."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray
from scipy.stats import binomtest, norm
from sksurv.nonparametric import kaplan_meier_estimator

from nic.evaluation.plots import GREY, HIGH, INK, LOW, empty_axes

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
A_GROUP, MOST_GROUPS = 12, 8
"""Patients that a group of similar answers should have, and how many groups there are at most."""
LEVEL = 0.95
"""Of the intervals of groups."""
PANELS = 3
"""Side by side at most."""


def calibration_of_values(value: Floats, prediction: Floats, half_width: float, level: float) -> Plot:
    """Mean label of patients with similar predictions, over the interval that should hold `level` of the labels."""
    plot, axes = empty_axes("prediction", "label")
    ends = np.array([min(value.min(), prediction.min()), max(value.max(), prediction.max())])
    axes.fill_between(ends, ends - half_width, ends + half_width, color=LOW, alpha=0.12, linewidth=0)
    inside = np.abs(value - prediction) <= half_width
    axes.scatter(prediction[inside], value[inside], s=14, color=LOW, alpha=0.5, linewidth=0)
    outside = f"outside the {level:.0%} interval: {(~inside).sum()} of {len(value)}"
    axes.scatter(prediction[~inside], value[~inside], s=26, color=HIGH, marker="x", label=outside)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    z = float(norm.ppf((1 + LEVEL) / 2))
    means = [(prediction[g].mean(), value[g].mean(), value[g].std() / np.sqrt(len(g))) for g in _similar(prediction)]
    _draw_groups(axes, ends, [(x, y, y - z * error, y + z * error) for x, y, error in means])
    return plot


def calibration_of_probabilities(positive: Bools, probability: Floats, positive_name: str) -> Plot:
    """Share of positives among patients with similar probabilities. Each patient is a tick, at the top if positive."""
    plot, axes = empty_axes(f"probability of {positive_name}", f"share that is {positive_name}")
    _draw_shares(axes, positive, probability)
    return plot


def calibration_of_events(events: Mapping[str, tuple[Bools, Floats]]) -> Plot:
    """A panel as above for each event, such as a class. events: by name who has it, [n], and its probability, [n]."""
    rows = -(-len(events) // PANELS)
    across = min(PANELS, len(events))
    plot = Plot(figsize=(1.2 + 3.2 * across, 0.3 + 3.3 * rows), layout="constrained")
    panels = plot.subplots(rows, across, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(events) :]:
        axes.set_axis_off()
    for axes, (name, (happened, probability)) in zip(panels.flat, events.items(), strict=False):
        _draw_shares(axes, happened, probability)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{name} (n = {happened.sum()})", fontsize=10)
    plot.supxlabel("predicted probability", fontsize=10)
    plot.supylabel("observed share", fontsize=10)
    return plot


def calibration_of_survival(time_months: Floats, event: Bools, survival: Mapping[float, Floats]) -> Plot:
    """Predicted survival at some months, and Kaplan-Meier's of patients with similar predictions.

    survival: predicted probabilities [n] by month.
    """
    plot = Plot(figsize=(1.2 + 3.2 * len(survival), 3.9), layout="constrained")
    panels = plot.subplots(1, len(survival), squeeze=False, sharey=True)[0]
    for axes, (month, predicted) in zip(panels, survival.items(), strict=True):
        groups = [
            (predicted[g].mean(), *_alive_at(time_months[g], event[g], month))
            for g in _similar(predicted)
            if time_months[g].max() > month
        ]
        _draw_groups(axes, np.array([0.0, 1.0]), groups)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="predicted survival")
        axes.set_title(f"at {month:g} months", fontsize=10)
    panels[0].set_ylabel("observed survival")
    return plot


def _draw_shares(axes: Axes, positive: Bools, probability: Floats) -> None:
    """Groups of patients with similar probabilities, and each patient as a tick, at the top if positive."""
    groups = []
    for members in _similar(probability):
        count, total = int(positive[members].sum()), len(members)
        low, high = binomtest(count, total).proportion_ci(LEVEL, method="wilson")
        groups.append((probability[members].mean(), count / total, low, high))
    for at, of, colour in ((1.06, positive, HIGH), (-0.06, ~positive, LOW)):
        axes.plot(probability[of], np.full(of.sum(), at), "|", color=colour, alpha=0.6, markersize=7)
    _draw_groups(axes, np.array([0.0, 1.0]), groups)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.12, 1.12))


def _draw_groups(axes: Axes, ends: Floats, groups: Sequence[tuple[float, float, float, float]]) -> None:
    """Groups as (predicted, observed, low, high), and the line on which both are equal."""
    axes.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
    if not groups:
        return
    predicted, observed, low, high = (np.array(column, float) for column in zip(*groups, strict=True))
    bars = [observed - low, high - observed]
    axes.errorbar(predicted, observed, bars, fmt="o-", color=INK, markersize=5, linewidth=1, capsize=2)


def _similar(answers: Floats) -> Iterator[NDArray[np.intp]]:
    """Groups of patients with similar answers, ascending; as many groups as can have A_GROUP patients each."""
    groups = int(np.clip(len(answers) // A_GROUP, 1, MOST_GROUPS))
    yield from np.array_split(np.argsort(answers, kind="stable"), groups)


def _alive_at(time_months: Floats, event: Bools, month: float) -> tuple[float, float, float]:
    """Kaplan-Meier's share alive at a month, low and high end.

    Without a death until then, the interval is Wilson's of those who are still followed.
    """
    if not (event & (time_months <= month)).any():
        followed = int((time_months > month).sum())
        return 1.0, float(binomtest(followed, followed).proportion_ci(LEVEL, method="wilson").low), 1.0
    months, alive, (low, high) = kaplan_meier_estimator(event, time_months, conf_level=LEVEL, conf_type="log-log")
    place = int(np.searchsorted(months, month, "right")) - 1
    return float(alive[place]), float(low[place]), float(high[place])
