"""What is asked of a version before it is served, one function a question; each answers with what it saw."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from nic.errors import RegistryError
from nic.evaluation.bootstrap import whole
from nic.evaluation.comparison import paired_difference
from nic.evaluation.figure import Estimate, figure_of
from nic.evaluation.subgroups import Bools, groups_of
from nic.patients.audit import same_patients
from nic.tracking.answers import Answers, classes_of, unlike, unlike_models
from nic.tracking.evidence import Evidence, evidence_of, graph_sha256, spec_of, untrue_tags
from nic.tracking.gates import Bound, Gate, Subgroups
from nic.tracking.recorded_estimates import Figure, verified_figure
from nic.tracking.registry import RegisteredVersion
from nic.tracking.trace import trace, unaccounted
from nic.tracking.training_data import training_of

LEVEL = 0.90
"""Of the interval of the difference: its lower end is passed by one in twenty, as non-inferiority is tested."""
OF_TRAINING = ("train", "cross_validated")
"""Parts whose patients are those of the training."""
NAMED = 5
"""Patients that a reason names."""


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
    """The largest difference between what was trained and its graph, as the run that exported it measured.

    Of several values the largest: a metric cannot be overwritten, but a second value can be added.
    """
    wanted = f"a difference of at most {gate.parity:g} between the graph and what was trained"
    try:
        history = MlflowClient().get_metric_history(version.run_id or "", "parity")
    except MlflowException:
        history = []
    measured = float(np.max([metric.value for metric in history])) if history else np.nan
    shown = f"{measured:.1e}" if measured == measured else "never measured"
    return Check("parity", measured <= gate.parity, shown, wanted)


def tags_check(version: RegisteredVersion) -> Check:
    """Whether the tags say what the version's graph and its run say: tags can be written by anybody."""
    try:
        untrue = untrue_tags(version)
    except RegistryError as error:
        untrue = [str(error)]
    return Check("tags", not untrue, "; ".join(untrue) or "agree", "tags that agree with the graph and the run")


def endpoint_check(version: RegisteredVersion, answers: Answers) -> Check:
    """Whether the version was measured on labels of the endpoint that it answers."""
    difference = unlike(spec_of(version), answers.definition, classes_of(answers.labels))
    shown = f"measured on another one: {difference} (the model's first)" if difference else "the model's own"
    return Check("endpoint", not difference, shown, "labels of the endpoint that the model was trained for")


def training_check(version: RegisteredVersion, answers: Answers) -> Check:
    """Whether no patient that was measured taught the model."""
    name, wanted = "training patients", "none among those who were measured"
    if answers.part in OF_TRAINING:
        return Check(name, True, f"part {answers.part} is of them", "a part of the training")
    training = training_of(version)
    if training is None:
        return Check(name, False, "not known, the run that trained it or its split.csv is gone", wanted)
    both = same_patients(answers.patients, training.patients)
    named = ", ".join(both[:NAMED]) + (" ..." if len(both) > NAMED else "")
    shown = f"{len(both)} of {len(answers.patients)} measured patients taught the model: {named}" if both else "none"
    return Check(name, not both, shown, wanted)


def figure_checks(figure: Figure, gate: Gate) -> Iterator[Check]:
    """Whether the deciding figure was measured on the patients that decide, and reaches its bounds."""
    if gate.patients is not None:
        wanted = f"{gate.patients}, the patients and labels that decide"
        yield Check("patients", figure.data == gate.patients, f"digest {figure.data}", wanted)
    if gate.at_least is not None:
        yield Check(gate.figure, figure.value >= gate.at_least, str(figure), f"at least {gate.at_least:g}")
    if gate.low_above is not None:
        low = figure.low is not None and figure.low > gate.low_above
        yield Check(f"interval of {gate.figure}", low, str(figure), f"a lower end above {gate.low_above:g}")


def other_checks(version: RegisteredVersion, others: Mapping[str, Bound]) -> Iterator[Check]:
    """Bounds of further figures: calibration, coverage, and what else `evaluate` measures."""
    for name, bound in others.items():
        try:
            figure = verified_figure(version, name)
            shown = str(figure) if figure else "not measured on this version, or not defined"
            yield Check(name, figure is not None and bound.holds(figure.value), shown, str(bound))
        except RegistryError as error:
            yield Check(name, False, str(error), "what was measured")


