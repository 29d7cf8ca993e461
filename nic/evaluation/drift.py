"""Drift: are the patients of a served model like those it was trained on? Needs no labels."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray
from scipy.stats import binomtest, ks_2samp

from nic.evaluation.plots import GREY, HIGH, LOW

Floats = NDArray[np.float64]
ALPHA = 0.01
"""Of each check: a monitor that runs each week should not give a false alarm each month."""
STRANGE_IN_TRAINING = 0.01
"""Share of training patients beyond the out-of-distribution threshold, by its definition."""
FEW_ANSWERS = 30
"""With fewer answers only large changes can be seen."""
LEAST_KS = 0.15
"""The smallest distance of two distributions (Kolmogorov-Smirnov) that matters, however many patients there are."""
MOST_UNANSWERED, MOST_FAILED = 0.05, 0.01
"""Share of patients without a full answer, and of tiles that could not be decoded."""


@dataclass(frozen=True)
class DriftCheck:
    """One comparison. observed, expected: in words. alarm: whether a person should look at it."""

    name: str
    observed: str
    expected: str
    alarm: bool


def drift_checks(answers: pd.DataFrame, served: Floats, training: Floats) -> list[DriftCheck]:
    """All checks of a served model.

    answers: its rows. served: the answers of patients who could be answered. training: the answers that the same
    networks together would give to patients like those of the training, on the same scale.
    """
    checks = [
        _predictions(served, training),
        _strangers(answers["ood"].dropna().astype(bool).to_numpy()),
        _unanswered(answers["status"]),
        _failed_tiles(float(answers["tiles"].sum()), float(answers["failed_tiles"].sum())),
    ]
    return [*checks, _other_codes(answers["codes_differ"])] if "codes_differ" in answers else checks


def _predictions(served: Floats, training: Floats) -> DriftCheck:
    name, expected = "predictions", f"as in training (alarm if p is below {ALPHA} and KS at least {LEAST_KS})"
    if not len(served):
        return DriftCheck(name, "no patient was answered", expected, True)
    test = ks_2samp(served, training)
    medians = f"median {np.median(served):.3g}, in training {np.median(training):.3g}"
    alarm = bool(test.pvalue < ALPHA and test.statistic >= LEAST_KS)
    return DriftCheck(name, f"{medians}; KS {test.statistic:.2f}, p = {test.pvalue:.2g}", expected, alarm)


def _strangers(strange: NDArray[np.bool_]) -> DriftCheck:
    name, expected = "unlike training", f"{STRANGE_IN_TRAINING:.0%} of patients (alarm if p is below {ALPHA})"
    if not len(strange):
        return DriftCheck(name, "the model has no out-of-distribution score", expected, False)
    test = binomtest(int(strange.sum()), len(strange), STRANGE_IN_TRAINING, alternative="greater")
    text = f"{strange.sum()} of {len(strange)} patients, {strange.mean():.1%}; p = {test.pvalue:.2g}"
    return DriftCheck(name, text, expected, bool(test.pvalue < ALPHA))


def _unanswered(status: "pd.Series[str]") -> DriftCheck:
    bad = int((status != "ok").sum())
    counts = ", ".join(f"{n} {name}" for name, n in status.value_counts().items())
    text = f"{bad} of {len(status)} patients ({counts})"
    return DriftCheck(
        "without a full answer", text, f"at most {MOST_UNANSWERED:.0%}", bad > MOST_UNANSWERED * len(status)
    )


def _failed_tiles(tiles: float, failed: float) -> DriftCheck:
    share = failed / max(tiles + failed, 1)
    text = f"{failed:.0f} of {tiles + failed:.0f} tiles, {share:.2%}"
    return DriftCheck("tiles that could not be decoded", text, f"at most {MOST_FAILED:.0%}", share > MOST_FAILED)


def _other_codes(differ: "pd.Series[str]") -> DriftCheck:
    """Never an alarm: such codes are accepted, see docs/compatibility.md."""
    counts = differ[differ.notna() & (differ != "")].value_counts()
    listed = "; ".join(f"{n} by {names}" for names, n in counts.items())
    text = f"{counts.sum()} of {len(differ)} patients" + (f" ({listed})" if listed else "")
    return DriftCheck("codes unlike those of training", text, "accepted, and counted", False)


def drift_plot(answers: pd.DataFrame, served: Floats, training: Floats) -> Plot:
    """Left: distribution functions of served and expected answers. Right: out-of-distribution scores in order."""
    plot = Plot(figsize=(9.6, 3.6), layout="constrained")
    left, right = plot.subplots(1, 2)
    for values, colour, label in (
        (training, GREY, f"expected from training ({len(training)})"),
        (served, LOW, f"served ({len(served)})"),
    ):
        if len(values):
            left.ecdf(values, color=colour, linewidth=2, label=label)
    left.set(xlabel="score", ylabel="share of patients below")
    left.legend(frameon=False, fontsize=9)
    scores = answers["ood_score"].astype(float).to_numpy()
    order = np.arange(1, len(scores) + 1)
    right.scatter(order, scores, s=10, color=np.where(scores > 1, HIGH, LOW), linewidth=0)
    right.axhline(1, color=GREY, linewidth=1)
    right.set(xlabel="answer", ylabel="distance from training's codes, in thresholds", ylim=(0, None))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return plot


def drift_page(title: str, made: str, checks: Sequence[DriftCheck], plot: Plot) -> str:
    """One HTML file that holds the plot. made: from what and when."""
    content = BytesIO()
    plot.savefig(content, dpi=150)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("drift.html").render(
        title=title,
        made=made,
        checks=checks,
        alarms=any(check.alarm for check in checks),
        verdict=drift_verdict(checks),
        picture=f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}",
    )


def drift_verdict(checks: Sequence[DriftCheck]) -> str:
    """The alarms in one sentence."""
    alarms = [check.name for check in checks if check.alarm]
    return f"Please look at: {', '.join(alarms)}." if alarms else "No difference from the training patients was found."
