"""Step 3: train an ensemble on compressed slides for one endpoint and register it as a model that takes slides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch
from nic.patients.choices import NetworkName, Ties


@dataclass(frozen=True)
class Config:
    study: Path
    """Study file that names the endpoint and its cohort."""
    endpoint: str
    """Which endpoint of the study."""
    codes: Path
    """Folder of compressed slides, as `compress` left it."""
    encoder: str = "models:/nic-encoder@champion"
    """Registered encoder that made the codes; it is served together with the model. `imported` for the codes of another
    tool: the model then takes files of codes in place of slides."""
    network: NetworkName = "grid-cnn"
    """grid-cnn (additive, sees arrangement), crop-cnn (the published family), attention-mil (tiles without places) or
    pooled-linear (mean and quantiles of codes)."""
    folds: int = 5
    """Networks of the ensemble; each is trained without one fold of the patients."""
    split_by: str = "label"
    """How folds are made: label balances them by label, site keeps each site in one fold; else the name of the column
    of the cohort's table that says a patient's fold."""
    repeats: int = 1
    """Partitions into folds; each adds its networks to the ensemble, and figures are means over partitions."""
    epochs: int = 60
    """Epochs of each network."""
    learning_rate: float = 1e-2
    """Peak of the one-cycle schedule."""
    ties: Ties = "efron"
    """How Cox takes deaths at one time: efron or breslow."""
    seed: int = 0
    """Seed of folds, first weights, order, turns and bootstrap."""
    register_as: str = ""
    """Name to register as; empty for nic-<endpoint>. nic-<endpoint>.dev, where what is served is kept apart."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.endpoint_inputs import training_inputs

    return training_inputs(config.study, config.endpoint, config.codes, config.encoder, config.split_by)


def run(config: Config) -> dict[str, Any]:
    """Train an ensemble of grid networks for one endpoint, cross-validated by patient, and register it.

    Where all but the code of serving is as it was, the networks are registered anew with it, and nothing is trained.
    """
    from nic.tracking.runs import stage_run
    from nic.tracking.trained_before import register_again, result_again, trained_before

    with stage_run("train_patients", config, inputs(config)) as stage:
        if trained := trained_before(stage):
            stage.result.update(result_again(trained, register_again(trained, stage)))
            return stage.result

        from nic.stages.train_patients import EnsemblePlan, train

        folds = config.split_by, config.folds, config.repeats
        plan = EnsemblePlan(config.network, *folds, config.epochs, config.learning_rate, config.ties, config.seed)
        codes = config.study, config.endpoint, config.codes, config.encoder
        stage.result.update(train(*codes, plan, config.register_as, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
