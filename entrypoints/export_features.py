"""Compressed slides as the files of other tools, so that their models train on our codes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    layout: Literal["trident", "clam", "stamp", "slideflow", "nic-npy"]
    """Whose files are wanted; nic-npy is the original NIC."""
    codes: Path = Path("work/codes")
    """Folder of compressed slides, as `compress` left it."""
    out: Path = Path("work/exported")
    """Folder that receives the layout's files."""


def run(config: Config) -> dict[str, Any]:
    """Write every compressed slide as another tool does; coordinates stay as they are, level-0 px or um."""
    from entrypoints.stages import export_features  # here: --help and a mistyped word need neither MLflow nor torch

    return export_features.run(config)


if __name__ == "__main__":
    launch(run, Config)
