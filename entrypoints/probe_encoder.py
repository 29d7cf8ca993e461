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


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.tile_inputs import probe_inputs

    return probe_inputs(config.encoders, config.study, config.tasks)


def run(config: Config) -> dict[str, Any]:
    """Probe encoders on the study's tile tasks: AUC on held-out tiles, with intervals, encoder by encoder."""
    from nic.tracking.runs import stage_run

    with stage_run("probe_encoder", config, inputs(config)) as stage:
        from nic.stages.probe_encoder import probe_encoders

        probes = probe_encoders(
            config.encoders,
            config.study,
            config.tasks,
            config.upsample,
            config.work,
            config.device,
            config.seed,
            stage,
        )
        stage.result.update(probes)
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
