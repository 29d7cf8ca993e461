"""Pictures of encoders as matplotlib plots: nearest neighbours of tiles, and a search."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nic.encoder.certificate import Codes, Tiles, neighbours
from nic.encoder.tuning import Tuning
from nic.tasks.contact_sheet import BAD, GOOD, Caption, TileRow, contact_sheet

MOST_ROWS, COLUMNS = 20, 8
INK, SCORE, BEST = "#22313f", "#2a7f9e", "#c2503f"


@dataclass(frozen=True)
class NamedTiles:
    """Tiles of several tasks. tiles: uint8 [N, px, px, 3]. task, name, groups: str [N]; name: of the tile's class."""

    tiles: Tiles
    task: NDArray[np.str_]
    name: NDArray[np.str_]
    groups: NDArray[np.str_]


def neighbour_sheet(named: NamedTiles, codes: Codes, seed: int) -> Plot:
    """One tile of each class of each task, and the tiles of all tasks whose codes [N, D] are nearest.

    Captions are green where the neighbour is of the same class, red where it is of another class of the task, and grey
    where it is of another task: one task's tumour may rightly be another task's "other".
    """
    full = np.char.add(np.char.add(named.task, "\n"), named.name)
    rng = np.random.default_rng(seed)
    queries = np.array([rng.choice(np.flatnonzero(full == name)) for name in dict.fromkeys(full)][:MOST_ROWS])
    rows = []
    for query, near in zip(queries, neighbours(codes, named.groups, queries, COLUMNS), strict=True):
        captions = (Caption("query"), *(_caption(named, query, i) for i in near))
        rows.append(TileRow(full[query], named.tiles[[query, *near]], captions))
    return contact_sheet(rows, "Nearest codes from other slides, of held-out tiles of all tasks")


def _caption(named: NamedTiles, query: int, near: int) -> Caption:
    if named.task[near] != named.task[query]:
        return Caption(f"{named.task[near]}:\n{named.name[near]}")
    return Caption(named.name[near], GOOD if named.name[near] == named.name[query] else BAD)


def search_history(tuning: Tuning) -> Plot:
    """Score of each completed trial with its interval, the best so far, and pruned trials as ticks below."""
    plot, axes = _canvas((6.4, 4))
    scored = [(trial.number, trial.score) for trial in tuning.trials if trial.score]
    if not scored:
        axes.set_title("no trial was completed", color=INK, fontsize=10)
        return plot
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
    return plot


def search_importance(tuning: Tuning) -> Plot:
    """Share of the score's variance that each tuned value explains (functional ANOVA)."""
    plot, axes = _canvas((6.4, 0.9 + 0.35 * max(3, len(tuning.importance))))
    if not tuning.importance:
        axes.set_title("too few completed trials to estimate importance", color=INK, fontsize=10)
        return plot
    axes.barh(list(tuning.importance), list(tuning.importance.values()), color=SCORE)
    axes.invert_yaxis()
    axes.set(xlabel="share of the variance of the score", xlim=(0, 1))
    axes.set_title(f"importance in {len(tuning.trials)} trials", color=INK, fontsize=10)
    return plot


def _canvas(inches: tuple[float, float]) -> tuple[Plot, Axes]:
    plot = Plot(figsize=inches, layout="constrained")
    axes = plot.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return plot, axes
