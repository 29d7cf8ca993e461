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


def inputs(config: Config) -> dict[str, str]:
    from nic.stages.tile_inputs import import_inputs

    return import_inputs(config.source, config.name or config.source.stem, config.study)


def run(config: Config) -> dict[str, Any]:
    """Import an encoder, check that its graph computes what it should, certify and register it."""
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
