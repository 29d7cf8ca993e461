"""Folds of whole patients: balanced by label, by site, or read from the table."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from nic.errors import EndpointError, UnknownColumn
from nic.patients.cohort import Labelled
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values

QUANTILES = 5
INNER_FOLDS = 5
Folds = NDArray[np.intp]
"""Fold of each patient: [N]."""
InnerFolds = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def stratified_folds(targets: Targets, folds: int, seed: int) -> Folds:
    """Fold of each patient, [N], balanced by class, by event, or by rank of the value.

    Raises EndpointError when a label has fewer patients than there are folds.
    """
    check_folds(targets, folds, "training")
    strata = strata_of(targets, folds)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return _numbered(splitter.split(strata, strata), len(targets))


def site_folds(targets: Targets, sites: Sequence[str], folds: int, seed: int) -> Folds:
    """As stratified_folds, and no site stands in two folds; the balance is as good as the sites allow.

    Raises EndpointError when a patient has no site, or there are fewer sites than folds.
    """
    names = np.array(sites)
    if (missing := int((names == "").sum())) or len(set(sites)) < folds:
        raise EndpointError(
            f"{folds} folds by site need {folds} sites and a site of every patient; found {len(set(sites) - {''})} "
            f"sites, {missing} patients without; fill the column `site` or take fewer folds"
        )
    strata = strata_of(targets, folds)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return _numbered(splitter.split(strata, strata, names), len(targets))


def fixed_folds(labelled: Labelled, column: str) -> Folds:
    """Folds as a column of the cohort's table names them, numbered in the order of their names.

    Raises UnknownColumn, or EndpointError when a patient has two folds or none, or all have one.
    """
    names = []
    for patient in labelled.patients:
        values = {row.cells.get(column) for row in patient.rows}
        if None in values:
            raise UnknownColumn(f"no column {column!r} for the folds; it has {', '.join(patient.rows[0].cells)}")
        if len(values) != 1 or "" in values:
            raise EndpointError(
                f"patient {patient.patient_id}, column {column!r}: found {sorted(map(str, values))}; wanted one fold"
            )
        names.append(values.pop())
    known, fold = np.unique(np.array(names, np.str_), return_inverse=True)
    if len(known) < 2:
        raise EndpointError(f"column {column!r}: all training patients are in fold {names[0]!r}; wanted two or more")
    return fold.astype(np.intp)


def inner_folds(targets: Targets, seed: int) -> InnerFolds:
    """Train and test indices within training patients, to choose a penalty; as many as the rarest label allows."""
    rarest = int(np.bincount(strata_of(targets, INNER_FOLDS)).min())
    fold = stratified_folds(targets, max(2, min(INNER_FOLDS, rarest)), seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(fold.max() + 1)]


def strata_of(targets: Targets, folds: int) -> NDArray[np.intp]:
    """What the folds are balanced by, [N]: the class, the event, or one of at most five ranges of the value."""
    match targets:
        case Values(value):
            bins = max(1, min(QUANTILES, len(value) // folds))
            return np.asarray(value.argsort(kind="stable").argsort() * bins // len(value))
        case Classes(positive, _):
            return positive.astype(np.intp)
        case Categories(index, _) | Grades(index, _):
            return index
        case Survival(_, event):
            return event.astype(np.intp)


def check_folds(targets: Targets, folds: int, where: str) -> None:
    """Raises EndpointError when a label has fewer patients than there are folds. where: begins the message."""
    counts = np.bincount(strata_of(targets, folds))
    rarest = int(counts.min())
    if rarest >= folds:
        return
    label = _label_names(targets)[int(counts.argmin())]
    remedy = (
        f"folds: {rarest} in the study file, or folds={rarest} of train_patients" if rarest > 1 else "more patients"
    )
    raise EndpointError(
        f"{where}: {folds} folds need {folds} training patients of each label, found {rarest} {label}; take {remedy}"
    )


def _label_names(targets: Targets) -> Sequence[str]:
    """What the strata of `strata_of` are called, in their order."""
    match targets:
        case Classes(_, names) | Categories(_, names) | Grades(_, names):
            return [f"of class {name!r}" for name in names]
        case Survival():
            return ["without an event", "with an event"]
        case Values():
            return ["with a value"]


def _numbered(parts: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]], patients: int) -> Folds:
    fold = np.empty(patients, np.intp)
    for number, (_, test) in enumerate(parts):
        fold[test] = number
    return fold
