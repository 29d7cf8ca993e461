"""From an evaluation to its report: who was measured, how well, where the answers come from, and of what lineage."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from nic.errors import UnknownColumn
from nic.evaluation import calibration_figures, cases
from nic.evaluation.figures import forest
from nic.evaluation.map_picture import png
from nic.evaluation.report import Picture, Report
from nic.evaluation.subgroups import Subgroup, subgroups_of
from nic.patients.calibration import Prognosis, ResidualInterval
from nic.patients.cohort import Patient
from nic.patients.targets import Classes, Survival, Values
from nic.stages.cohort_flow import flow
from nic.stages.evaluation import Evaluation
from nic.stages.mapping import map_of
from nic.stages.measures import measures_of
from nic.stages.predictions import figure_of
from nic.stages.report_words import GOODNESS, PART_NOTICES, SYNTHETIC, case_words, misuses, question, uses
from nic.tracking.answers import cells_of

CASES = 3
"""Patients shown as the best, and as the worst."""
PICTURE_DPI, MAP_DPI, MOST_MONTHS = 140, 85, 3


def report_of(done: Evaluation, columns: Sequence[str], run_id: str, seed: int) -> Report:
    """The report. columns: of the cohort's table, by which subgroups are made. Raises UnknownColumn."""
    groups = subgroups(done, columns, seed)
    best, worst = cases.best_and_worst(goodness(done), CASES)
    return Report(
        title=f"{done.name}: evaluation of {done.version.name}, version {done.version.version}",
        question=question(done.spec),
        notice=" ".join([*([SYNTHETIC] if done.synthetic else []), *PART_NOTICES.get(done.part, [])]),
        made=f"Measured on {datetime.now(UTC):%d %B %Y}, run {run_id}. Research software, not a medical device.",
        flow=flow(done),
        figures=done.estimates,
        result=result_picture(done),
        calibration=calibration_picture(done),
        subgroups=groups,
        subgroup_picture=subgroup_picture(groups),
        best=[case_picture(done, place, f"best-{n}") for n, place in enumerate(best, start=1)],
        worst=[case_picture(done, place, f"worst-{n}") for n, place in enumerate(worst, start=1)],
        goodness=GOODNESS[done.spec.kind],
        lineage=lineage(done, run_id),
        uses=uses(done),
        misuses=misuses(done.spec),
    )


def goodness(done: Evaluation) -> NDArray[np.float64]:
    """How well each patient was answered, higher = better."""
    match done.labelled.targets:
        case Values(value):
            return cases.nearness(value, done.scores)
        case Classes(positive, _):
            return cases.own_class_probability(positive, done.predictions)
        case Survival(time_months, event):
            return cases.pairs_in_order(time_months, event, done.scores)


def result_picture(done: Evaluation) -> Picture:
    captions = {
        "regression": "Each point is a patient; on the grey line answer and label are equal.",
        "classification": "Each step is a patient; a model that guesses follows the grey line.",
        "survival": "Survival of patients below and above the training patients' median log hazard; ticks are patients "
        "who were alive when last seen.",
    }
    figure = figure_of(done.labelled.targets, done.scores, done.estimates[0], done.name, done.spec.median)
    return Picture("result.png", png(figure, PICTURE_DPI), captions[done.spec.kind])


def calibration_picture(done: Evaluation) -> Picture | None:
    """What was promised and what came true; None where the model promises nothing."""
    wide = False
    match done.labelled.targets, done.spec.calibration:
        case Values(value), ResidualInterval(level, half_width):
            figure = calibration_figures.values_promised(value, done.scores, half_width, level)
            words = (
                "Points are groups of patients with similar answers. The band is the interval that an answer states."
            )
        case Classes(positive, names), calibration if calibration is not None:
            figure = calibration_figures.probabilities_promised(positive, done.predictions, names[1])
            words = "Points are groups of patients with similar probabilities. Ticks are patients, positive ones above."
        case Survival(months, event), Prognosis(stated_months=stated) if stated:
            wide = True
            promised = {month: done.promised[f"survival_{month:g}m"] for month in _spread(stated)}
            figure = calibration_figures.survival_promised(months, event, promised)
            words = (
                "Points are groups of patients with similar predictions. Observed survival is Kaplan-Meier's estimate."
            )
        case _:
            return None
    return Picture("calibration.png", png(figure, PICTURE_DPI), f"Calibration. {words} Bars are 95% intervals.", wide)


def _spread(months: tuple[float, ...]) -> list[float]:
    """A few of the stated months, the first and the last among them."""
    chosen = np.linspace(0, len(months) - 1, min(MOST_MONTHS, len(months))).round().astype(int)
    return [months[place] for place in chosen]


def subgroups(done: Evaluation, columns: Sequence[str], seed: int) -> list[Subgroup]:
    """The figure that decides, by group."""
    first = measures_of(done.labelled.targets, done.answers, done.spec)[0]
    known = cells_of(done.labelled.patients)
    if unknown := [column for column in columns if column not in known]:
        raise UnknownColumn(f"no column {unknown[0]!r} for subgroups; there are {', '.join(known)}")
    cells = {column: known[column] for column in columns}
    return list(subgroups_of(first, cells, seed, done.fold))


def subgroup_picture(groups: Sequence[Subgroup]) -> Picture | None:
    named = {f"{g.column}: {g.name}" if g.column else "all patients": g.estimate for g in groups}
    if len(named) == 1:
        return None
    return Picture("subgroups.png", png(forest(named), PICTURE_DPI), "The dotted line is the figure of all patients.")


def case_picture(done: Evaluation, place: int, name: str) -> Picture:
    """One patient's maps. The file has no patient's name."""
    patient, answer = done.labelled.patients[place], done.answers[place]
    words = f"{patient.patient_id}: {case_words(done, place)}"
    figure = map_of(patient, answer, done.spec, done.codes)
    return Picture(f"maps/{name}.png", png(figure, MAP_DPI), words)


def lineage(done: Evaluation, run_id: str) -> dict[str, str]:
    """Of model and data: what stands on the version, and what was measured."""
    tags, unknown = done.version.tags, "not recorded"
    names = {
        "Trained by run": "nic.run",
        "Code of the training": "nic.code",
        "Encoder": "nic.encoder_version",
        "Encoder's graph, SHA-256": "nic.encoder_sha256",
        "Training cohort, digest": "nic.cohort",
    }
    return {
        "Model": done.version.uri,
        **{name: tags.get(tag, unknown) for name, tag in names.items()},
        "Training patients": f"{done.spec.patients}, {done.spec.folds} folds",
        "Tiles": f"{done.spec.tile_um:g} µm; {done.spec.tiling}",
        "Training sites in this table": _sites(p for p in done.cohort.patients if p.split == "train"),
        "Sites measured": _sites(done.labelled.patients),
        "Measured cohort": f"{done.cohort.file}, digest {done.cohort.digest}",
        "Measured part": f"{done.part}, {len(done.answers)} patients",
        "Codes": str(done.codes.name),
        "Evaluated by run": run_id,
    }


def _sites(patients: Iterable[Patient]) -> str:
    """Where slides came from, as this cohort's table has it."""
    return ", ".join(sorted({patient.site or "not known" for patient in patients})) or "none"
