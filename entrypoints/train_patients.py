"""Step 3: train an ensemble on compressed slides for one endpoint, and register it as a model of slides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch
from nic.patients.choices import DEFAULT_NETWORK, NetworkName, Recipe, Ties


@dataclass(frozen=True)
class Config:
    study: Path
    """Study file that names the endpoint and its cohort."""
    endpoint: str
    """Name of an endpoint of the study."""
    codes: Path
    """Folder of compressed slides, as `compress` wrote it."""
    encoder: str = "models:/nic-encoder@champion"
    """Registered encoder that made the codes; it is served with the model. imported: another tool made the codes, and
    the model takes files of codes, not slides."""
    network: NetworkName = DEFAULT_NETWORK
    """context-mil (attention over tiles and what lies around them), grid-cnn (additive; sees how tissue is arranged),
    attention-mil, mean-mil or max-mil (tiles without places, pooled by attention, mean or maximum), glimpses
    (six places, chosen one after the other), crop-cnn (the published one) or pooled-linear (mean and quantiles)."""
    folds: int = 5
    """Number of folds; a network is trained for each, without its patients."""
    split_by: str = "label"
    """label balances the folds by label, site keeps each site in one fold; any other word is a column of the cohort's
    table with each patient's fold."""
    repeats: int = 1
    """How often the patients are split into folds anew; all networks answer together, and figures are means over
    splits."""
    epochs: int = 0
    """Epochs of each network; 0: as many as 160 steps of the optimizer take, 240 of classes, at least 40."""
    learning_rate: float = 1e-2
    """Highest learning rate of the one-cycle schedule."""
    ties: Ties = "efron"
    """How the Cox loss treats deaths at the same time."""
    seed: int = 0
    """Seed of the folds, the training and the bootstrap."""
    register_as: str = ""
    """Name to register the model under; empty: nic-<endpoint>. Under nic-<endpoint>.dev it is kept apart from those
    that are served, until `promote` copies it."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.endpoint_inputs import training_inputs

    return training_inputs(config.study, config.endpoint, config.codes, config.encoder, config.split_by)


def run(config: Config) -> dict[str, Any]:
    """Train an ensemble of networks for one endpoint, cross-validated by patient, and register it.

    Where only the code of serving has changed since a training, its networks are registered again with the new code.
    """
    from nic.stages.endpoint_inputs import cohort_file
    from nic.tracking.runs import stage_run
    from nic.tracking.trained_before import register_again, result_again, trained_before

    with stage_run("train_patients", config, inputs(config), cohort_file(config.study, config.endpoint)) as stage:
        if trained := trained_before(stage):
            from nic.stages.examples import patient_example
            from nic.stages.patient_card import describe

            version = register_again(trained, stage, patient_example(trained.files))
            describe(version)
            stage.result.update(result_again(trained, version))
            return stage.result

        from nic.stages.train_patients import EnsemblePlan, train

        recipe = Recipe(config.network, config.epochs, config.learning_rate, config.ties)
        plan = EnsemblePlan(recipe, config.split_by, config.folds, config.repeats, config.seed)
        codes = config.study, config.endpoint, config.codes, config.encoder
        stage.result.update(train(*codes, plan, config.register_as, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
