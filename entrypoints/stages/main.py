"""What `entrypoints.main` does."""

from entrypoints.main import Config
from entrypoints.stages import compress, evaluate, make_phantom, train_encoder, train_patients
from nic.patients.choices import Part
from nic.patients.cohort import Cohort
from nic.stages.steps import Steps
from nic.study import read_whole_study
from nic.tracking.runs import stage_run


def run(config: Config) -> None:
    """See `entrypoints.main`."""
    study = read_whole_study(config.study)
    with stage_run("main", config, {}) as stage:
        steps = Steps()
        if study.phantom:
            steps.take("make phantom", make_phantom, make_phantom.Config(out=study.root))
        encoder_config = train_encoder.Config(
            config.study, config.work, seed=config.encoder_seed, trials=config.trials, epochs=config.encoder_epochs
        )
        encoder = steps.take("train encoder", train_encoder, encoder_config)
        steps.promote("promote encoder", encoder["version"])
        codes = {name: config.work / "codes" / f"{name}-{encoder['sha256'][:8]}" for name in study.cohorts}
        for name, cohort in study.cohorts.items():
            compress_config = compress.Config(
                str(cohort.table),
                encoder["version"],
                codes[name],
                columns=str(cohort.columns),
                **cohort.compress.parameters,
            )
            steps.take(f"compress {name}", compress, compress_config)
        for entry in study.endpoints:
            chosen = config.study, entry.name, codes[entry.cohort]
            train_config = train_patients.Config(
                *chosen, encoder["version"], epochs=config.patient_epochs, seed=config.seed
            )
            model = steps.take(f"train {entry.name}", train_patients, train_config)
            part = part_to_measure(study.cohorts[entry.cohort].read())
            steps.take(f"evaluate {entry.name}", evaluate, evaluate.Config(*chosen, model["version"], part))
            steps.promote(f"promote {entry.name}", model["version"])
        endpoints = [entry.name for entry in study.endpoints]
        stage.result.update(steps.summary(endpoints))
        steps.show(endpoints)


def part_to_measure(cohort: Cohort) -> Part:
    """The external patients; of a cohort without them the training patients, cross-validated."""
    return "external" if any(patient.split == "external" for patient in cohort.patients) else "cross_validated"
