"""Before a patient model is trained: its folds, the audit of them, and both as artifacts."""

from pathlib import Path

import numpy as np
import pandas as pd

from nic.patients.audit import EXTERNAL, check_leaks, slides_to_audit
from nic.patients.cohort import Cohort, Labelled
from nic.patients.plausibility import warnings_of
from nic.patients.splits import Folds, fixed_folds, site_folds, stratified_folds
from nic.study import Study
from nic.tasks.reading import read_task
from nic.tracking.runs import StageRun


def folds_of(labelled: Labelled, split_by: str, folds: int, seed: int) -> Folds:
    """Folds by label, by site, or as the column `split_by` of the table says."""
    if split_by == "label":
        return stratified_folds(labelled.targets, folds, seed)
    if split_by == "site":
        return site_folds(labelled.targets, [patient.site for patient in labelled.patients], folds, seed)
    return fixed_folds(labelled, split_by)


def audit(
    cohort: Cohort, labelled: Labelled, fold: Folds, codes: Path, tile_origins: dict[str, frozenset[str]], weights: int
) -> list[str]:
    """Warnings in words. Raises LeakFound when anybody stands on both sides of a split, or taught the encoder."""
    external = [patient for patient in cohort.patients if patient.split == "external"]
    parts = [*(f"fold {number}" for number in fold), *(EXTERNAL for _ in external)]
    check_leaks(slides_to_audit([*labelled.patients, *external], parts, codes), tile_origins)
    return warnings_of(labelled.targets, [patient.site for patient in labelled.patients], weights)


def origins_of_tiles(study: Study) -> dict[str, frozenset[str]]:
    """Of each tile task, the slides or patients its tiles are from. Raises TaskError when a task cannot be read."""
    return {entry.name: read_task(entry).source.origins for entry in study.tile_tasks}


def log_split(labelled: Labelled, fold: Folds, warnings: list[str], stage: StageRun) -> None:
    """split.csv: the fold of every training patient; audit.txt: what the audit warned of, also on the console."""
    names = [patient.patient_id for patient in labelled.patients]
    sites = [patient.site for patient in labelled.patients]
    stage.log_table(pd.DataFrame({"patient": names, "site": sites, "fold": fold}), "split.csv")
    sizes = ", ".join(map(str, np.bincount(fold)))
    text = "\n".join([f"No leak found. Patients of the folds: {sizes}.", *(f"Warning: {w}." for w in warnings)])
    stage.log_text(text + "\n", "audit.txt")
    print(text)
