"""Pictures of a search, as matplotlib figures."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nic.encoder.tuning import Tuning

INK, SCORE, BEST = "#22313f", "#2a7f9e", "#c2503f"


def history(tuning: Tuning) -> Figure:
    """Score of each completed trial with its interval, the best so far, and what was pruned as ticks below."""
    figure, axes = _canvas((6.4, 4))
    scored = [(trial.number, trial.score) for trial in tuning.trials if trial.score]
    if not scored:
        axes.set_title("no trial was completed", color=INK, fontsize=10)
        return figure
    numbers, values = np.array([n for n, _ in scored]), np.array([s.value for _, s in scored])
    ends = np.array([[s.value - s.low, s.high - s.value] for _, s in scored]).T.clip(0)
    axes.scatter(numbers, values, color=SCORE, s=30, zorder=3, label="trial, 95% interval")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=BEST, linewidth=1.5, label="best so far")
    axes.errorbar(numbers, values, ends, fmt="none", ecolor=SCORE, alpha=0.5, linewidth=1.2)
    axes.axhline(values[0], color="0.7", linewidth=1, zorder=0, label="the start")
    pruned = [trial.number for trial in tuning.trials if trial.state == "pruned"]
    axes.plot(pruned, np.full(len(pruned), 0.02), "|", color=INK, transform=axes.get_xaxis_transform(), label="pruned")
    axes.set(xlabel="trial", ylabel="mean validation AUC")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(str(tuning).replace("; ", "\n"), color=INK, fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return figure


def importance(tuning: Tuning) -> Figure:
    """Share of the score's variance that each tuned value explains (functional ANOVA)."""
    figure, axes = _canvas((6.4, 0.9 + 0.35 * max(3, len(tuning.importance))))
    if not tuning.importance:
        axes.set_title("too few completed trials to tell what mattered", color=INK, fontsize=10)
        return figure
    axes.barh(list(tuning.importance), list(tuning.importance.values()), color=SCORE)
    axes.invert_yaxis()
    axes.set(xlabel="share of the variance of the score", xlim=(0, 1))
    axes.set_title(f"what mattered in {len(tuning.trials)} trials", color=INK, fontsize=10)
    return figure


def _canvas(inches: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=inches, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
