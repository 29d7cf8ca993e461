"""The checks of a version before it is served, one function for each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from nic.errors import RegistryError
from nic.evaluation.figure import Estimate, difference
from nic.evaluation.subgroups import groups_of
from nic.patients.audit import same_patients
from nic.patients.targets import names_of
from nic.tracking.answers import Answers, unlike, unlike_models
from nic.tracking.evidence import Evidence, evidence_of, graph_sha256, spec_of, untrue_tags
from nic.tracking.figure_name import FigureName
from nic.tracking.gates import Bound, Gate, Subgroups
from nic.tracking.recorded_estimates import RecordedEstimate, verified_estimate
from nic.tracking.registry import RegisteredVersion
from nic.tracking.trace import trace, unaccounted
from nic.tracking.training_data import training_of

LEVEL = 0.90
"""Of the interval of a difference. Its lower end is that of a one-sided test of non-inferiority at 5%."""
OF_TRAINING = ("train", "cross_validated")
"""Parts whose patients are those of the training."""
NAMED = 5
"""Patients that a reason names."""


@dataclass(frozen=True)
class Check:
    """Whether a version passed, what was observed of it, and what is required. Both are words for a reader."""

    name: str
    passed: bool
    observed: str
    required: str

    def __str__(self) -> str:
        return f"{self.name}: {self.observed}; wanted {self.required}"


def lineage_check(version: RegisteredVersion, gate: Gate) -> Check:
    """Whether every part that the version was made from is recorded and still there."""
    missing = unaccounted(trace(version), gate.foreign_encoder)
    return Check("lineage", not missing, "; ".join(missing) or "complete", "each part recorded")


def parity_check(version: RegisteredVersion, gate: Gate) -> Check:
    """The parity of the graph with the trained network, as the run that exported it measured it.

    The largest of all values, because a second value can be added to a metric of a run.
    """
    required = f"a difference of at most {gate.parity:g} between the graph and the trained network"
    try:
        history = MlflowClient().get_metric_history(version.run_id or "", "parity")
    except MlflowException:
        history = []
    measured = float(np.max([metric.value for metric in history])) if history else np.nan
    shown = f"{measured:.1e}" if measured == measured else "never measured"
    return Check("parity", measured <= gate.parity, shown, required)


def tags_check(version: RegisteredVersion) -> Check:
    """Whether the tags agree with the version's graph and its run; anybody can write tags."""
    try:
        untrue = untrue_tags(version)
    except RegistryError as error:
        untrue = [str(error)]
    return Check("tags", not untrue, "; ".join(untrue) or "agree", "tags that agree with the graph and the run")


def endpoint_check(version: RegisteredVersion, answers: Answers) -> Check:
    """Whether the labels are of the endpoint that the version answers."""
    differs = unlike(spec_of(version), answers.definition, names_of(answers.labels))
    shown = f"measured on another endpoint: {differs} (the model's first)" if differs else "the model's own"
    return Check("endpoint", not differs, shown, "labels of the endpoint that the model was trained for")


def training_check(version: RegisteredVersion, answers: Answers) -> Check:
    """Whether the model was trained on none of the patients that it was measured on."""
    name, required = "training patients", "none among those who were measured"
    if answers.part in OF_TRAINING:
        return Check(name, True, f"part {answers.part} consists of them", "a part of the training")
    training = training_of(version)
    if training is None:
        return Check(name, False, "not known, the run that trained it or its split.csv is gone", required)
    both = same_patients(answers.patients, training.patients)
    named = ", ".join(both[:NAMED]) + (" ..." if len(both) > NAMED else "")
    shown = f"{len(both)} of {len(answers.patients)} measured patients: {named}" if both else "none"
    return Check(name, not both, shown, required)


def bound_checks(estimate: RecordedEstimate, gate: Gate) -> Iterator[Check]:
    """Whether the deciding figure was measured on the patients that the gate names, and reaches its bounds."""
    if gate.patients is not None:
        required = f"{gate.patients}, the patients and labels that decide"
        yield Check("patients", estimate.data == gate.patients, f"digest {estimate.data}", required)
    if gate.at_least is not None:
        yield Check(str(gate.figure), estimate.value >= gate.at_least, str(estimate), f"at least {gate.at_least:g}")
    if gate.low_above is not None:
        low = estimate.low is not None and estimate.low > gate.low_above
        yield Check(f"interval of {gate.figure}", low, str(estimate), f"a lower end above {gate.low_above:g}")


def other_checks(version: RegisteredVersion, others: Mapping[FigureName, Bound]) -> Iterator[Check]:
    """Bounds of further figures, such as calibration and coverage."""
    for name, bound in others.items():
        try:
            estimate = verified_estimate(version, name)
            shown = str(estimate) if estimate else "not measured on this version, or not defined"
            yield Check(str(name), estimate is not None and bound.holds(estimate.value), shown, str(bound))
        except RegistryError as error:
            yield Check(str(name), False, str(error), "the estimate that was measured")


