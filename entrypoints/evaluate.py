"""A registered model on patients it has not seen: figures with intervals, tagged on the version for the gates."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from entrypoints.cli import launch
from entrypoints.measures import calibrated_columns, measured
from entrypoints.predictions import table_of
from entrypoints.reporting import Evaluation, report_of
from nic.evaluation.metrics import METRICS, estimate
from nic.evaluation.report import render
from nic.patients.cohort import read_cohort
from nic.patients.predictor import PatientModel, predict_cohort
from nic.study import read_study
from nic.tracking.digests import folder_digest
from nic.tracking.figures import patients_digest, record_figures
from nic.tracking.registry import find_version, graph_file
from nic.tracking.runs import stage_run


@dataclass(frozen=True)
class Config:
    study: Path
    """Study file that names the endpoint and its cohort."""
    endpoint: str
    """Which endpoint of the study."""
    codes: Path
    """Folder of compressed slides, made by the model's own encoder."""
    model: str
    """Registered model: models:/nic-<endpoint>/<version> or models:/nic-<endpoint>@champion."""
    split: Literal["train", "external"] = "external"
    """Which part of the cohort."""
    seed: int = 0
    """Seed of the patient bootstrap."""
    subgroups: str = "site"
    """Columns of the cohort's table, separated by commas, by whose groups the report tells the figure that decides."""


def inputs(config: Config) -> dict[str, str]:
    study = read_study(config.study)
    entry = study.endpoint(config.endpoint)
    cohort = read_cohort(study.cohorts[entry.cohort])
    codes = folder_digest(config.codes, "*.h5")
    model, covariates = find_version(config.model).uri, ",".join(entry.covariates)
    return {"cohort": cohort.digest, "codes": codes, "model": model, "covariates": covariates}


def run(config: Config) -> dict[str, Any]:
    """Measure a registered model on one part of a cohort, beside the oracle where the truth is known."""
    study = read_study(config.study)
    entry = study.endpoint(config.endpoint)
    cohort = read_cohort(study.cohorts[entry.cohort])
    with stage_run("evaluate", config, inputs(config)) as stage:
        version = find_version(config.model)
        model = PatientModel(graph_file(config.model, "patient"))
        labelled = cohort.labelled(entry.endpoint, config.split)
        answers = predict_cohort(model, labelled.patients, config.codes)
        answered = np.array([answer is not None for answer in answers])
        everybody, labelled = labelled.patients, labelled.take(answered)
        given = [answer for answer in answers if answer is not None]
        scores = np.array([answer.prediction for answer in given])
        train = cohort.labelled(entry.endpoint, "train").targets
        estimates = measured(labelled, given, model.spec, train, entry.covariates, config.seed)
        found = estimates[0]
        table = table_of(labelled, scores).assign(**calibrated_columns(given))
        figures = {f"{config.split}.{e.name}": e for e in estimates if isfinite(e.value)}
        record_figures(version, figures, data=patients_digest(cohort.digest, list(table["patient"])))
        for name, figure in figures.items():
            stage.log(name, figure.value)
        stage.log_table(table, f"{config.split}.csv")
        stage.log_table(pd.DataFrame(estimates), "figures.csv")
        done = Evaluation(
            name=entry.name,
            split=config.split,
            cohort=cohort,
            version=version,
            spec=model.spec,
            labelled=labelled,
            answers=given,
            unanswered=[patient for patient, found in zip(everybody, answered, strict=True) if not found],
            train=train,
            estimates=estimates,
            codes=config.codes,
            synthetic=study.phantom,
        )
        columns = [column.strip() for column in config.subgroups.split(",") if column.strip()]
        report = report_of(done, columns, stage.run_id, config.seed)
        for picture in report.pictures:
            stage.log_png(picture.png, picture.file)
        stage.log_text(render(report), "report.html")
        oracle = ""
        if study.truth:
            known = pd.read_csv(study.truth).set_index("patient")[f"oracle_{entry.name.replace('-', '_')}"]
            metric, truth = METRICS[entry.kind], labelled.targets.arrays
            oracle = str(estimate(metric, truth, known.loc[table["patient"]].to_numpy(float), seed=config.seed))
        print(f"{version.uri}: {config.split} {found.name} {found}, n = {found.n}; without codes: {(~answered).sum()}")
        stage.result.update(metric=found.name, external=str(found), oracle=oracle, n=found.n)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
