"""Pictures of calibration: what answers promise, and what came true, in groups of patients with like answers."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import binomtest, norm
from sksurv.nonparametric import kaplan_meier_estimator

from nic.evaluation.plots import GREY, HIGH, LOW, plain

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
A_GROUP, MOST_GROUPS = 12, 8
"""Patients that a group should have, and how many groups there are at most."""
LEVEL = 0.95


def values_promised(value: Floats, prediction: Floats, half_width: float, level: float) -> Figure:
    """Mean label of patients with like predictions, over the band that promises to hold `level` of the labels."""
    figure, axes = plain("prediction", "label")
    ends = np.array([min(value.min(), prediction.min()), max(value.max(), prediction.max())])
    axes.fill_between(ends, ends - half_width, ends + half_width, color=LOW, alpha=0.12, linewidth=0)
    inside = np.abs(value - prediction) <= half_width
    axes.scatter(prediction[inside], value[inside], s=14, color=LOW, alpha=0.5, linewidth=0)
    outside = f"outside the {level:.0%} interval: {(~inside).sum()} of {len(value)}"
    axes.scatter(prediction[~inside], value[~inside], s=26, color=HIGH, marker="x", label=outside)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    groups = list(_alike(prediction))
    means = [(prediction[g].mean(), value[g].mean(), value[g].std() / np.sqrt(len(g))) for g in groups]
    _draw_groups(axes, ends, [(x, y, y - _z() * error, y + _z() * error) for x, y, error in means])
    return figure


def probabilities_promised(positive: Bools, probability: Floats, positive_name: str) -> Figure:
    """Share of positives among patients with like probabilities; each patient is a tick, at the top if positive."""
    figure, axes = plain(f"probability of {positive_name}", f"share that is {positive_name}")
    groups = []
    for members in _alike(probability):
        count, total = int(positive[members].sum()), len(members)
        low, high = binomtest(count, total).proportion_ci(LEVEL, method="wilson")
        groups.append((probability[members].mean(), count / total, low, high))
    for at, of, colour in ((1.06, positive, HIGH), (-0.06, ~positive, LOW)):
        axes.plot(probability[of], np.full(of.sum(), at), "|", color=colour, alpha=0.6, markersize=7)
    _draw_groups(axes, np.array([0.0, 1.0]), groups)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.12, 1.12))
    return figure


def survival_promised(time_months: Floats, event: Bools, survival: Mapping[float, Floats]) -> Figure:
    """Survival at stated months: promised, and Kaplan-Meier's of patients with like promises. survival: [n] a month."""
    figure = Figure(figsize=(1.2 + 3.2 * len(survival), 3.9), layout="constrained")
    panels = figure.subplots(1, len(survival), squeeze=False, sharey=True)[0]
    for axes, (month, promised) in zip(panels, survival.items(), strict=True):
        groups = [
            (promised[g].mean(), *_alive_at(time_months[g], event[g], month))
            for g in _alike(promised)
            if time_months[g].max() > month
        ]
        _draw_groups(axes, np.array([0.0, 1.0]), groups)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="survival promised")
        axes.set_title(f"at {month:g} months", fontsize=10)
    panels[0].set_ylabel("survival seen")
    return figure


def _draw_groups(axes: Axes, ends: Floats, groups: Sequence[tuple[float, float, float, float]]) -> None:
    """Groups as (promised, seen, low, high), and the line on which both are equal."""
    axes.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
    if not groups:
        return
    promised, seen, low, high = (np.array(column, float) for column in zip(*groups, strict=True))
    bars = [seen - low, high - seen]
    axes.errorbar(promised, seen, bars, fmt="o-", color="#22313f", markersize=5, linewidth=1, capsize=2)


def _alike(answers: Floats) -> Iterator[NDArray[np.intp]]:
    """Patients in groups of like answers, ascending, as many as can have A_GROUP patients each."""
    groups = int(np.clip(len(answers) // A_GROUP, 1, MOST_GROUPS))
    yield from np.array_split(np.argsort(answers, kind="stable"), groups)


def _alive_at(time_months: Floats, event: Bools, month: float) -> tuple[float, float, float]:
    """Kaplan-Meier's share alive at a month and its interval; without a death by then, Wilson's of those still seen."""
    if not (event & (time_months <= month)).any():
        seen = int((time_months > month).sum())
        return 1.0, float(binomtest(seen, seen).proportion_ci(LEVEL, method="wilson").low), 1.0
    months, alive, (low, high) = kaplan_meier_estimator(event, time_months, conf_level=LEVEL, conf_type="log-log")
    place = int(np.searchsorted(months, month, "right")) - 1
    return float(alive[place]), float(low[place]), float(high[place])


def _z() -> float:
    return float(norm.ppf((1 + LEVEL) / 2))
