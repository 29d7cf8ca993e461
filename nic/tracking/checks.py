"""What is asked of a version before it is served, one function a question; each answers with what was found."""

from collections.abc import Iterator
from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from nic.errors import RegistryError
from nic.evaluation.bootstrap import whole
from nic.evaluation.comparison import paired_difference
from nic.evaluation.metrics import METRICS, Labels, Metric, figure_of
from nic.tracking.figures import Figure, answers_behind, figure_on
from nic.tracking.gates import Bound, Gate, Subgroups
from nic.tracking.registry import ENCODER_NAME, RegisteredVersion
from nic.tracking.trace import trace, unaccounted

LEVEL = 0.90
"""Of the interval of the difference: its lower end is passed by one in twenty, as non-inferiority is tested."""
SAME = 1e-6
"""Two computations of one figure differ by less."""


@dataclass(frozen=True)
class Check:
    """A question that was asked of a version, what was wanted, and what was found."""

    name: str
    passed: bool
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.name}: {self.found}; wanted {self.wanted}"


def lineage_check(version: RegisteredVersion, gate: Gate) -> Check:
    """Whether all that the version was made of is accounted for."""
    missing = unaccounted(trace(version), gate.foreign_encoder)
    return Check("lineage", not missing, "; ".join(missing) or "complete", "each part recorded")


def parity_check(version: RegisteredVersion, gate: Gate) -> Check:
    """The largest difference between what was trained and its graph, as the run that exported it measured."""
    wanted = f"a difference of at most {gate.parity:g} between the graph and what was trained"
    try:
        found = mlflow.get_run(version.tags["nic.run"]).data.metrics.get("parity", np.nan)
    except (KeyError, MlflowException):
        found = np.nan
    return Check("parity", found <= gate.parity, f"{found:.1e}" if found == found else "never measured", wanted)


def figure_checks(figure: Figure | None, gate: Gate) -> Iterator[Check]:
    """Whether the deciding figure was measured, on the patients that decide, and reaches its bounds."""
    if figure is None:
        yield Check(gate.figure, False, "never measured on this version", "a measurement; run `evaluate` first")
        return
    if gate.patients is not None:
        wanted = f"{gate.patients}, the cohort and split that decide"
        yield Check("patients", figure.data == gate.patients, f"digest {figure.data}", wanted)
    if gate.at_least is not None:
        yield Check(gate.figure, figure.value >= gate.at_least, str(figure), f"at least {gate.at_least:g}")
    if gate.low_above is not None:
        low = figure.low is not None and figure.low > gate.low_above
        yield Check(f"interval of {gate.figure}", low, str(figure), f"a lower end above {gate.low_above:g}")


def other_checks(version: RegisteredVersion, others: dict[str, Bound]) -> Iterator[Check]:
    """Bounds of further figures: calibration, coverage, and what else `evaluate` measures."""
    for name, bound in others.items():
        figure = figure_on(version, name)
        found = str(figure) if figure else "never measured on this version"
        yield Check(name, figure is not None and bound.holds(figure.value), found, str(bound))


def answers_check(figure: Figure, gate: Gate) -> Check:
    """Whether the figure is that of the answers it was measured on: tags can be written by anybody."""
    split, name = gate.figure.split(".")
    found = measured(answers_behind(figure, split), name)
    wanted = f"{figure.value:.6f}, as tagged"
    return Check("answers", abs(found - figure.value) <= SAME, f"{gate.figure} of them is {found:.6f}", wanted)


def subgroup_checks(figure: Figure, gate: Gate, subgroups: Subgroups) -> Iterator[Check]:
    """The deciding figure in each group of patients; a group that is too small to judge is said, and passes."""
    split, name = gate.figure.split(".")
    table = answers_behind(figure, split)
    if subgroups.column not in table:
        raise RegistryError(f"{split}.csv has no column {subgroups.column!r}; it has {', '.join(table.columns)}")
    for group, members in table.groupby(subgroups.column):
        title = f"{gate.figure} of {subgroups.column} {group}"
        if len(members) < subgroups.fewest:
            yield Check(title, True, f"not judged, n = {len(members)}", f"{subgroups.fewest} patients to be judged")
            continue
        value = measured(members, name)
        found = f"{value:.3f}, n = {len(members)}" if value == value else "not defined"
        yield Check(title, value >= subgroups.at_least, found, f"at least {subgroups.at_least:g}")


def rival_check(figure: Figure, rival: RegisteredVersion, gate: Gate) -> Check:
    """Whether the version is no worse than the rival by more than the margin, on the same patients."""
    name = f"against version {rival.version} of {rival.name}"
    best = figure_on(rival, gate.figure)
    if best is None or best.data != figure.data:
        wanted = f"a figure on the same data; run `evaluate` on {rival.uri} first"
        return Check(name, False, f"it has no {gate.figure} on the same data", wanted)
    if rival.name == ENCODER_NAME:
        return _no_lower(name, figure, best, gate)
    try:
        return _no_worse(name, figure, best, gate)
    except RegistryError as error:
        return Check(name, False, str(error), f"the answers of {rival.uri} too")


def _no_lower(name: str, figure: Figure, best: Figure, gate: Gate) -> Check:
    """Of figures without a table of answers: those of encoders, on tiles."""
    wanted = f"no more than {gate.margin:g} below {best.value:.3f}"
    return Check(name, figure.value >= best.value - gate.margin, f"{gate.figure} is {figure.value:.3f}", wanted)


def _no_worse(name: str, figure: Figure, best: Figure, gate: Gate) -> Check:
    """Non-inferiority by a paired bootstrap over patients."""
    split, metric = gate.figure.split(".")
    ours, others = (answers_behind(f, split).set_index("patient") for f in (figure, best))
    others = others.loc[ours.index]
    first, second = (scores_in(table) for table in (ours, others))
    found = paired_difference(deciding(metric), labels_of(ours, metric), first, second, seed=0, level=LEVEL)
    wanted = f"a difference whose {LEVEL:.0%} interval lies above {-gate.margin:g}"
    return Check(name, found.low > -gate.margin, f"{gate.figure} differs by {found}, n = {found.n}", wanted)


def measured(table: pd.DataFrame, name: str) -> float:
    """A figure of a table of answers; NaN where it is not defined."""
    one_fold = np.zeros(len(table), np.intp)
    return whole(figure_of(deciding(name), labels_of(table, name), scores_in(table), one_fold), len(table))


def scores_in(table: pd.DataFrame) -> NDArray[np.float64]:
    """What orders the patients; tables from before there was a score have the prediction, which orders them alike."""
    return table["score" if "score" in table else "prediction"].to_numpy(float)


def labels_of(table: pd.DataFrame, name: str) -> Labels:
    """The labels as the metric takes them: values, classes, or months and events."""
    match name:
        case "spearman":
            return (table["label"].to_numpy(float),)
        case "auc":
            return (table["label"].to_numpy(bool),)
    return table["time_months"].to_numpy(float), table["event"].to_numpy(bool)


def deciding(name: str) -> Metric:
    """Raises RegistryError when a gate names a figure that cannot decide."""
    known = {metric.name: metric for metric in METRICS.values()}
    if name not in known:
        raise RegistryError(f"figure {name!r} cannot decide a promotion; those that can are {', '.join(known)}")
    return known[name]
