"""Plots of several classes and of ordered grades: ROC curves, the confusion table, and scores by grade."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from nic.evaluation import multiclass
from nic.evaluation.figure import Estimate
from nic.evaluation.plots import GREY, HIGH, INK, LOW, titled_axes

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
COLOURS = (LOW, HIGH, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of classes: Okabe and Ito's, which look different to every kind of colour sight."""
LINES = ("-", "--", ":")
"""Of classes beyond the colours."""
DARK = 0.6
"""Share from which a cell of the confusion table is dark."""
LONG_NAME = 12
"""Letters from which the names below the table are turned."""
GOLDEN = 0.618034
"""Golden section: steps of it never fall on the same place."""
STRIP = 0.62
"""Height of a grade's strip, of the distance between grades."""


def roc_one_vs_rest(index: Index, logits: Floats, names: Sequence[str], estimate: Estimate, title: str) -> Plot:
    """A receiver operating characteristic for each class against the rest. logits: [n, K].

    The legend names a class that none or all of the patients have.
    """
    plot, axes = titled_axes(title, estimate)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    odds, everybody = multiclass.log_odds(logits), np.ones((1, len(index)))
    for label, name in enumerate(names):
        ours = index == label
        line = LINES[label // len(COLOURS) % len(LINES)]
        style: dict[str, Any] = {"color": COLOURS[label % len(COLOURS)], "linestyle": line}
        if ours.all() or not ours.any():
            axes.plot([], [], **style, label=f"{name}: {'everybody' if ours.all() else 'nobody'}")
            continue
        false_positive, true_positive, _ = roc_curve(ours, odds[:, label])
        auc = multiclass.auc_of(index, logits, everybody, label=label)[0]
        words = f"{name}: AUC {auc:.2f} (n = {ours.sum()})"
        axes.step(false_positive, true_positive, where="post", linewidth=2, label=words, **style)
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", aspect="equal")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return plot


def confusion_table(index: Index, called: Index, names: Sequence[str]) -> Plot:
    """Patients by true (row) and called (column) class: their number, and their share of the row as colour."""
    table = multiclass.confusion(index, called, len(names))
    total = table.sum(1, keepdims=True)
    share = table / np.maximum(total, 1)
    side = 1.6 + 0.85 * len(names)
    plot = Plot(figsize=(side + 1.2, side), layout="constrained")
    axes = plot.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, col), patients in np.ndenumerate(table):
        words = f"{patients}\n{share[row, col]:.0%}" if total[row, 0] else "0"
        colour = "white" if share[row, col] > DARK else INK
        weight = "bold" if row == col else "normal"
        axes.text(col, row, words, ha="center", va="center", color=colour, fontsize=10, fontweight=weight)
    places = np.arange(len(names))
    axes.set_xticks(places, names, rotation=30 if max(map(len, names)) > LONG_NAME else 0)
    axes.set_yticks(places, [f"{name}\n(n = {n})" for name, n in zip(names, total[:, 0], strict=True)])
    axes.set(xlabel="called", ylabel="true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return plot


def grade_strips(
    index: Index, score: Floats, called: Index | None, names: Sequence[str], estimate: Estimate, title: str
) -> Plot:
    """Scores by true grade, a strip a grade, the lowest at the bottom, with the median of each.

    A dot is a patient who is called the true grade, a cross one who is called another. called: None where no grade is
    called; then all are dots.
    """
    plot, axes = titled_axes(title, estimate)
    right = np.ones(len(index), bool) if called is None else called == index
    for grade in range(len(names)):
        members = np.flatnonzero(index == grade)
        height = grade + STRIP * (_spread(len(members)) - 0.5)
        axes.axhspan(grade - STRIP / 2, grade + STRIP / 2, color=GREY, alpha=0.15, linewidth=0)
        dots, crosses = right[members], ~right[members]
        axes.scatter(score[members][dots], height[dots], s=22, color=LOW, alpha=0.75, linewidth=0)
        axes.scatter(score[members][crosses], height[crosses], s=28, color=HIGH, marker="x", linewidth=1.3)
        if len(members):
            middle = float(np.median(score[members]))
            axes.plot([middle, middle], [grade - STRIP / 2, grade + STRIP / 2], color=INK, linewidth=2)
    axes.set_yticks(range(len(names)), [f"{name}\n(n = {(index == grade).sum()})" for grade, name in enumerate(names)])
    axes.set(xlabel="score", ylabel="true grade", ylim=(-0.6, len(names) - 0.1))
    if called is not None:
        axes.scatter([], [], s=22, color=LOW, label=f"called correctly: {right.sum()}")
        axes.scatter([], [], s=28, color=HIGH, marker="x", label=f"called another: {(~right).sum()}")
        axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    return plot


def _spread(n: int) -> Floats:
    """Places between 0 and 1 that fill a strip evenly however many there are: the same for the same patients."""
    return np.asarray(((np.arange(n) + 0.5) * GOLDEN) % 1)
