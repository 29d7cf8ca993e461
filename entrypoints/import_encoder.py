"""An encoder made elsewhere as a version of nic-encoder: a published Keras file, or any ONNX graph of images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from entrypoints.cli import launch
from nic.encoder.foreign import import_onnx
from nic.encoder.published import TILE_PX, import_published
from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError
from nic.onnx.pixels import Scaling
from nic.tracking.digests import file_sha256
from nic.tracking.registry import register_encoder
from nic.tracking.runs import StageRun, lineage, stage_run


@dataclass(frozen=True)
class Config:
    source: Path
    """The file: .h5 of Keras 2 (the published encoders), or .onnx, float [N, 3, px, px] to [N, D]."""
    work: Path = Path("work")
    """Folder for the graph before it is registered."""
    name: str = ""
    """What to call it; the file's own name when empty."""
    tile_px: int = 224
    """For .onnx: side of a tile as the network takes it."""
    tile_mpp: float = 0.5
    """For .onnx: um/px of a tile."""
    read_mpp: float = 0.5
    """For .onnx: um/px that slides are read at before averaging by area to tile_mpp."""
    mean: str = "0.485,0.456,0.406"
    """For .onnx: of each channel, on a scale of 0 to 1; ImageNet's, which most networks took over."""
    std: str = "0.229,0.224,0.225"
    """For .onnx: of each channel, on a scale of 0 to 1."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """For .onnx: the order of its channels."""


def inputs(config: Config) -> dict[str, str]:
    if not config.source.is_file():
        raise EncoderError(f"{config.source}: no such file")
    return {"source": file_sha256(config.source)}


def run(config: Config) -> dict[str, Any]:
    """Import an encoder, check that its graph computes what it should, and register it."""
    with stage_run("import_encoder", config, inputs(config)) as stage:
        graph = config.work / "imported" / "encoder.onnx"
        spec = imported(config, graph, stage)
        version = register_encoder(graph, lineage("import_encoder", encoder_sha256=spec.sha256, **inputs(config)))
        print(
            f"{version.uri}: {spec.objective}, {spec.code_size} numbers from {spec.tile_px} px at {spec.tile_mpp} um/px"
        )
        stage.result.update(version=version.uri, sha256=spec.sha256)
    return stage.result


def imported(config: Config, graph: Path, stage: StageRun) -> EncoderSpec:
    name = config.name or config.source.stem
    match config.source.suffix.lower():
        case ".h5" | ".hdf5" | ".keras":
            noise = np.random.default_rng(0).integers(0, 256, (8, TILE_PX, TILE_PX, 3), np.uint8)
            spec, difference = import_published(config.source, name, graph, noise)
            stage.log("parity", difference)
            return spec
        case ".onnx":
            return import_onnx(
                config.source,
                graph,
                name=name,
                tile_px=config.tile_px,
                tile_mpp=config.tile_mpp,
                read_mpp=config.read_mpp,
                scaling=Scaling(numbers("mean", config.mean), numbers("std", config.std), config.channel_order),
            )
        case suffix:
            raise EncoderError(f"{config.source.name}: a {suffix or 'file without suffix'}, wanted .h5 or .onnx")


def numbers(what: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise EncoderError(f"{what} {text!r}: wanted three numbers with commas between") from error


if __name__ == "__main__":
    launch(run, Config)
