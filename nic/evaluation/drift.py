"""Are the patients a model is asked for like those it learned from? Counts and distributions, without labels."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import binomtest, ks_2samp

from nic.evaluation.plots import GREY, HIGH, LOW

Floats = NDArray[np.float64]
ALPHA = 0.01
"""Of each check: a monitor that is run each week should not cry each month."""
STRANGE_IN_TRAINING = 0.01
"""Share of training patients beyond the out-of-distribution threshold, by its definition."""
FEW_ANSWERS = 30
"""With fewer, a change must be large to be seen."""
LEAST_KS = 0.15
"""Of the two distribution functions' greatest difference: a smaller one matters to nobody, however many patients."""
MOST_UNANSWERED, MOST_FAILED = 0.05, 0.01
"""Share of patients without a full answer, and of tiles that could not be decoded."""


@dataclass(frozen=True)
class Check:
    """One comparison. found: with its evidence. expected: what would be well. alarm: whether somebody should look."""

    name: str
    found: str
    expected: str
    alarm: bool


def checks(answers: pd.DataFrame, served: Floats, training: Floats) -> list[Check]:
    """answers: rows of a served model. served: what the patients who could be answered were answered. training: what
    the same networks together would answer patients like those of the training, on the same scale.
    """
    found = [
        _predictions(served, training),
        _strangers(answers["ood"].dropna().astype(bool).to_numpy()),
        _unanswered(answers["status"]),
        _failed_tiles(float(answers["tiles"].sum()), float(answers["failed_tiles"].sum())),
    ]
    return [*found, _other_codes(answers["codes_differ"])] if "codes_differ" in answers else found


def _predictions(served: Floats, training: Floats) -> Check:
    name, expected = "predictions", f"as in training (KS below {LEAST_KS} or p above {ALPHA})"
    if not len(served):
        return Check(name, "no patient was answered", expected, True)
    found = ks_2samp(served, training)
    medians = f"median {np.median(served):.3g}, in training {np.median(training):.3g}"
    alarm = bool(found.pvalue < ALPHA and found.statistic >= LEAST_KS)
    return Check(name, f"{medians}; KS {found.statistic:.2f}, p = {found.pvalue:.2g}", expected, alarm)


def _strangers(strange: NDArray[np.bool_]) -> Check:
    name, expected = "unlike training", f"{STRANGE_IN_TRAINING:.0%} of patients"
    if not len(strange):
        return Check(name, "the model has no out-of-distribution score", expected, False)
    found = binomtest(int(strange.sum()), len(strange), STRANGE_IN_TRAINING, alternative="greater")
    text = f"{strange.sum()} of {len(strange)} patients, {strange.mean():.1%}; p = {found.pvalue:.2g}"
    return Check(name, text, expected, bool(found.pvalue < ALPHA))


def _unanswered(status: "pd.Series[str]") -> Check:
    bad = int((status != "ok").sum())
    counts = ", ".join(f"{n} {name}" for name, n in status.value_counts().items())
    text = f"{bad} of {len(status)} patients ({counts})"
    return Check("without a full answer", text, f"at most {MOST_UNANSWERED:.0%}", bad > MOST_UNANSWERED * len(status))


def _failed_tiles(tiles: float, failed: float) -> Check:
    share = failed / max(tiles + failed, 1)
    text = f"{failed:.0f} of {tiles + failed:.0f} tiles, {share:.2%}"
    return Check("tiles that could not be decoded", text, f"at most {MOST_FAILED:.0%}", share > MOST_FAILED)


def _other_codes(differ: "pd.Series[str]") -> Check:
    """Never an alarm: such codes are used by rule, see docs/compatibility.md."""
    counts = differ[differ.notna() & (differ != "")].value_counts()
    listed = "; ".join(f"{n} by {names}" for names, n in counts.items())
    text = f"{counts.sum()} of {len(differ)} patients" + (f" ({listed})" if listed else "")
    return Check("codes unlike those of training", text, "counted, used all the same", False)


def drawn(answers: pd.DataFrame, served: Floats, training: Floats) -> Figure:
    """Left both distribution functions of the answers; right the out-of-distribution scores in their order."""
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
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
    return figure


def page(title: str, made: str, found: Sequence[Check], figure: Figure) -> str:
    """One HTML file, the picture inside it."""
    content = BytesIO()
    figure.savefig(content, dpi=150)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("drift.html").render(
        title=title,
        made=made,
        checks=found,
        alarms=any(check.alarm for check in found),
        verdict=verdict(found),
        picture=f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}",
    )


def verdict(found: Sequence[Check]) -> str:
    """What a reader in a hurry should know."""
    alarms = [check.name for check in found if check.alarm]
    return f"To be looked at: {', '.join(alarms)}." if alarms else "Nothing unlike training was found."
