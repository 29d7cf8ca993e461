"""Plots of results by matplotlib: answers against labels, and subgroups."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator

from nic.evaluation.figure import Estimate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
INK, GREY, LOW, HIGH = "#22313f", "#b3b3b3", "#0072b2", "#d55e00"
"""Blue and vermilion look different to every kind of colour sight, and on grey prints."""
ABOVE: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
SHORT_NAMES = {
    "spearman": "Spearman",
    "auc": "AUC",
    "macro_auc": "macro AUC",
    "grade_c_index": "C-index",
    "c_index": "C-index",
}
STEPS_MONTHS = (1, 2, 3, 6, 12, 24, 36, 48, 60, 120)
"""Distances of the ticks below a survival curve."""
MOST_TICKS = 7


def scatter(value: Floats, prediction: Floats, estimate: Estimate, title: str) -> Plot:
    """Predictions over labels, with the line on which they would be equal."""
    plot, axes = titled_axes(title, estimate)
    ends = [min(value.min(), prediction.min()), max(value.max(), prediction.max())]
    axes.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
    axes.scatter(value, prediction, s=22, color=LOW, alpha=0.75, linewidth=0)
    axes.set(xlabel="label", ylabel="prediction")
    return plot


def roc(positive: Bools, score: Floats, estimate: Estimate, title: str) -> Plot:
    """The receiver operating characteristic."""
    plot, axes = titled_axes(title, estimate)
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
    plot, axes = titled_axes(title, estimate)
    high = log_hazard > median
    ticks = _ticks(float(time_months.max()))
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


def empty_axes(x: str, y: str) -> tuple[Plot, Axes]:
    """Empty axes; all plots of one panel have this size."""
    plot = Plot(figsize=(5, 4.6), layout="constrained")
    axes = plot.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel=x, ylabel=y)
    return plot, axes


def titled_axes(title: str, estimate: Estimate) -> tuple[Plot, Axes]:
    plot, axes = empty_axes("", "")
    name = SHORT_NAMES.get(estimate.name, estimate.name)
    axes.set_title(f"{title}\n{name} {estimate}, n = {estimate.n}", fontsize=10, color=INK)
    return plot, axes


def _ticks(last_month: float) -> Floats:
    """Months from 0 to the last, in the smallest of some round steps that gives few enough of them."""
    fits = [step for step in STEPS_MONTHS if last_month / step < MOST_TICKS]
    return np.arange(0, last_month + 1e-9, fits[0] if fits else STEPS_MONTHS[-1])


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
