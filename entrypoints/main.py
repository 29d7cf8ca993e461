"""The whole study: train the encoder, compress the slides, train, evaluate and promote a model for each endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entrypoints import compress, evaluate, make_phantom, promote, train_encoder, train_patients
from entrypoints.cli import launch

if TYPE_CHECKING:
    from nic.stages.steps import Steps
    from nic.study import Study


SAMPLE = 12
"""Slides that are opened before anything long begins."""


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/phantom.yaml")
    """Study file: the encoder or its tile tasks, the cohorts and the endpoints. docs/study.md explains each key."""
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
    patient_epochs: int = 0
    """Epochs of each network of a patient model; 0: as the study file says, `epochs:`, and where it
    is silent as many as `train_patients` takes."""


def run(config: Config) -> None:
    """Run the whole study. A stage that finished before with the same parameters, inputs and code is reused.

    Where a stage of an endpoint fails, the other endpoints go on, and the exit code is 1.
    """
    from nic.stages.steps import Steps
    from nic.stages.study_page import log_study
    from nic.study import read_whole_study, readable_part
    from nic.tracking.runs import stage_run

    config, steps = replace(config, study=config.study.resolve(), work=config.work.resolve()), Steps()
    with stage_run("main", config, {}) as stage:
        part, faults = readable_part(config.study)
        if part.phantom and not faults:
            steps.take("make phantom", make_phantom, make_phantom.Config(part.root, **part.phantom.model_dump()))
        from nic.stages.check_study import check_study

        check_study(config.study, config.work, promote.Config.gates, SAMPLE, stage)
        study = read_whole_study(config.study)
        encoder = encoder_of(study, config, steps)
        codes = {name: config.work / "codes" / f"{name}-{encoder['sha256'][:8]}" for name in study.cohorts}
        for name, cohort in study.cohorts.items():
            table, changes = str(cohort.table), {"columns": str(cohort.columns), **cohort.compress.parameters}
            slides = compress.Config(table, encoder["version"], codes[name], **changes)
            steps.take(f"compress {name}", compress, slides)
        endpoints = [entry.name for entry in study.endpoints]
        for name in endpoints:
            with steps.endpoint(name):
                take_endpoint(study, name, codes, encoder["version"], config, steps)
        stage.result.update(steps.summary(endpoints))
        log_study(steps, endpoints, stage)
        steps.show(endpoints, stage.run_id)
        steps.check()


def encoder_of(study: "Study", config: Config, steps: "Steps") -> dict[str, Any]:
    """Version and sha256 of the encoder: the one that the study names, else one that is trained and promoted."""
    from nic.stages.steps import registered_encoder

    if study.encoder:
        return registered_encoder(study.encoder)
    tiles = train_encoder.Config(
        config.study, config.work, seed=config.encoder_seed, trials=config.trials, epochs=config.encoder_epochs
    )
    encoder = steps.take("train encoder", train_encoder, tiles)
    steps.promote("promote encoder", promote, promote.Config(encoder["version"]), encoder["version"])
    return encoder


def take_endpoint(
    study: "Study", name: str, codes: Mapping[str, Path], encoder: str, config: Config, steps: "Steps"
) -> None:
    """Train, evaluate and promote the model of an endpoint. codes: folder of each cohort. encoder: its version."""
    from nic.stages.steps import part_to_measure

    cohort = study.endpoint(name).cohort
    endpoint, epochs = (config.study, name, codes[cohort]), config.patient_epochs or study.epochs
    training = train_patients.Config(*endpoint, encoder, study.network, study.folds, epochs=epochs, seed=config.seed)
    version = steps.take(f"train {name}", train_patients, training)["version"]
    part = part_to_measure(study.cohorts[cohort].read())
    steps.take(f"evaluate {name}", evaluate, evaluate.Config(*endpoint, version, part))
    steps.promote(f"promote {name}", promote, promote.Config(version, study=str(config.study)), version)


if __name__ == "__main__":
    launch(run, Config)
