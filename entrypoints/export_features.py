"""Compressed slides as the files of other tools, so that their models train on our codes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    layout: Literal["trident", "clam", "stamp", "slideflow", "nic-npy"]
    """Tool whose layout is written; nic-npy is that of the original NIC."""
    codes: Path = Path("work/codes")
    """Folder of compressed slides, as `compress` wrote it."""
    out: Path = Path("work/exported")
    """Folder for the files of that layout."""


def inputs(config: Config) -> dict[str, str]:
    from nic.tracking.digests import codes_digest

    return {"codes": codes_digest(config.codes)}


def run(config: Config) -> dict[str, Any]:
    """Write every compressed slide as another tool does. Coordinates are level-0 px, or um where that tool has um."""
    from nic.compression.interchange.layouts import export_folder
    from nic.tracking.runs import stage_run

    with stage_run("export_features", config, inputs(config)) as stage:
        slides = export_folder(config.codes, config.layout, config.out)
        print(f"{config.out}: {len(slides)} slides laid out as {config.layout}")
        stage.log("slides", len(slides))
        stage.result.update(outputs=[str(config.out)])
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
