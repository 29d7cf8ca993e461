"""What `entrypoints.compare` does."""

from pathlib import Path
from typing import Any

import numpy as np

from entrypoints.compare import Config
from nic.errors import EmptyCohort
from nic.evaluation.figure import Figure
from nic.patients.predictor import PatientModel, predict_cohort
from nic.study import read_study
from nic.tracking.answers import check_endpoint
from nic.tracking.digests import codes_digest
from nic.tracking.registry import find_version, graph_file
from nic.tracking.runs import stage_run


def inputs(config: Config) -> dict[str, str]:
    study = read_study(config.study)
    entry = study.endpoint(config.endpoint)
    read = entry.read_from(study.cohorts[entry.cohort].read())
    codes, other_codes = (codes_digest(folder) for folder in code_folders(config))
    models = {"model": find_version(config.model).uri, "other": find_version(config.other).uri}
    return {**read, "codes": codes, "other_codes": other_codes, **models}


def code_folders(config: Config) -> tuple[Path, Path]:
    return config.codes, Path(config.other_codes or config.codes)


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.compare`."""
    entry = read_study(config.study).endpoint(config.endpoint)
    with stage_run("compare", config, inputs(config)) as stage:
        # Here: the run is open, or refused, before the seconds that these take to import.
        from nic.stages.model_figures import comparison_table
        from nic.stages.splitting import log_audit

        first, second, audit = figures_of_both(config)
        table = comparison_table(first, second, seed=config.seed)
        log_audit(audit, stage)
        stage.log_table(table, "comparison.csv")
        for row in table.itertuples():
            stage.log(f"{config.split}.{row.figure}.difference", row.difference)
        print(f"{entry.name}, {config.split}: {config.model} less {config.other}, n = {table['n'][0]}")
        print(table.to_string(index=False, float_format="{:.3f}".format))
        stage.result.update(comparison=table.to_dict("records"))
    return stage.result


def figures_of_both(config: Config) -> tuple[list[Figure], list[Figure], list[str]]:
    """The figures of each model on the patients that both answer, and the notes of the leak audit.

    Raises EmptyCohort when there are none, EndpointError when a model answers another endpoint, LeakFound when a
    patient taught one of them.
    """
    # Here: as in `run`.
    from nic.stages.model_figures import model_figures
    from nic.stages.splitting import audit_measured

    study = read_study(config.study)
    endpoint = study.endpoint(config.endpoint).endpoint
    cohort = study.cohorts[study.endpoint(config.endpoint).cohort].read()
    labelled = cohort.labelled(endpoint, config.split)
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
    first, second = (model_figures(targets, of_one, model.spec) for model, of_one in zip(models, answers, strict=True))
    return first, second, audit
