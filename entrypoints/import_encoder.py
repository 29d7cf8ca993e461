"""An encoder made elsewhere as a version of nic-encoder: a published Keras file, or any ONNX graph of images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entrypoints.cli import launch


@dataclass(frozen=True)
class Config:
    source: Path
    """File of the encoder: .h5 of Keras 2 (the published encoders), or .onnx that maps floats [N, 3, px, px] to [N, D].
    Files beside it that hold its weights are imported too."""
    work: Path = Path("work")
    """Folder for decoded tiles."""
    name: str = ""
    """Name of the encoder; empty: the file's own name."""
    tile_px: int = 224
    """For .onnx: side of the tiles that the network takes, in px."""
    tile_mpp: float = 0.5
    """For .onnx: um/px of these tiles."""
    read_mpp: float = 0.0
    """For .onnx: um/px at which slides are read, before they are averaged to tile_mpp; no coarser than that; 0:
    that."""
    mean: str = "0.485,0.456,0.406"
    """For .onnx: mean of each channel, on a scale of 0 to 1. The default is ImageNet's, which most networks use."""
    std: str = "0.229,0.224,0.225"
    """For .onnx: standard deviation of each channel, on a scale of 0 to 1. The default is ImageNet's."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """For .onnx: order of the colour channels."""
    output: str = ""
    """For .onnx: name of the output that is the code; empty: the only one."""
    study: str = ""
    """Study file whose tile tasks the codes are measured on, for the certificate; empty: they are not measured.
    Tasks with coarser images than the encoder's tiles are left out and named."""


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.tile_inputs import import_inputs

    return import_inputs(config.source, config.name or config.source.stem, config.study)


def run(config: Config) -> dict[str, Any]:
    """Import an encoder, check that its graph computes what the source does, certify it and register it."""
    from nic.tracking.runs import stage_run

    read = inputs(config)
    with stage_run("import_encoder", config, read) as stage:
        from nic.stages.import_encoder import OnnxInput, import_encoder

        tile = config.tile_px, config.tile_mpp, config.read_mpp
        onnx = OnnxInput(*tile, config.mean, config.std, config.channel_order, config.output)
        stage.result.update(import_encoder(config.source, onnx, config.study, config.work, read, stage))
    return stage.result


if __name__ == "__main__":
    launch(run, Config)
