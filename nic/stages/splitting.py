"""The folds of a training, the audit for leaks before a model is trained or measured, and the records of both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from nic.errors import EndpointError
from nic.patients.audit import EXTERNAL, TRAINING, AuditedSlide, check_leaks, slides_to_audit
from nic.patients.cohort import Cohort, Labelled, Patient
from nic.patients.model_spec import PatientModelSpec
from nic.patients.plausibility import warnings_of
from nic.patients.splits import Folds, check_folds, fixed_folds, site_folds, stratified_folds
from nic.tracking.registry import RegisteredVersion
from nic.tracking.runs import StageRun
from nic.tracking.training_data import (
    PATIENTS_FILE,
    SLIDES_FILE,
    TileOrigins,
    origins_of_encoder,
    slides_table,
    training_of,
)

UNKNOWN_TILES = "which tiles the encoder was trained on, so no slide was compared with them"


def folds_of(labelled: Labelled, split_by: str, folds: int, repeats: int, seed: int, endpoint: str) -> list[Folds]:
    """Partitions of the patients into folds. endpoint: for messages.

    split_by: label or site makes `repeats` partitions; else it is a column of the cohort's table that holds one. Raises
    EndpointError when that one is to be repeated, or a label has fewer patients than there are folds.
    """
    seeds = range(seed, seed + repeats)
    if split_by == "label":
        check_folds(labelled.targets, folds, f"endpoint {endpoint}")
        return [stratified_folds(labelled.targets, folds, each) for each in seeds]
    if split_by == "site":
        sites = [patient.site for patient in labelled.patients]
        return [site_folds(labelled.targets, sites, folds, each) for each in seeds]
    if repeats != 1:
        raise EndpointError(f"repeats={repeats}: column {split_by!r} holds one partition; set repeats=1")
    return [fixed_folds(labelled, split_by)]


@dataclass(frozen=True)
class Audit:
    """The outcome of an audit without a leak.

    slides: of the training patients. warnings: in words. tiles_known: whether it is known which tiles the encoder was
    trained on.
    """

    slides: tuple[AuditedSlide, ...]
    warnings: list[str]
    tiles_known: bool


def audit(
    cohort: Cohort,
    labelled: Labelled,
    folds: Sequence[Folds],
    codes: Path,
    tile_origins: TileOrigins | None,
    weights: int,
) -> Audit:
    """Audit a training. tile_origins: of the tiles the encoder was trained on; None where they are not known.

    weights: of one network, counted. Raises LeakFound when a patient is in two parts of a split, or the encoder was
    trained on a patient's tiles.
    """
    external = [patient for patient in cohort.patients if patient.split == "external"]
    everybody = [*labelled.patients, *external]
    slides = slides_to_audit(everybody, [TRAINING] * len(labelled.patients) + [EXTERNAL] * len(external), codes)
    for fold in folds:
        parts = {p.patient_id: f"fold {number}" for p, number in zip(labelled.patients, fold, strict=True)}
        check_leaks([replace(s, part=parts.get(s.patient_id, EXTERNAL)) for s in slides], tile_origins or {})
    warnings = warnings_of(labelled.targets, [patient.site for patient in labelled.patients], weights)
    of_training = tuple(slide for slide in slides if slide.part == TRAINING)
    return Audit(of_training, warnings, tiles_known=tile_origins is not None)


def audit_evaluation(
    version: RegisteredVersion, spec: PatientModelSpec, patients: Sequence[Patient], part: str, codes: Path
) -> list[str]:
    """Compare the patients to be measured with those the model and its encoder were trained on; the outcome in words.

    patients: all of the part with a label, with codes or without. Raises LeakFound when the model was trained on one of
    them, by name, slide file or picture, or the encoder on one of their slides.
    """
    if part != EXTERNAL:
        return [f"The model was trained on the patients of part {part}; they were not audited for leaks"]
    training, origins = training_of(version), origins_of_encoder(spec.encoder_version, spec.encoder_sha256)
    measured = slides_to_audit(patients, [EXTERNAL] * len(patients), codes)
    check_leaks([*(training.known if training else ()), *measured], origins or {})
    unknown = {
        "the patients of the training, because the run that trained the model is gone": training is None,
        "the slides of the training, so only names of patients were compared": training and training.slides is None,
        UNKNOWN_TILES: origins is None,
    }
    notes = [f"Not known: {what}" for what, is_unknown in unknown.items() if is_unknown]
    return notes or [f"No leak found between {len(patients)} patients and those of the training"]


def log_audit(notes: Sequence[str], stage: StageRun) -> None:
    """Write audit.txt of an evaluation or a comparison, and print it."""
    text = "".join(f"{note}.\n" for note in notes)
    stage.log_text(text, "audit.txt")
    print(text, end="")


def fold_columns(folds: Sequence[Folds]) -> dict[str, Folds]:
    """Partitions as columns of a table: fold, fold_2, fold_3, ..."""
    return {f"fold_{number}" if number > 1 else "fold": fold for number, fold in enumerate(folds, start=1)}


def log_split(labelled: Labelled, folds: Sequence[Folds], audited: Audit, stage: StageRun) -> None:
    """Write the folds of every training patient (split.csv), what their slides are recognised by (training_slides.csv)
    and the outcome of the audit (audit.txt), which is printed too."""
    names = [patient.patient_id for patient in labelled.patients]
    sites = [patient.site for patient in labelled.patients]
    stage.log_table(pd.DataFrame({"patient": names, "site": sites, **fold_columns(folds)}), PATIENTS_FILE)
    stage.log_table(slides_table(audited.slides), SLIDES_FILE)
    sizes = f"Patients of the folds: {', '.join(map(str, np.bincount(folds[0])))}."
    first = f"No leak found. {sizes}" if audited.tiles_known else f"Not known: {UNKNOWN_TILES}. {sizes}"
    text = "\n".join([first, *(f"Warning: {w}." for w in audited.warnings)])
    stage.log_text(text + "\n", "audit.txt")
    print(text)
