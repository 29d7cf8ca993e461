"""Two registered models of one endpoint on the same patients: the difference of each figure, drawn in pairs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from entrypoints.cli import launch
from entrypoints.measures import comparison_table, measures_of
from entrypoints.splitting import audit_measured, log_audit
from nic.errors import EmptyCohort
from nic.evaluation.measures import Measure
from nic.patients.predictor import PatientModel, predict_cohort
from nic.study import read_study
from nic.tracking.answers import check_endpoint
from nic.tracking.digests import folder_digest
from nic.tracking.registry import find_version, graph_file
from nic.tracking.runs import stage_run


@dataclass(frozen=True)
class Config:
    study: Path
    """Study file that names the endpoint and its cohort."""
    endpoint: str
    """Which endpoint of the study."""
    codes: Path
    """Folder of compressed slides, made by the encoder of `model`."""
    model: str
    """Registered model: models:/nic-<endpoint>/<version> or models:/nic-<endpoint>@champion."""
    other: str
    """The model it is compared with; differences are `model` less `other`."""
    other_codes: str = ""
    """Folder of compressed slides for `other`, where another encoder made its codes; empty for the same folder."""
    split: Literal["train", "external"] = "external"
    """Which part of the cohort."""
    seed: int = 0
    """Seed of the patient bootstrap."""


def inputs(config: Config) -> dict[str, str]:
    study = read_study(config.study)
    entry = study.endpoint(config.endpoint)
    cohort = study.cohorts[entry.cohort].read().digest_of([*entry.endpoint.columns])
    codes, other_codes = (folder_digest(folder, "*.h5") for folder in code_folders(config))
    models = {"model": find_version(config.model).uri, "other": find_version(config.other).uri}
    definition = entry.endpoint.definition
    return {"cohort": cohort, "codes": codes, "other_codes": other_codes, "endpoint": definition, **models}


def code_folders(config: Config) -> tuple[Path, Path]:
    return config.codes, Path(config.other_codes or config.codes)


def run(config: Config) -> dict[str, Any]:
    """Measure two registered models on the patients that both answer, and their differences with intervals."""
    entry = read_study(config.study).endpoint(config.endpoint)
    with stage_run("compare", config, inputs(config)) as stage:
        first, second, audit = measured_alike(config)
        table = comparison_table(first, second, seed=config.seed)
        log_audit(audit, stage)
        stage.log_table(table, "comparison.csv")
        for row in table.itertuples():
            stage.log(f"{config.split}.{row.figure}.difference", row.difference)
        print(f"{entry.name}, {config.split}: {config.model} less {config.other}, n = {table['n'][0]}")
        print(table.to_string(index=False, float_format="{:.3f}".format))
        stage.result.update(comparison=table.to_dict("records"))
    return stage.result


def measured_alike(config: Config) -> tuple[list[Measure], list[Measure], list[str]]:
    """The measures of either model on the patients that both answer, and what the audit for leaks saw, in words.

    Raises EmptyCohort when there are none, EndpointError when a model answers another endpoint, LeakFound when a
    patient taught one of them.
    """
    study = read_study(config.study)
    endpoint = study.endpoint(config.endpoint).endpoint
    cohort = study.cohorts[study.endpoint(config.endpoint).cohort].read()
    train, labelled = (cohort.labelled(endpoint, split) for split in ("train", config.split))
    models = [PatientModel(graph_file(uri, "patient")) for uri in (config.model, config.other)]
    folders, audit = code_folders(config), []
    for uri, model, folder in zip((config.model, config.other), models, folders, strict=True):
        version = find_version(uri)
        check_endpoint(model.spec, endpoint, labelled.targets, version.full_name)
        notes = audit_measured(version, model.spec, labelled.patients, config.split, folder)
        audit += [f"{version.full_name}: {note}" for note in notes]
    given = (predict_cohort(m, labelled.patients, f) for m, f in zip(models, folders, strict=True))
    pairs = list(zip(*given, strict=True))  # (answer of the model, of the other), a patient each
    both = np.array([all(pair) for pair in pairs])
    if not both.any():
        raise EmptyCohort(f"{cohort.file}: no patient of split {config.split!r} has codes for both models")
    targets = labelled.targets.take(both)
    answers = zip(*(pair for pair in pairs if all(pair)), strict=True)
    first, second = (
        measures_of(targets, of_one, model.spec, train.targets) for model, of_one in zip(models, answers, strict=True)
    )
    return first, second, audit


if __name__ == "__main__":
    launch(run, Config)
