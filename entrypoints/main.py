"""The whole study: labelled tiles to encoder, slides to codes, codes to patient models, the best of them served."""

from dataclasses import dataclass
from pathlib import Path

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    study: Path = Path("studies/phantom.yaml")
    """Study file: tile tasks, cohorts, endpoints. Copy the phantom's and point it at your own data."""
    work: Path = Path("work")
    """Folder for compressed slides and other intermediate files."""
    seed: int = 0
    """Seed of the patient stage: folds and training. Another one leaves the encoder and the codes as they are."""
    encoder_seed: int = 0
    """Seed of the encoder stage."""
    trials: int = 5
    """Trials of the search for task weights."""
    encoder_epochs: int = 14
    """Epochs of the encoder's training."""
    patient_epochs: int = 60
    """Epochs of each fold's training."""


def run(config: Config) -> None:
    """Run the whole study; stages that finished before with the same parameters, inputs and code are reused."""
    from entrypoints.stages import main  # here: --help and a mistyped word need neither MLflow nor torch

    return main.run(config)


if __name__ == "__main__":
    launch(run, Config)
