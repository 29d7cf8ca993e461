"""The whole study: train the encoder, compress the slides, train, evaluate and promote a model for each endpoint."""

from dataclasses import dataclass
from pathlib import Path

from entrypoints import compress, evaluate, make_phantom, promote, train_encoder, train_patients
from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/phantom.yaml")
    """Study file with the tile tasks, cohorts and endpoints. Copy the phantom's and edit it for your own data."""
    work: Path = Path("work")
    """Folder for compressed slides, decoded tiles and unfinished trainings."""
    seed: int = 0
    """Seed of the patient models: their folds and their training. The encoder and the codes do not depend on it."""
    encoder_seed: int = 0
    """Seed of the encoder's training."""
    trials: int = 5
    """Number of short trainings in the search for task weights."""
    encoder_epochs: int = 14
    """Most epochs of the encoder's training."""
    patient_epochs: int = 60
    """Epochs of each network of a patient model."""


def run(config: Config) -> None:
    """Run the whole study. A stage that finished before with the same parameters, inputs and code is reused."""
    from nic.stages.steps import Steps, part_to_measure
    from nic.stages.study_page import log_study
    from nic.study import read_whole_study
    from nic.tracking.runs import stage_run

    study, steps = read_whole_study(config.study), Steps()
    with stage_run("main", config, {}) as stage:
        if study.phantom:
            steps.take("make phantom", make_phantom, make_phantom.Config(out=study.root))

        tiles = train_encoder.Config(
            config.study, config.work, seed=config.encoder_seed, trials=config.trials, epochs=config.encoder_epochs
        )
        encoder = steps.take("train encoder", train_encoder, tiles)
        steps.promote("promote encoder", promote, promote.Config(encoder["version"]), encoder["version"])

        codes = {name: config.work / "codes" / f"{name}-{encoder['sha256'][:8]}" for name in study.cohorts}
        for name, cohort in study.cohorts.items():
            table, changes = str(cohort.table), {"columns": str(cohort.columns), **cohort.compress.parameters}
            slides = compress.Config(table, encoder["version"], codes[name], **changes)
            steps.take(f"compress {name}", compress, slides)

        for entry in study.endpoints:
            endpoint = config.study, entry.name, codes[entry.cohort]
            training = train_patients.Config(
                *endpoint, encoder["version"], epochs=config.patient_epochs, seed=config.seed
            )
            model = steps.take(f"train {entry.name}", train_patients, training)
            part = part_to_measure(study.cohorts[entry.cohort].read())
            steps.take(f"evaluate {entry.name}", evaluate, evaluate.Config(*endpoint, model["version"], part))
            steps.promote(f"promote {entry.name}", promote, promote.Config(model["version"]), model["version"])

        endpoints = [entry.name for entry in study.endpoints]
        stage.result.update(steps.summary(endpoints))
        log_study(steps, endpoints, stage)
        steps.show(endpoints, stage.run_id)


if __name__ == "__main__":
    launch(run, Config)
