"""Plots of results by matplotlib: answers against labels, calibration, and subgroups."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_curve
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator

from nic.evaluation.figure import Estimate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
INK, GREY, LOW, HIGH = "#22313f", "#b3b3b3", "#0072b2", "#d55e00"
"""Blue and vermilion look different to every kind of colour sight, and on grey prints."""
ABOVE: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
SHORT_NAMES = {"spearman": "Spearman", "auc": "AUC", "c_index": "C-index"}
A_GROUP, MOST_GROUPS = 12, 8
"""Patients that a group of similar answers should have, and how many groups there are at most."""
LEVEL = 0.95
"""Of the intervals of groups."""


def scatter(value: Floats, prediction: Floats, estimate: Estimate, title: str) -> Plot:
    """Predictions over labels, with the line on which they would be equal."""
    plot, axes = _titled(title, estimate)
    ends = [min(value.min(), prediction.min()), max(value.max(), prediction.max())]
    axes.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
    axes.scatter(value, prediction, s=22, color=LOW, alpha=0.75, linewidth=0)
    axes.set(xlabel="label", ylabel="prediction")
    return plot


def roc(positive: Bools, score: Floats, estimate: Estimate, title: str) -> Plot:
    """The receiver operating characteristic."""
    plot, axes = _titled(title, estimate)
    false_positive, true_positive, _ = roc_curve(positive, score)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    axes.step(false_positive, true_positive, where="post", color=LOW, linewidth=2)
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", aspect="equal")
    return plot


def kaplan_meier(
    time_months: Floats, event: Bools, log_hazard: Floats, median: float, estimate: Estimate, title: str
) -> Plot:
    """Survival of the groups below and above the training median of the log hazard, with numbers at risk.

    Ticks on the curves are censored patients. The legend names an empty group.
    """
    plot, axes = _titled(title, estimate)
    high = log_hazard > median
    step = 12 * max(1, round(time_months.max() / 72))
    ticks = np.arange(0, time_months.max() + 1, step)
    for place, (name, group, colour) in enumerate([("low risk", ~high, LOW), ("high risk", high, HIGH)]):
        if not group.any():
            axes.plot([], [], color=colour, label=f"{name}: nobody")
            continue
        months, alive = _curve(time_months[group], event[group])
        axes.step(months, alive, where="post", color=colour, linewidth=2, label=f"{name} (n = {group.sum()})")
        censored = time_months[group & ~event]
        axes.plot(censored, alive[np.searchsorted(months, censored, "right") - 1], "|", color=colour, markersize=7)
        for tick in ticks:
            _below(axes, str((time_months[group] >= tick).sum()), tick, place, colour)
    _below(axes, "at risk", 0, 0, INK, left_pt=16)
    if high.any() and not high.all() and event.any():
        p = compare_survival(_outcome(time_months, event), high)[1]
        axes.plot([], [], " ", label=f"log-rank p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}")
    axes.set(xlabel="months", ylabel="alive", ylim=(0, 1.02), xlim=(0, None), xticks=ticks)
    axes.legend(frameon=False, loc="best")
    return plot


def forest(groups: Mapping[str, Estimate]) -> Plot:
    """Estimates by name, a line each with its interval. The first is of all patients; the dotted line is its value."""
    plot = Plot(figsize=(6.2, 0.9 + 0.33 * len(groups)), layout="constrained")
    axes = plot.subplots()
    first = next(iter(groups.values()))
    lines = np.arange(len(groups))
    value, low, high = (np.array([getattr(e, end) for e in groups.values()]) for end in ("value", "low", "high"))
    colours = [INK] + [LOW] * (len(groups) - 1)
    axes.hlines(lines, low, high, color=colours, linewidth=2)
    axes.scatter(value, lines, color=colours, s=36, zorder=3)
    axes.axvline(first.value, color=INK, linewidth=1, linestyle=":")
    if first.chance is not None:
        axes.axvline(first.chance, color=GREY, linewidth=1)
        axes.annotate("guessing", (first.chance, 1), (3, 2), **ABOVE, fontsize=8, color="#777777")
    axes.set_yticks(lines, [f"{name} (n = {e.n})" for name, e in groups.items()])
    axes.set(xlabel=SHORT_NAMES.get(first.name, first.name), ylim=(len(groups) - 0.4, -0.6))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return plot


def calibration_of_values(value: Floats, prediction: Floats, half_width: float, level: float) -> Plot:
    """Mean label of patients with similar predictions, over the interval that should hold `level` of the labels."""
    plot, axes = _plain("prediction", "label")
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
    plot, axes = _plain(f"probability of {positive_name}", f"share that is {positive_name}")
    groups = []
    for members in _similar(probability):
        count, total = int(positive[members].sum()), len(members)
        low, high = binomtest(count, total).proportion_ci(LEVEL, method="wilson")
        groups.append((probability[members].mean(), count / total, low, high))
    for at, of, colour in ((1.06, positive, HIGH), (-0.06, ~positive, LOW)):
        axes.plot(probability[of], np.full(of.sum(), at), "|", color=colour, alpha=0.6, markersize=7)
    _draw_groups(axes, np.array([0.0, 1.0]), groups)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.12, 1.12))
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


def _plain(x: str, y: str) -> tuple[Plot, Axes]:
    """Empty axes; all plots of one panel have this size."""
    plot = Plot(figsize=(5, 4.6), layout="constrained")
    axes = plot.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel=x, ylabel=y)
    return plot, axes


def _titled(title: str, estimate: Estimate) -> tuple[Plot, Axes]:
    plot, axes = _plain("", "")
    name = SHORT_NAMES.get(estimate.name, estimate.name)
    axes.set_title(f"{title}\n{name} {estimate}, n = {estimate.n}", fontsize=10, color=INK)
    return plot, axes


def _curve(time_months: Floats, event: Bools) -> tuple[Floats, Floats]:
    """Months and the share alive from each on, beginning at (0, 1)."""
    months, alive = kaplan_meier_estimator(event, time_months)
    return np.r_[0.0, months], np.r_[1.0, alive]


def _outcome(time_months: Floats, event: Bools) -> NDArray[np.void]:
    return np.array(list(zip(event, time_months, strict=True)), dtype=[("event", bool), ("months", float)])


def _below(axes: Axes, text: str, x: float, line: int, colour: str, left_pt: float = 0) -> None:
    """Write under the axis, centred at a place of the data, or ending left_pt points left of it."""
    axes.annotate(
        text,
        (x, 0),
        (-left_pt, -42 - 13 * line),
        **ABOVE,
        ha="right" if left_pt else "center",
        color=colour,
        fontsize=8,
        annotation_clip=False,
    )


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
