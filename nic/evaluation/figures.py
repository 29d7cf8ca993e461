"""Pictures of results, as matplotlib figures; nothing is computed here that a number elsewhere depends on."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from sksurv.nonparametric import kaplan_meier_estimator

from nic.evaluation.metrics import Estimate

Floats = NDArray[np.float64]
INK, LOW, HIGH = "#22313f", "#2a7f9e", "#c2503f"


def scatter(value: Floats, prediction: Floats, estimate: Estimate, title: str) -> Figure:
    """Predictions over labels, with the line on which they would be equal."""
    figure, axes = _canvas(title, estimate)
    ends = [min(value.min(), prediction.min()), max(value.max(), prediction.max())]
    axes.plot(ends, ends, color="0.7", linewidth=1, zorder=0)
    axes.scatter(value, prediction, s=22, color=LOW, alpha=0.75, linewidth=0)
    axes.set(xlabel="label", ylabel="prediction")
    return figure


def roc(positive: NDArray[np.bool_], probability: Floats, estimate: Estimate, title: str) -> Figure:
    """The receiver operating characteristic."""
    figure, axes = _canvas(title, estimate)
    false_positive, true_positive, _ = roc_curve(positive, probability)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.step(false_positive, true_positive, where="post", color=LOW, linewidth=2)
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", aspect="equal")
    return figure


def kaplan_meier(
    time_months: Floats, event: NDArray[np.bool_], log_hazard: Floats, median: float, estimate: Estimate, title: str
) -> Figure:
    """Survival of the groups below and above the training median of the log hazard, with numbers at risk.

    An empty group is said in the legend.
    """
    figure, axes = _canvas(title, estimate)
    ticks = np.linspace(0, time_months.max(), 6).round()
    for place, (name, group, colour) in enumerate(
        [("low risk", log_hazard <= median, LOW), ("high risk", log_hazard > median, HIGH)]
    ):
        if not group.any():
            axes.plot([], [], color=colour, label=f"{name}: nobody")
            continue
        months, alive = kaplan_meier_estimator(event[group], time_months[group])
        axes.step(
            [0, *months], [1, *alive], where="post", color=colour, linewidth=2, label=f"{name} (n = {group.sum()})"
        )
        for tick in ticks:
            at_risk = int((time_months[group] >= tick).sum())
            axes.annotate(
                str(at_risk),
                (tick, 0),
                (0, -42 - 13 * place),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                color=colour,
                fontsize=8,
            )
    axes.annotate(
        "at risk", (0, 0), (-34, -48), xycoords="axes fraction", textcoords="offset points", fontsize=8, ha="right"
    )
    axes.set(xlabel="months", ylabel="alive", ylim=(0, 1.02), xticks=ticks)
    axes.legend(frameon=False, loc="upper right")
    return figure


def score_map(
    thumbnail: NDArray[np.uint8], scores: Floats, extent: tuple[float, float, float, float], title: str
) -> Figure:
    """A slide and its score map beside each other.

    thumbnail: [h, w, 3]. scores: [rows, cols], NaN where there is no code. extent: (left, right, bottom, top) of the
    grid in thumbnail px, so that a grid that hangs over or starts inside lies where its tiles were.
    """
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    figure.suptitle(title, color=INK)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.imshow(thumbnail)
        axes.set_axis_off()
    middle = float(np.nanmean(scores))
    reach = float(np.nanquantile(np.abs(scores - middle), 0.98)) or 1.0
    image = right.imshow(
        scores,
        extent=extent,
        cmap="RdBu_r",
        vmin=middle - reach,
        vmax=middle + reach,
        alpha=0.72,
        interpolation="nearest",
    )
    right.set(xlim=left.get_xlim(), ylim=left.get_ylim())
    bar = figure.colorbar(image, ax=right, shrink=0.8)
    bar.ax.axhline(middle, color=INK, linewidth=1)
    bar.set_label("score of a tile; their mean is the prediction")
    return figure


def _canvas(title: str, estimate: Estimate) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{title}\n{estimate.name} {estimate}, n = {estimate.n}", fontsize=10, color=INK)
    return figure, axes
