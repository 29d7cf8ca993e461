"""Probes of several encoders as a picture."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from nic.encoder.probe import Probe

MARK_HEIGHT = 0.28
"""In inches, of one encoder in one task."""


def probe_figure(probes: Sequence[Probe]) -> Figure:
    """AUC with its interval, a panel a task and a line an encoder; the dotted line is guessing."""
    tasks = list(dict.fromkeys(p.task for p in probes))
    encoders = list(dict.fromkeys(p.encoder for p in probes))
    figure = Figure(figsize=(8, 1 + MARK_HEIGHT * len(tasks) * (len(encoders) + 1)), layout="constrained")
    panels = figure.subplots(len(tasks), 1, sharex=True, squeeze=False)[:, 0]
    for axes, task in zip(panels, tasks, strict=True):
        shown = [p for p in probes if p.task == task]
        places = [encoders.index(p.encoder) for p in shown]
        values = [p.auc.value for p in shown]
        below, above = [p.auc.value - p.auc.low for p in shown], [p.auc.high - p.auc.value for p in shown]
        axes.errorbar(values, places, xerr=[below, above], fmt="o", color="#2a7f9e", capsize=3)
        axes.axvline(0.5, color="0.7", linestyle=":")
        axes.set(title=task, yticks=range(len(encoders)), yticklabels=encoders, ylim=(len(encoders) - 0.5, -0.5))
    panels[-1].set_xlabel("AUC of a linear probe on held-out tiles, 95% interval over slides or patients")
    return figure