def subgroup_checks(answers: Answers, gate: Gate, subgroups: Subgroups) -> Iterator[Check]:
    """The deciding figure in each group of patients. A group that is too small to judge is named, and passes.

    The groups are those of the report; patients whose group is not known are one of them. Raises RegistryError when the
    cohort's table had no such column.
    """
    if subgroups.column not in answers.columns:
        names = ", ".join(answers.columns)
        raise RegistryError(f"no column {subgroups.column!r} in the record of answers; it has {names}")
    for group, members in groups_of(answers.columns[subgroups.column]).items():
        title, n = f"{gate.figure} of {subgroups.column} {group}", int(members.sum())
        if n < subgroups.fewest:
            yield Check(title, True, f"not judged, n = {n}", f"{subgroups.fewest} patients to be judged")
            continue
        value = answers.figure_among(members).value
        shown = f"{value:.3f}, n = {n}" if value == value else f"not defined, n = {n}"
        yield Check(title, value >= subgroups.at_least, shown, f"at least {subgroups.at_least:g}")


def rival_check(version: RegisteredVersion, ours: Evidence, rival: RegisteredVersion, gate: Gate) -> Check:
    """Whether the version is no worse than the rival by more than the margin, on the same patients.

    There is nothing to compare where the rival answers another definition of the endpoint, or has the same graph.
    """
    name, remedy = f"against version {rival.version} of {rival.name}", f"run `evaluate` on {rival.uri} first"
    try:
        if ours.answers and (differs := unlike_models(spec_of(rival), spec_of(version))):
            shown = f"it answers another definition of the endpoint ({differs}): the gate's own bounds decide"
            return Check(name, True, shown, "a comparison with champions of the same definition alone")
        if graph_sha256(version) == graph_sha256(rival):
            return Check(name, True, "the same networks", "other networks to be compared")
        theirs = evidence_of(rival, gate.figure)
    except RegistryError as error:
        return Check(name, False, f"it cannot be compared: {error}", remedy)
    if theirs.estimate.data != ours.estimate.data:
        return Check(name, False, f"its {gate.figure} is of other patients, labels or slides", f"the same; {remedy}")
    if ours.answers is None or theirs.answers is None:
        return _no_lower(name, ours.estimate, theirs.estimate, gate)
    paired = paired_difference(ours.answers, theirs.answers)
    observed = f"{_both_values(gate, ours.estimate, theirs.estimate)}; {_in_words(paired)}"
    return Check(name, paired.low > -gate.margin, observed, f"a lower end of the interval {_above_margin(gate)}")


def paired_difference(ours: Answers, theirs: Answers) -> Estimate:
    """The deciding figure of two records of the same patients, ours minus theirs, by the paired bootstrap."""
    place = {patient: number for number, patient in enumerate(theirs.patients)}
    scores = theirs.score[[place[patient] for patient in ours.patients]]
    return difference(ours.figure, replace(ours, score=scores).figure, seed=0, level=LEVEL)


def _no_lower(name: str, ours: RecordedEstimate, theirs: RecordedEstimate, gate: Gate) -> Check:
    """Compares estimates without a record of answers: those of encoders, on tiles."""
    size = ours.value - theirs.value
    observed = f"{_both_values(gate, ours, theirs)}; the candidate is {_better(size)}, difference {size:.3f}"
    required = f"a champion that is at most {gate.margin:g} better (margin: {gate.margin:g})"
    return Check(name, ours.value >= theirs.value - gate.margin, observed, required)


def _both_values(gate: Gate, ours: RecordedEstimate, theirs: RecordedEstimate) -> str:
    return f"{gate.figure}: candidate {ours.value:.3f}, champion {theirs.value:.3f}"


def _better(difference: float) -> str:
    return "better" if difference > 0 else "worse" if difference < 0 else "equal"


def _in_words(paired: Estimate) -> str:
    """Which of the two is better, by how much, and whether the difference is significant."""
    significant = "significant" if paired.low > 0 or paired.high < 0 else "not significant"
    size = f"difference {paired.value:.3f}, {LEVEL:.0%} interval [{paired.low:.3f}, {paired.high:.3f}], n = {paired.n}"
    return f"the candidate is {_better(paired.value)}, {size}, {significant}"


def _above_margin(gate: Gate) -> str:
    """The bound of the interval, and which line of the gate sets it."""
    if gate.margin:
        return f"above {-gate.margin:g} (margin: {gate.margin:g})"
    return (
        "above 0: the gate has no margin, so only a significantly better candidate passes; "
        "write margin: 0.1 in the gate to admit one that is at most 0.1 worse"
    )
