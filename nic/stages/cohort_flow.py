"""The flow of patients from a cohort's table to those who were measured: who was excluded at each step, and why."""

from collections.abc import Mapping, Sequence

from nic.compression.codes_folder import CodesFolder
from nic.evaluation.report_page import Excluded, FlowStep
from nic.patients.cohort import Patient
from nic.stages.model_evaluation import Evaluation
from nic.stages.report_words import outcome_counts

NAMED = 12
"""Excluded patients, or missing slides, that are named."""


def cohort_flow(evaluation: Evaluation) -> list[FlowStep]:
    """Four steps: the table, the split, the labels, and the codes."""
    cohort, labelled, split = evaluation.cohort, evaluation.labelled, evaluation.split
    elsewhere = [patient for patient in cohort.patients if patient.split != split]
    of_another_split = [Excluded(f"in split {elsewhere[0].split!r}", len(elsewhere))] if elsewhere else []
    names = labelled.excluded
    without_label = [Excluded("without a label:", len(names), names[:NAMED])] if names else []
    folder = CodesFolder(evaluation.codes)
    reasons = {record.slide: record.reason for record in (*folder.quarantined(), *folder.unreached())}
    total, measured = len(cohort.patients), len(evaluation.answers)
    slides = sum(len(answer.score_maps) for answer in evaluation.answers)
    return [
        FlowStep(f"Patients in {cohort.file}", total),
        FlowStep(f"In split {split!r}", total - len(elsewhere), of_another_split),
        FlowStep("With a label", measured + len(evaluation.unanswered), without_label),
        FlowStep(
            f"Measured, from {slides} slides{outcome_counts(labelled.targets)}",
            measured,
            _without_codes(evaluation.unanswered, reasons),
            _missing_slides(evaluation, reasons),
        ),
    ]


def _without_codes(patients: Sequence[Patient], reasons: Mapping[str, str]) -> list[Excluded]:
    """Patients of whom no slide has codes, by reason."""
    by_reason: dict[str, list[str]] = {}
    for patient in patients:
        why = " and ".join(sorted({reasons.get(slide.slide_id, "no codes") for slide in patient.slides}))
        by_reason.setdefault(why, []).append(patient.patient_id)
    return [Excluded(f"whose slides cannot be used ({w}):", len(ids), ids[:NAMED]) for w, ids in by_reason.items()]


def _missing_slides(evaluation: Evaluation, reasons: Mapping[str, str]) -> str:
    """A sentence about slides of measured patients that have no codes; empty where there are none."""
    slides = [slide.slide_id for patient in evaluation.labelled.patients for slide in patient.slides]
    missing = [slide for slide in slides if not CodesFolder(evaluation.codes).file(slide).is_file()]
    if not missing:
        return ""
    named = ", ".join(f"{slide} ({reasons.get(slide, 'no codes')})" for slide in missing[:NAMED])
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"Some slides of these patients were not used: {named}{more}."