def subgroup_checks(answers: Answers, gate: Gate, subgroups: Subgroups) -> Iterator[Check]:
    """The deciding figure in each group of patients; a group that is too small to judge is named, and passes.

    Groups are those of the report: who is of no known group is one of them. Raises RegistryError when the cohort's
    table had no such column.
    """
    if subgroups.column not in answers.columns:
        names = ", ".join(answers.columns)
        raise RegistryError(f"no column {subgroups.column!r} in the record of answers; it has {names}")
    for group, members in groups_of(answers.columns[subgroups.column]).items():
        title, n = f"{gate.figure} of {subgroups.column} {group}", int(members.sum())
        if n < subgroups.fewest:
            yield Check(title, True, f"not judged, n = {n}", f"{subgroups.fewest} patients to be judged")
            continue
        value = _figure_in(answers, members)
        shown = f"{value:.3f}, n = {n}" if value == value else f"not defined, n = {n}"
        yield Check(title, value >= subgroups.at_least, shown, f"at least {subgroups.at_least:g}")


def _figure_in(answers: Answers, members: Bools) -> float:
    """The deciding figure of some patients; NaN where it is not defined."""
    labels, score = tuple(array[members] for array in answers.labels.arrays), answers.score[members]
    fold = np.zeros(len(score), np.intp) if answers.fold is None else answers.fold[members]
    return whole(figure_of(answers.metric, labels, score, fold), len(score))


def rival_check(version: RegisteredVersion, ours: Evidence, rival: RegisteredVersion, gate: Gate) -> Check:
    """Whether the version is no worse than the rival by more than the margin, on the same patients.

    A rival of another definition of the endpoint answers another question, and is none; nor is one of the same graph,
    which answers alike.
    """
    name, remedy = f"against version {rival.version} of {rival.name}", f"run `evaluate` on {rival.uri} first"
    try:
        if ours.answers and (difference := unlike_models(spec_of(rival), spec_of(version))):
            shown = f"it answers another definition of the endpoint ({difference}): the gate's own bounds decide"
            return Check(name, True, shown, "a comparison with champions of the same definition alone")
        if graph_sha256(version) == graph_sha256(rival):
            return Check(name, True, "the same networks", "other networks to be compared")
        theirs = evidence_of(rival, gate.figure)
    except RegistryError as error:
        return Check(name, False, f"it cannot be compared: {error}", remedy)
    if theirs.figure.data != ours.figure.data:
        return Check(name, False, f"it has no {gate.figure} on the same data", f"a figure on the same data; {remedy}")
    if ours.answers is None or theirs.answers is None:
        return _no_lower(name, ours.figure, theirs.figure, gate)
    return _no_worse(name, ours, theirs, gate)


def _no_lower(name: str, figure: Figure, best: Figure, gate: Gate) -> Check:
    """Of figures without a record of answers: those of encoders, on tiles."""
    wanted = f"no more than {gate.margin:g} below {best.value:.3f}"
    return Check(name, figure.value >= best.value - gate.margin, f"{gate.figure} is {figure.value:.3f}", wanted)


def _no_worse(name: str, ours: Evidence, theirs: Evidence, gate: Gate) -> Check:
    """Non-inferiority by a paired bootstrap over patients."""
    assert ours.answers is not None
    assert theirs.answers is not None
    place = {patient: number for number, patient in enumerate(theirs.answers.patients)}
    second = theirs.answers.score[[place[patient] for patient in ours.answers.patients]]
    labels, fold = ours.answers.labels.arrays, ours.answers.fold
    found = paired_difference(ours.answers.metric, labels, ours.answers.score, second, seed=0, fold=fold, level=LEVEL)
    shown = f"{gate.figure} {ours.figure.value:.3f} against its {theirs.figure.value:.3f}; {_difference(found)}"
    return Check(name, found.low > -gate.margin, shown, _wanted(gate))


def _difference(found: Estimate) -> str:
    """Which of the two is better, by how much, and how sure that is."""
    better = "this version is better" if found.value > 0 else "this version is worse" if found.value < 0 else "equal"
    sure = "significant" if found.low > 0 or found.high < 0 else "not significant"
    return f"{better}, difference {found}, {sure}, n = {found.n}"


def _wanted(gate: Gate) -> str:
    """What the interval of the difference must show, and which line of the gate says so."""
    rule = f"the {LEVEL:.0%} interval of the difference above {-gate.margin:g}"
    if gate.margin:
        return f"{rule} (margin: {gate.margin:g})"
    return f"{rule}: without a margin a version must be significantly better (margin: 0.05 admits one as good)"
