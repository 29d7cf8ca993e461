"""What `entrypoints.train_patients` does."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from entrypoints.train_patients import Config
from nic.patients.covariates import covariates_of
from nic.patients.predictor import PatientModel
from nic.study import read_study
from nic.tracking.digests import codes_digest, manifest
from nic.tracking.figures import record_figures
from nic.tracking.registry import (
    PATIENT_MODEL,
    encoder_digest,
    encoder_of_codes,
    register_patient_model,
    serving_digest,
)
from nic.tracking.runs import SERVING, StageRun, lineage, stage_run
from nic.tracking.trained_before import register_again, result_again, trained_before


def inputs(config: Config) -> dict[str, str]:
    study = read_study(config.study)
    entry = study.endpoint(config.endpoint)
    folds = () if config.split_by in ("label", "site") else (config.split_by,)
    read = entry.read_from(study.cohorts[entry.cohort].read(), folds)
    codes, encoder = codes_digest(config.codes), encoder_digest(config.encoder)
    return {**read, "codes": codes, "encoder": encoder, SERVING: serving_digest(PATIENT_MODEL)}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.train_patients`."""
    with stage_run("train_patients", config, inputs(config)) as stage, TemporaryDirectory(prefix="nic-") as folder:
        if trained := trained_before(stage):
            stage.result.update(result_again(trained, register_again(trained, stage)))
        else:
            stage.result.update(trained_anew(config, stage, Path(folder)))
    return stage.result


def trained_anew(config: Config, stage: StageRun, folder: Path) -> dict[str, Any]:
    """The registered version and its cross-validated figure. folder: of this run alone, for what is registered."""
    # Here: what was trained before is registered again without torch, which takes seconds to import.
    from nic.evaluation.metrics import METRICS, estimate_repeats
    from nic.patients.crops import gather_cells
    from nic.patients.export import export_ensemble
    from nic.patients.networks import count_weights
    from nic.patients.repeats import fit_repeats, together
    from nic.patients.training import untrained
    from nic.stages.companions import write_companions
    from nic.stages.predictions import cross_validated_table, figure_of
    from nic.stages.splitting import audit, fold_columns, folds_of, log_split
    from nic.tracking.training_data import origins_behind_encoder

    study = read_study(config.study)
    entry = study.endpoint(config.endpoint)
    cohort = study.cohorts[entry.cohort].read()
    read = entry.cohort_digest(cohort)
    labelled = cohort.labelled(entry.endpoint, "train")
    covariates_of(labelled.patients, entry.covariates)  # what evaluate cannot read is said before hours of training
    gathered = gather_cells(labelled.patients, config.codes)
    labelled = labelled.take(gathered.found)
    encoder_version, encoder_graph = encoder_of_codes(config.encoder, gathered.encoder)
    if gathered.mixture:
        print(f"the codes were not all made alike, which is accepted (docs/compatibility.md): {gathered.mixture}")
    folds = folds_of(labelled, config.split_by, config.folds, config.repeats, config.seed)
    tiles = origins_behind_encoder(encoder_version, gathered.encoder.sha256)
    weights = count_weights(untrained(config.network, gathered.cells))
    log_split(labelled, folds, audit(cohort, labelled, folds, config.codes, tiles, weights), stage)
    ensembles = fit_repeats(
        gathered.cells,
        labelled.targets,
        folds,
        network=config.network,
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        ties=config.ties,
        seed=config.seed,
        log=stage.log,
    )
    ensemble = together(ensembles)
    graph = folder / "patient.onnx"
    difference = export_ensemble(
        ensemble,
        entry.endpoint,
        labelled.targets,
        cohort_digest=read,
        encoder=gathered.encoder,
        encoder_version=encoder_version,
        path=graph,
        tiling=gathered.tiling,
        runtimes=gathered.runtimes,
        pixel_versions=gathered.pixel_versions,
    )
    scores = ensemble.out_of_fold
    each = [(fitted.out_of_fold, fitted.fold) for fitted in ensembles]
    found = estimate_repeats(METRICS[entry.kind], labelled.targets.arrays, each, seed=config.seed)
    files = [config.codes / f"{slide.slide_id}.h5" for patient in labelled.patients for slide in patient.slides]
    tags = lineage(
        "train_patients",
        cohort=read,
        encoder_version=encoder_version,
        encoder_sha256=gathered.encoder.sha256,
        runtimes=",".join(sorted(gathered.runtimes)),
        pixel_versions=",".join(map(str, sorted(gathered.pixel_versions))),
    )
    companions = write_companions(graph, encoder_graph, gathered)
    name = config.register_as or entry.model_name
    version = register_patient_model(name, encoder_graph, graph, tags, companions)
    record_figures(version, {f"cross_validated.{found.name}": found}, data=read)
    stage.log("parity", difference)
    stage.log_table(pd.DataFrame(manifest(files)), "codes.csv")
    stage.log(f"cross_validated.{found.name}", found.value)
    table = cross_validated_table(labelled, ensemble.comparable, PatientModel(graph).spec)
    stage.log_table(table.assign(**fold_columns(folds)), "cross_validated.csv")
    stage.log_figure(figure_of(labelled.targets, scores, found, f"{entry.name}, cross-validated"), "result.png")
    print(f"{version.uri}: cross-validated {found.name} {found}; slides without codes: {len(gathered.missing)}")
    return {"version": version.uri, "metric": found.name, "cross_validated": str(found)}
