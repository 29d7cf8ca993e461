"""The paper's experiments on a study: encoders, numbers of tasks and networks side by side, with a verdict each."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entrypoints import compress, import_encoder, make_phantom, train_encoder
from entrypoints.cli import launch, names_in

if TYPE_CHECKING:
    from nic.ablation.arms import Arm, EncoderOfArm
    from nic.compression.slide_of_cohort import CompressionOptions
    from nic.stages.steps import Steps
    from nic.study import Study


BEST_SINGLE = "the best one of a single task"


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
    taught mitosis, streaming-cnn from the pixels; empty: none. What the study does not allow is left out."""
    compared_on: str = ""
    """Endpoint that the comparators answer; empty: the first of the study."""
    seeds: int = 3
    """Seeds of each network."""
    encoder_seeds: int = 3
    """Seeds of the encoders named by seeded, and of the best one of a single task."""
    seeded: str = "all-tuned,contrastive"
    """Encoders, with commas between, that are trained with further seeds."""
    encoder_epochs: int = 12
    """Most epochs of an encoder's training."""
    trials: int = 5
    """Number of short trainings in the search for task weights."""
    epochs: int = 0
    """Epochs of each network; 0: as many as 160 steps of the optimizer take, 240 of classes, at least 40."""
    learning_rate: float = 1e-2
    """Highest learning rate of the networks' one-cycle schedule."""


def run(config: Config) -> dict[str, Any]:
    """Train and compare everything, and write the page. A run that was killed goes on where it was.

    Encoders are registered, not promoted. Slides are read once for all encoders. Each network is trained on all
    training patients and measured on the external ones; without these, networks of folds are measured.
    """
    from nic.stages.steps import Steps
    from nic.tracking.runs import stage_run

    config, steps = replace(config, study=config.study.resolve(), work=config.work.resolve()), Steps()
    with stage_run("ablation", config, {}) as stage:
        from nic.ablation.ablation_cells import CellTraining
        from nic.ablation.scope import Scope
        from nic.stages.ablation import AblationPlan, begin
        from nic.stages.ablation_comparators import comparators_at_hand, compare_methods

        study = study_drawn(config.study, steps)
        networks, seeded = (names_in(names) for names in (config.rivals, config.seeded))
        scope = Scope.named(config.network, networks, config.seeds, config.encoder_seeds, seeded)
        training = partial(CellTraining, config.epochs, config.learning_rate)
        published = Path(config.published).resolve() if config.published else None
        plan = AblationPlan(scope, names_in(config.encoders), published, training)
        ablation = begin(config.study, study, plan, options_of(study), config.work)
        endpoint = config.compared_on or study.endpoints[0].name
        comparators = comparators_at_hand(ablation, names_in(config.comparators), endpoint)
        ablation.show_hours(config.encoder_epochs, dict.fromkeys(comparators, study.endpoint(endpoint).cohort))
        ablation.measure({(arm.name, 0): encoder_of(arm, 0, config, steps) for arm in ablation.arms})
        again = [(arm, seed) for arm in ablation.arms_again() for seed in range(1, config.encoder_seeds)]
        ablation.measure({(arm.name, seed): encoder_of(arm, seed, config, steps) for arm, seed in again})
        compare_methods(ablation, comparators, endpoint)
        stage.result.update(ablation.report(config.page, notes_of(config), stage))
    return stage.result


def study_drawn(file: Path, steps: "Steps") -> "Study":
    """The study, its phantom drawn if it is one."""
    from nic.study import read_study, read_whole_study

    study = read_study(file)
    if study.phantom:
        phantom = make_phantom.Config(study.root, **study.phantom.model_dump())
        steps.take("make phantom", make_phantom, phantom)
    return read_whole_study(file)


def options_of(study: "Study") -> "dict[str, CompressionOptions]":
    """How each cohort is compressed."""
    cohorts = study.cohorts.items()
    return {
        name: compress.options(compress.Config(str(entry.table), **entry.compress.parameters))
        for name, entry in cohorts
    }


def encoder_of(arm: "Arm", seed: int, config: Config, steps: "Steps") -> "EncoderOfArm":
    """Train or import the encoder of an arm, unless a finished run has."""
    from nic.ablation.arms import EncoderOfArm
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
        f"Seeds of encoders: {config.encoder_seeds} of {', '.join([*names_in(config.seeded), BEST_SINGLE])}, 1 of the "
        "others. The interval of one seed leaves out how much an encoder varies from one training to the next.",
        f"Networks: {config.seeds} seeds, one network on all training patients, "
        f"{f'{config.epochs} epochs' if config.epochs else 'as many epochs as main takes'}.",
        f"Minutes: training of the encoder + its share of the compression + its networks, on {cores()} cores. Other "
        "work on the machine makes them longer; of a part that was killed and went on, only the last run is counted.",
    ]


if __name__ == "__main__":
    launch(run, Config)
