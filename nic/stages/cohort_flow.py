"""From the patients of a cohort's table to those who were measured: who was left out on the way, and why."""

from collections.abc import Mapping, Sequence

from nic.compression.codes_folder import CodesFolder
from nic.evaluation.report_page import Excluded, FlowStep
from nic.patients.cohort import Patient
from nic.stages.model_evaluation import Evaluation
from nic.stages.report_words import made_of

NAMED = 12
"""Patients or slides named where some were left out."""


def flow(done: Evaluation) -> list[FlowStep]:
    """A step each for the table, the split, the labels and the codes."""
    elsewhere = [patient for patient in done.cohort.patients if patient.split != done.split]
    apart = [Excluded(f"of split {elsewhere[0].split!r}", len(elsewhere))] if elsewhere else []
    names = done.labelled.excluded
    unlabelled = [Excluded("without a label:", len(names), names[:NAMED])] if names else []
    folder = CodesFolder(done.codes)
    reasons = {record.slide: record.reason for record in (*folder.quarantined(), *folder.unreached())}
    total, measured, slides = len(done.cohort.patients), len(done.answers), sum(len(a.score_maps) for a in done.answers)
    return [
        FlowStep(f"Patients in {done.cohort.file}", total),
        FlowStep(f"Of split {done.split!r}", total - len(elsewhere), apart),
        FlowStep("With a label", measured + len(done.unanswered), unlabelled),
        FlowStep(
            f"Measured, from {slides} slides{made_of(done.labelled.targets)}",
            measured,
            _without_codes(done.unanswered, reasons),
            _missing_slides(done, reasons),
        ),
    ]


def _without_codes(patients: Sequence[Patient], reasons: Mapping[str, str]) -> list[Excluded]:
    """Patients of whom no slide has codes, by reason."""
    by_reason: dict[str, list[str]] = {}
    for patient in patients:
        why = " and ".join(sorted({reasons.get(slide.slide_id, "no codes") for slide in patient.slides}))
        by_reason.setdefault(why, []).append(patient.patient_id)
    return [Excluded(f"whose slides cannot be used ({w}):", len(ids), ids[:NAMED]) for w, ids in by_reason.items()]


def _missing_slides(done: Evaluation, reasons: Mapping[str, str]) -> str:
    """Slides of measured patients that their answers were given without, in a sentence; empty where there are none."""
    slides = [slide.slide_id for patient in done.labelled.patients for slide in patient.slides]
    missing = [slide for slide in slides if not CodesFolder(done.codes).file(slide).is_file()]
    if not missing:
        return ""
    named = ", ".join(f"{slide} ({reasons.get(slide, 'no codes')})" for slide in missing[:NAMED])
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"Answered without some of their slides: {named}{more}."
