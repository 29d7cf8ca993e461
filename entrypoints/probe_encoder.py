"""Linear probes of one or several encoders on tile tasks: a table of AUCs, before slides are touched."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    encoders: str = "models:/nic-encoder@champion"
    """Registered encoders or .onnx files that nic wrote, with commas between."""
    study: Path = Path("studies/phantom.yaml")
    """Study file; its tile tasks are what is probed."""
    tasks: str = ""
    """Names of some of its tile tasks, with commas between; empty: all."""
    upsample: bool = False
    """Probe images that are coarser than an encoder's tiles too, their pixels repeated; said in the table."""
    work: Path = Path("work")
    """Folder for decoded tiles and their codes, kept for the next probe."""
    device: str = "auto"
    """What the encoders run on: cpu, cuda, or cuda:N, which must be there; auto takes the first GPU that works."""
    seed: int = 0
    """Seed of split and bootstrap; that of the training, so that its held-out tiles are probed."""


def run(config: Config) -> dict[str, Any]:
    """Probe encoders on the study's tile tasks: AUC on held-out tiles, with intervals, encoder by encoder."""
    from entrypoints.stages import probe_encoder  # here: --help and a mistyped word need neither MLflow nor torch

    return probe_encoder.run(config)


if __name__ == "__main__":
    launch(run, Config)
