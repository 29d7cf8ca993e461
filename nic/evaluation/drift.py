"""Drift: are the patients of a served model like those it was trained on? Needs no labels."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray
from scipy.stats import PermutationMethod, binomtest, chi2_contingency, ks_2samp

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
LEAST_SHARES = 0.15
"""The smallest difference of class shares that matters: of so many patients the class would have to change."""
FEWEST_EXPECTED, PERMUTATIONS = 5, 2000
"""Patients of a class that are expected for the chi-square test; with fewer, patients are permuted so often."""
MOST_UNANSWERED, MOST_FAILED = 0.05, 0.01
"""Share of patients without a full answer, and of tiles that could not be decoded."""


@dataclass(frozen=True)
class DriftCheck:
    """One comparison. observed, expected: in words. alarm: whether a person should look at it."""

    name: str
    observed: str
    expected: str
    alarm: bool


@dataclass(frozen=True)
class CalledClasses:
    """Classes, or grades, that were called of served patients and, by networks that never saw them, of training's."""

    served: Sequence[str]
    training: Sequence[str]

    @property
    def shares(self) -> pd.DataFrame:
        """Of the patients, by class (row), the classes in the order of their names; columns served and training."""
        counts = {name: pd.Series(getattr(self, name), dtype=str).value_counts() for name in ("served", "training")}
        table = pd.DataFrame(counts).fillna(0).sort_index()
        return table / table.sum().clip(lower=1)


def drift_checks(
    answers: pd.DataFrame, served: Floats, training: Floats, classes: CalledClasses | None = None
) -> list[DriftCheck]:
    """All checks of a served model.

    answers: its rows. served: the answers of patients who could be answered. training: the answers that the same
    networks together would give to patients like those of the training, on the same scale. classes: None for an
    endpoint of two classes, a value or survival.
    """
    checks = [
        _predictions(served, training),
        *([_class_shares(classes)] if classes and len(classes.served) else []),
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


def _class_shares(classes: CalledClasses) -> DriftCheck:
    shares = classes.shares
    counts = (shares * [len(classes.served), len(classes.training)]).round().to_numpy(int).T
    apart = float((shares["served"] - shares["training"]).abs().sum() / 2)
    p = _p_of_equal_shares(counts) if len(shares) > 1 else 1.0
    listed = ", ".join(
        f"{name} {row['served']:.0%} (training {row['training']:.0%})" for name, row in shares.iterrows()
    )
    expected = f"shares as in training (alarm if p is below {ALPHA} and the difference at least {LEAST_SHARES:.0%})"
    text = f"{listed}; difference {apart:.0%}, p = {p:.2g}"
    return DriftCheck("classes", text, expected, bool(p < ALPHA and apart >= LEAST_SHARES))


def _p_of_equal_shares(counts: NDArray[np.int_]) -> float:
    """Of patients by group (row) and class."""
    test = chi2_contingency(counts, correction=False)
    if test.expected_freq.min() < FEWEST_EXPECTED:
        permuted = PermutationMethod(n_resamples=PERMUTATIONS, rng=np.random.default_rng(0))
        test = chi2_contingency(counts, correction=False, method=permuted)
    return float(test.pvalue)


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


def drift_plot(answers: pd.DataFrame, served: Floats, training: Floats, classes: CalledClasses | None = None) -> Plot:
    """Left: distribution functions of served and expected answers. Right: out-of-distribution scores in order.

    Between them, where there are classes: the shares of each.
    """
    panels = 3 if classes else 2
    plot = Plot(figsize=(4.8 * panels, 3.6), layout="constrained")
    left, *middle, right = plot.subplots(1, panels)
    if classes:
        _draw_shares(middle[0], classes)
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
    for axes in (left, *middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return plot


def _draw_shares(axes: Axes, classes: CalledClasses) -> None:
    shares, half = classes.shares, 0.38
    places = np.arange(len(shares))
    axes.bar(places - half / 2, shares["training"], half, color=GREY, label="expected from training")
    axes.bar(places + half / 2, shares["served"], half, color=LOW, label="served")
    axes.set_xticks(places, list(shares.index))
    axes.set(ylabel="share of patients", ylim=(0, 1.25 * shares.to_numpy().max()))
    axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)


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
