"""The report of an evaluation: who was measured, how good the answers are, where they come from, and their lineage."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from nic.errors import UnknownColumn
from nic.evaluation.published import about_patients
from nic.evaluation.report_page import Report
from nic.evaluation.subgroups import Subgroup, subgroups_of
from nic.evaluation.survival import pairs_in_order
from nic.patients.cohort import Patient
from nic.patients.targets import Categories, Classes, Grades, Survival, Values
from nic.stages.cohort_flow import cohort_flow
from nic.stages.model_evaluation import Evaluation
from nic.stages.report_pictures import (
    calibration_picture,
    case_picture,
    confusion_picture,
    result_picture,
    subgroup_picture,
)
from nic.stages.report_words import (
    GOODNESS,
    PART_NOTICES,
    SYNTHETIC,
    map_scale,
    misuses,
    outcome_counts,
    question,
    uses,
)
from nic.tracking.answers import cells_of

CASES = 3
"""Patients shown as the best answered, and as the worst."""
Floats = NDArray[np.float64]


def report_of(evaluation: Evaluation, columns: Sequence[str], run_id: str, seed: int) -> Report:
    """The report. columns: of the cohort's table, by which patients are grouped. Raises UnknownColumn."""
    groups = subgroups(evaluation, columns, seed)
    best, worst = best_and_worst(goodness(evaluation), CASES)
    version, spec, published = evaluation.version, evaluation.spec, evaluation.compared
    return Report(
        title=f"{evaluation.name}: evaluation of {version.name}, version {version.version}",
        question=question(spec),
        notice=" ".join([*([SYNTHETIC] if evaluation.synthetic else []), *PART_NOTICES.get(evaluation.part, [])]),
        made=f"Measured on {datetime.now(UTC):%d %B %Y}, run {run_id}. Research software, not a medical device.",
        flow=cohort_flow(evaluation),
        patients=f"{len(evaluation.answers)} patients{outcome_counts(evaluation.labelled.targets)}",
        estimates=evaluation.estimates,
        result=result_picture(evaluation),
        confusion=confusion_picture(evaluation),
        calibration=calibration_picture(evaluation),
        subgroups=groups,
        subgroup_picture=subgroup_picture(groups),
        best=[case_picture(evaluation, place, f"best-{n}") for n, place in enumerate(best, start=1)],
        worst=[case_picture(evaluation, place, f"worst-{n}") for n, place in enumerate(worst, start=1)],
        map_scale=map_scale(evaluation),
        goodness=GOODNESS[spec.kind],
        lineage=lineage(evaluation, run_id),
        uses=uses(spec),
        misuses=misuses(spec),
        published=published,
        published_note=about_patients(published),
    )


def goodness(evaluation: Evaluation) -> Floats:
    """How well each patient was answered, higher = better."""
    match evaluation.labelled.targets:
        case Values(value):
            return -np.abs(evaluation.scores - value)
        case Classes(positive, _):
            return np.where(positive, evaluation.predictions, 1 - evaluation.predictions)
        case Categories(index, _) | Grades(index, _):
            return evaluation.probabilities[np.arange(len(index)), index]
        case Survival(time_months, event):
            return pairs_in_order(time_months, event, evaluation.scores)


def best_and_worst(goodness: Floats, at_most: int) -> tuple[list[int], list[int]]:
    """Places of the best, the best first, and of the worst, the worst first. No patient is in both."""
    order = np.argsort(-goodness, kind="stable").tolist()
    count = min(at_most, len(order) // 2)
    return order[:count], order[::-1][:count]


def subgroups(evaluation: Evaluation, columns: Sequence[str], seed: int) -> list[Subgroup]:
    """The deciding figure in each group of each column."""
    cells = cells_of(evaluation.labelled.patients)
    if unknown := [column for column in columns if column not in cells]:
        raise UnknownColumn(f"no column {unknown[0]!r} for subgroups; there are {', '.join(cells)}")
    chosen = {column: cells[column] for column in columns}
    return list(subgroups_of(evaluation.figure_among, len(evaluation.answers), chosen, seed))


def lineage(evaluation: Evaluation, run_id: str) -> dict[str, str]:
    """Where the model and the measured data come from, by name."""
    tags, spec, cohort = evaluation.version.tags, evaluation.spec, evaluation.cohort
    names = {
        "Trained by run": "nic.run",
        "Code of the training": "nic.code",
        "Encoder": "nic.encoder_version",
        "Encoder's graph, SHA-256": "nic.encoder_sha256",
        "Training cohort, digest": "nic.cohort",
    }
    return {
        "Model": evaluation.version.uri,
        **{name: tags.get(tag, "not recorded") for name, tag in names.items()},
        "Training patients": f"{spec.patients}, {spec.folds} folds",
        "Tiles": f"{spec.tile_um:g} µm; {spec.tiling}",
        "Training sites in this table": _sites(p for p in cohort.patients if p.split == "train"),
        "Sites measured": _sites(evaluation.labelled.patients),
        "Measured cohort": f"{cohort.file}, digest {cohort.digest}",
        "Measured part": f"{evaluation.part}, {len(evaluation.answers)} patients",
        "Codes": str(evaluation.codes.name),
        "Evaluated by run": run_id,
    }


def _sites(patients: Iterable[Patient]) -> str:
    return ", ".join(sorted({patient.site or "not known" for patient in patients})) or "none"
