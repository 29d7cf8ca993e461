"""A foreign encoder as a registered one: imported, checked against its source, certified."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from nic.encoder.foreign import CHECKED, import_onnx
from nic.encoder.keras_file import GRAPH_PX, import_published
from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError, TaskError
from nic.graphs.adapt import Scaling
from nic.stages.registration import register_imported
from nic.stages.tile_inputs import selected_tasks
from nic.tasks.tile_task import TileTask, check_resolution, load_tiles
from nic.tracking.runs import StageRun


@dataclass(frozen=True)
class OnnxInput:
    """What a foreign .onnx takes and gives, which its file does not say.

    read_mpp: um/px that slides are read at, tile_mpp when 0. mean, std: of each channel, with commas between. output:
    which of its outputs is the code; may be empty when there is one.
    """

    tile_px: int
    tile_mpp: float
    read_mpp: float
    mean: str
    std: str
    channel_order: Literal["rgb", "bgr"]
    output: str

    @property
    def scaling(self) -> Scaling:
        return Scaling(_numbers("mean", self.mean), _numbers("std", self.std), self.channel_order)


def import_encoder(
    source: Path, onnx: OnnxInput, study: str, work: Path, read: Mapping[str, str], stage: StageRun
) -> dict[str, Any]:
    """Import and register; the stage's result. read: the inputs of the stage, with the encoder's name."""
    tasks = selected_tasks(Path(study)) if study else []
    with TemporaryDirectory(prefix="nic-") as folder:
        graph = Path(folder) / "encoder.onnx"
        spec, parity = imported(source, read["name"], onnx, graph)
        fine = fine_enough(tasks, spec.tile_mpp)
        tile_sets = [load_tiles(task, spec.tile_px, spec.tile_mpp, work / "tiles", spec.read_mpp) for task in fine]
        version = register_imported(graph, source.name, parity, tile_sets, stage, read)
    print(f"{version.uri}: {spec.objective}, {spec.code_size} numbers from {spec.tile_px} px at {spec.tile_mpp} um/px")
    return {"version": version.uri, "sha256": spec.sha256}


def fine_enough(tasks: Sequence[TileTask], tile_mpp: float) -> list[TileTask]:
    """The tasks whose images have the resolution that the encoder takes. The others are printed, with the reason."""
    fine = []
    for task in tasks:
        try:
            check_resolution(task, tile_mpp)
        except TaskError as error:
            print(f"The encoder is not measured on a task: {error}")
        else:
            fine.append(task)
    return fine


def imported(source: Path, name: str, onnx: OnnxInput, graph: Path) -> tuple[EncoderSpec, tuple[float, int]]:
    """The graph's spec, and how far it is from its source: largest difference, and on how many tiles."""
    match source.suffix.lower():
        case ".h5" | ".hdf5" | ".keras":
            noise = np.random.default_rng(0).integers(0, 256, (8, GRAPH_PX, GRAPH_PX, 3), np.uint8)
            spec, difference = import_published(source, name, graph, noise)
            return spec, (difference, len(noise))
        case ".onnx":
            spec, difference = import_onnx(
                source,
                graph,
                name=name,
                tile_px=onnx.tile_px,
                tile_mpp=onnx.tile_mpp,
                read_mpp=onnx.read_mpp or onnx.tile_mpp,
                scaling=onnx.scaling,
                output=onnx.output,
            )
            return spec, (difference, CHECKED)
        case suffix:
            raise EncoderError(f"{source.name}: a {suffix or 'file without suffix'}, wanted .h5 or .onnx")


def _numbers(what: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise EncoderError(f"{what} {text!r}: wanted three numbers with commas between") from error
