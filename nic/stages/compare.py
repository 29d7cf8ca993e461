"""Two registered models of one endpoint, measured on the patients that both answer."""

from pathlib import Path
from typing import Any

import numpy as np

from nic.errors import EmptyCohort
from nic.evaluation.figure import Figure
from nic.patients.cohort import Split
from nic.patients.predictor import PatientModel, predict_cohort
from nic.stages.model_figures import comparison_table, model_figures
from nic.stages.splitting import audit_evaluation, log_audit
from nic.study import read_study
from nic.tracking.answers import check_endpoint
from nic.tracking.registry import find_version, graph_file
from nic.tracking.runs import StageRun


def compare(
    study_file: Path,
    endpoint: str,
    model: str,
    codes: Path,
    other: str,
    other_codes: Path,
    split: Split,
    seed: int,
    stage: StageRun,
) -> dict[str, Any]:
    """Log and print the differences of all figures, `model` minus `other`; the stage's result."""
    first, second, audit = figures_of_both(study_file, endpoint, [(model, codes), (other, other_codes)], split)
    table = comparison_table(first, second, seed=seed)
    log_audit(audit, stage)
    stage.log_table(table, "comparison.csv")
    for figure, difference in zip(table["figure"], table["difference"].to_numpy(float), strict=True):
        stage.log(f"{split}.{figure}.difference", difference)
    print(f"{endpoint}, {split}: {model} less {other}, n = {table['n'][0]}")
    print(table.to_string(index=False, float_format="{:.3f}".format))
    return {"comparison": table.to_dict("records")}


def figures_of_both(
    study_file: Path, endpoint: str, models: list[tuple[str, Path]], split: Split
) -> tuple[list[Figure], list[Figure], list[str]]:
    """The figures of each model on the patients that both answer, and the notes of the leak audit.

    models: two, each with its folder of codes. Raises EmptyCohort when there are no such patients, EndpointError when a
    model answers another endpoint, LeakFound when one of them was trained on a patient.
    """
    study = read_study(study_file)
    entry = study.endpoint(endpoint)
    cohort = study.cohorts[entry.cohort].read()
    labelled = cohort.labelled(entry.endpoint, split)
    audit: list[str] = []
    loaded: list[PatientModel] = []
    for uri, codes in models:
        version, model = find_version(uri), PatientModel(graph_file(uri, "patient"))
        check_endpoint(model.spec, entry.endpoint, labelled.targets, version.full_name)
        notes = audit_evaluation(version, model.spec, labelled.patients, split, codes)
        audit += [f"{version.full_name}: {note}" for note in notes]
        loaded.append(model)
    answers_of_each = [
        predict_cohort(model, labelled.patients, codes) for model, (_, codes) in zip(loaded, models, strict=True)
    ]
    pairs = list(zip(*answers_of_each, strict=True))  # (answer of the model, of the other), a patient each
    both = np.array([all(pair) for pair in pairs])
    if not both.any():
        raise EmptyCohort(f"{cohort.file}: no patient of split {split!r} has codes for both models")
    targets = labelled.targets.take(both)
    answers = zip(*(pair for pair in pairs if all(pair)), strict=True)
    first, second = (model_figures(targets, of_one, model.spec) for model, of_one in zip(loaded, answers, strict=True))
    return first, second, audit
