"""Linear probes of encoders on tile tasks: a table of AUCs, before any slide is compressed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.cli import launch, names_in


@dataclass(frozen=True)
class Config:
    encoders: str = "models:/nic-encoder@champion"
    """Registered encoders, or .onnx files written by nic, with commas between."""
    study: Path = Path("studies/phantom.yaml")
    """Study file with the tile tasks."""
    tasks: str = ""
    """Names of tile tasks, with commas between; empty: all of the study."""
    upsample: bool = False
    """Also probe on images that are coarser than an encoder's tiles, by repeating pixels; the table says so."""
    work: Path = Path("work")
    """Folder for decoded tiles and their codes; the next probe reuses them."""
    device: str = "auto"
    """Device of the encoders: cpu, cuda or cuda:N, which must be there; auto: a GPU that works, else the CPU."""
    seed: int = 0
    """Seed of the split and the bootstrap. Take the seed of the encoder's training, to probe on its held-out tiles."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.tile_inputs import probe_inputs

    return probe_inputs(names_in(config.encoders), config.study, names_in(config.tasks))


def run(config: Config) -> dict[str, Any]:
    """Probe encoders on the study's tile tasks: the AUC of each on held-out tiles, with its interval."""
    from nic.tracking.runs import stage_run

    with stage_run("probe_encoder", config, inputs(config)) as stage:
        from nic.stages.probe_encoder import probe_encoders

        probes = probe_encoders(
            names_in(config.encoders),
            config.study,
            names_in(config.tasks),
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
