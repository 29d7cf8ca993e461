"""Before a patient model is trained: its folds, the audit of them, and both as artifacts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nic.errors import EndpointError
from nic.patients.audit import EXTERNAL, check_leaks, slides_to_audit
from nic.patients.cohort import Cohort, Labelled
from nic.patients.plausibility import warnings_of
from nic.patients.splits import Folds, fixed_folds, site_folds, stratified_folds
from nic.study import Study
from nic.tasks.reading import read_task
from nic.tracking.runs import StageRun


def folds_of(labelled: Labelled, split_by: str, folds: int, repeats: int, seed: int) -> list[Folds]:
    """Partitions into folds, by label or by site, `repeats` of them; or the one of the table's column `split_by`.

    Raises EndpointError when a column's partition is to be repeated.
    """
    seeds = range(seed, seed + repeats)
    if split_by == "label":
        return [stratified_folds(labelled.targets, folds, each) for each in seeds]
    if split_by == "site":
        sites = [patient.site for patient in labelled.patients]
        return [site_folds(labelled.targets, sites, folds, each) for each in seeds]
    if repeats != 1:
        raise EndpointError(f"repeats={repeats}: column {split_by!r} names one partition; wanted repeats=1")
    return [fixed_folds(labelled, split_by)]


def audit(
    cohort: Cohort,
    labelled: Labelled,
    folds: Sequence[Folds],
    codes: Path,
    tile_origins: dict[str, frozenset[str]],
    weights: int,
) -> list[str]:
    """Warnings in words. Raises LeakFound when anybody stands on both sides of a split, or taught the encoder."""
    external = [patient for patient in cohort.patients if patient.split == "external"]
    for fold in folds:
        parts = [*(f"fold {number}" for number in fold), *(EXTERNAL for _ in external)]
        check_leaks(slides_to_audit([*labelled.patients, *external], parts, codes), tile_origins)
    return warnings_of(labelled.targets, [patient.site for patient in labelled.patients], weights)


def origins_of_tiles(study: Study) -> dict[str, frozenset[str]]:
    """Of each tile task, the slides or patients its tiles are from. Raises TaskError when a task cannot be read."""
    return {entry.name: read_task(entry).source.origins for entry in study.tile_tasks}


def fold_columns(folds: Sequence[Folds]) -> dict[str, Folds]:
    """Partitions as columns of a table: fold, fold_2, fold_3 and so on."""
    return {f"fold_{number}" if number > 1 else "fold": fold for number, fold in enumerate(folds, start=1)}


def log_split(labelled: Labelled, folds: Sequence[Folds], warnings: list[str], stage: StageRun) -> None:
    """split.csv: the folds of every training patient; audit.txt: what the audit warned of, also on the console."""
    names = [patient.patient_id for patient in labelled.patients]
    sites = [patient.site for patient in labelled.patients]
    stage.log_table(pd.DataFrame({"patient": names, "site": sites, **fold_columns(folds)}), "split.csv")
    sizes = ", ".join(map(str, np.bincount(folds[0])))
    text = "\n".join([f"No leak found. Patients of the folds: {sizes}.", *(f"Warning: {w}." for w in warnings)])
    stage.log_text(text + "\n", "audit.txt")
    print(text)
