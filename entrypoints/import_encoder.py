"""An encoder made elsewhere as a version of nic-encoder: a published Keras file, or any ONNX graph of images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    source: Path
    """The file: .h5 of Keras 2 (the published encoders), or .onnx, floats [N, 3, px, px] to [N, D]; files beside
    it that hold its weights, as those of 2 GiB and more, come along."""
    work: Path = Path("work")
    """Folder for decoded tiles."""
    name: str = ""
    """What to call it; the file's own name when empty."""
    tile_px: int = 224
    """For .onnx: side of a tile as the network takes it."""
    tile_mpp: float = 0.5
    """For .onnx: um/px of a tile."""
    read_mpp: float = 0.0
    """For .onnx: um/px that slides are read at before averaging by area to tile_mpp, no coarser; tile_mpp when 0."""
    mean: str = "0.485,0.456,0.406"
    """For .onnx: of each channel, on a scale of 0 to 1; ImageNet's, which most networks took over."""
    std: str = "0.229,0.224,0.225"
    """For .onnx: of each channel, on a scale of 0 to 1."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """For .onnx: the order of its channels."""
    output: str = ""
    """For .onnx: which of its outputs is the code; may be empty when there is one."""
    study: str = ""
    """Study file with tile tasks to measure the codes on, for the certificate; none when empty."""


def run(config: Config) -> dict[str, Any]:
    """Import an encoder, check that its graph computes what it should, certify and register it."""
    from entrypoints.stages import import_encoder  # here: --help and a mistyped word need neither MLflow nor torch

    return import_encoder.run(config)


if __name__ == "__main__":
    launch(run, Config)
