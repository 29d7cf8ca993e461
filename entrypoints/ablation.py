"""The paper's experiments on a study: encoders, numbers of tasks and networks side by side, with a verdict each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entrypoints import compress, import_encoder, make_phantom, train_encoder
from entrypoints.cli import launch, names_in

if TYPE_CHECKING:
    from nic.ablation.arms import Arm
    from nic.compression.slide_of_cohort import CompressionOptions
    from nic.stages.ablation import Ablation, EncoderOfArm
    from nic.stages.steps import Steps


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/ablation.yaml")
    """Study file with tile tasks, cohorts and endpoints."""
    work: Path = Path("work/ablation")
    """Folder for compressed slides, decoded tiles, unfinished trainings, and the answers of every network."""
    page: Path = Path("work/ablation/page.md")
    """Where the page is written; its pictures lie beside it."""
    encoders: str = ""
    """Encoders to compare, with commas between; empty: all. They are mean-rgb, random, vae, contrastive, bigan; tile
    tasks joined by +, such as mitosis+tissue; all-uniform, all-tuned, all-no-colour; published-multitask-4 and
    published-bigan."""
    published: str = ""
    """Folder with the authors' multitask-4.h5 and bigan.h5; empty: the published encoders are left out."""
    network: str = "grid-cnn"
    """Network by which encoders are compared."""
    rivals: str = "attention-mil,context-mil,mean-mil,max-mil,pooled-linear,glimpses"
    """Networks, with commas between, that are also trained on the codes of all-tuned, contrastive and random."""
    comparators: str = "mitosis-counting,streaming-cnn"
    """Other methods, with commas between, that answer one endpoint: mitosis-counting by the head of an encoder that was
    taught mitosis, streaming-cnn from the pixels; empty: none."""
    compared_on: str = ""
    """Endpoint that the comparators answer; empty: the first of the study."""
    seeds: int = 3
    """Seeds of each network."""
    encoder_seeds: int = 3
    """Seeds of the encoders all-tuned and contrastive, and of the best one of a single task."""
    encoder_epochs: int = 14
    """Most epochs of an encoder's training."""
    trials: int = 5
    """Number of short trainings in the search for task weights."""
    epochs: int = 0
    """Epochs of each network; 0: 240 steps of the optimizer and at least 40 epochs, 150 of survival."""
    learning_rate: float = 1e-2
    """Highest learning rate of the networks' one-cycle schedule."""


def run(config: Config) -> dict[str, Any]:
    """Train and compare everything, and write the page. A run that was killed goes on where it was.

    Encoders are registered, not promoted. Slides are read once for all encoders. Each network is trained on all
    training patients and measured on the external ones; without these, networks of folds are measured.
    """
    from nic.stages.ablation_comparators import compare_methods
    from nic.stages.steps import Steps
    from nic.tracking.runs import stage_run

    config, steps = replace(config, study=config.study.resolve(), work=config.work.resolve()), Steps()
    with stage_run("ablation", config, {}) as stage:
        ablation = begun(config, steps)
        ablation.measure({(arm.name, 0): encoder_of(arm, 0, config, steps) for arm in ablation.arms})
        again = [(arm, seed) for arm in ablation.arms_again() for seed in range(1, config.encoder_seeds)]
        ablation.measure({(arm.name, seed): encoder_of(arm, seed, config, steps) for arm, seed in again})
        compare_methods(ablation, names_in(config.comparators), config.compared_on or ablation.study.endpoints[0].name)
        stage.result.update(ablation.report(config.page, notes_of(config), stage))
    return stage.result


def begun(config: Config, steps: "Steps") -> "Ablation":
    """The ablation with its plan printed, the phantom drawn and the study checked."""
    from nic.ablation.ablation_cells import CellTraining
    from nic.ablation.arms import arms_of, chosen
    from nic.ablation.scope import Scope
    from nic.stages.ablation import Ablation
    from nic.stages.ablation_hours import show, workload_of
    from nic.stages.compare_networks import networks_named
    from nic.study import read_study, read_whole_study

    phantom = read_study(config.study).phantom
    if phantom:
        root = read_study(config.study).root
        steps.take("make phantom", make_phantom, make_phantom.Config(root, **phantom.model_dump()))
    study = read_whole_study(config.study)
    tasks = [task.name for task in study.tile_tasks]
    published = Path(config.published).resolve() if config.published else None
    arms = chosen(arms_of(tasks, published), names_in(config.encoders))
    (network,) = networks_named([config.network])
    scope = Scope(network, networks_named(names_in(config.rivals)), config.seeds, config.encoder_seeds)
    cohorts = {name: entry.read() for name, entry in study.cohorts.items()}
    workload = workload_of(study, cohorts, arms, scope, config.encoder_epochs, config.epochs, config.work)
    show(workload)
    return Ablation(
        config.study,
        study,
        cohorts,
        arms,
        scope,
        lambda folds: CellTraining(config.epochs, config.learning_rate, folds),
        {name: options_of(str(entry.table), entry.compress.parameters) for name, entry in study.cohorts.items()},
        config.work,
        workload,
    )


def options_of(table: str, parameters: Mapping[str, Any]) -> "CompressionOptions":
    """parameters: of `compress`, where the study changes them."""
    return compress.options(compress.Config(table, **parameters))


def encoder_of(arm: "Arm", seed: int, config: Config, steps: "Steps") -> "EncoderOfArm":
    """Train or import the encoder of an arm, unless a finished run has."""
    from nic.stages.ablation import EncoderOfArm
    from nic.tracking.runs import seconds_of

    title = f"encoder {arm.name}" + (f", seed {seed}" if seed else "")
    if arm.source:
        result = steps.take(title, import_encoder, import_encoder.Config(arm.source, config.work, arm.name))
    else:
        common = train_encoder.Config(
            config.study, config.work, seed=seed, trials=config.trials, epochs=config.encoder_epochs
        )
        training = replace(common, **arm.parameters)
        result = steps.take(title, train_encoder, training)
    step = steps.finished[title]
    seconds = seconds_of(step.run_id) if arm.learns else 0.0
    return EncoderOfArm(result["version"], result["sha256"], seconds, step.reused)


def notes_of(config: Config) -> list[str]:
    """How it was made, in sentences."""
    from nic.threads import cores

    return [
        f"Encoders: at most {config.encoder_epochs} epochs, heavy augmentation, equal task weights but for all-tuned "
        f"({config.trials} trials).",
        f"Networks: {config.seeds} seeds, one network on all training patients, "
        f"{f'{config.epochs} epochs' if config.epochs else 'as many epochs as main takes'}.",
        f"Minutes: training of the encoder + its share of the compression + its networks, on {cores()} cores, other "
        "work beside it included.",
    ]


if __name__ == "__main__":
    launch(run, Config)
