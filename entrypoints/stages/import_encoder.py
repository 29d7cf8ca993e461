"""What `entrypoints.import_encoder` does."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from entrypoints.import_encoder import Config
from nic.encoder.foreign import CHECKED, import_onnx
from nic.encoder.spec import EncoderSpec
from nic.errors import EncoderError
from nic.graphs.adapt import Scaling
from nic.graphs.files import graph_sha256
from nic.study import read_study
from nic.tasks.entries import TileTaskEntry
from nic.tasks.read_task import read_task
from nic.tasks.tile_task import load_tiles
from nic.tracking.digests import digest
from nic.tracking.registry import ENCODER_MODEL, serving_digest
from nic.tracking.runs import SERVING, stage_run


def inputs(config: Config) -> dict[str, str]:
    if not config.source.is_file():
        raise EncoderError(f"{config.source}: no such file")
    tasks = digest({task.name: task.digest for task in map(read_task, tile_tasks(config))}) if config.study else ""
    source = {"source": graph_sha256(config.source), "name": config.name or config.source.stem}
    return source | {"measured_on": tasks, SERVING: serving_digest(ENCODER_MODEL)}


def tile_tasks(config: Config) -> Sequence[TileTaskEntry]:
    return read_study(Path(config.study)).tile_tasks if config.study else ()


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.import_encoder`."""
    entries = tile_tasks(config)
    with stage_run("import_encoder", config, inputs(config)) as stage, TemporaryDirectory(prefix="nic-") as folder:
        # Here: the run is open, or refused, before the seconds that these take to import.
        from nic.stages.registration import register_imported

        graph = Path(folder) / "encoder.onnx"
        spec, parity = imported(config, graph)
        field, cache = (spec.tile_px, spec.tile_mpp), config.work / "tiles"
        tile_sets = [load_tiles(read_task(entry), *field, cache, spec.read_mpp) for entry in entries]
        version = register_imported(graph, config.source.name, parity, tile_sets, stage, inputs(config))
        print(
            f"{version.uri}: {spec.objective}, {spec.code_size} numbers from {spec.tile_px} px at {spec.tile_mpp} um/px"
        )
        stage.result.update(version=version.uri, sha256=spec.sha256)
    return stage.result


def imported(config: Config, graph: Path) -> tuple[EncoderSpec, tuple[float, int]]:
    """The graph's spec, and how far it is from its source: largest difference, and on how many tiles."""
    name = config.name or config.source.stem
    match config.source.suffix.lower():
        case ".h5" | ".hdf5" | ".keras":
            from nic.encoder.keras_file import GRAPH_PX, import_published  # here: torch, slow to import

            noise = np.random.default_rng(0).integers(0, 256, (8, GRAPH_PX, GRAPH_PX, 3), np.uint8)
            spec, difference = import_published(config.source, name, graph, noise)
            return spec, (difference, len(noise))
        case ".onnx":
            spec, difference = import_onnx(
                config.source,
                graph,
                name=name,
                tile_px=config.tile_px,
                tile_mpp=config.tile_mpp,
                read_mpp=config.read_mpp or config.tile_mpp,
                scaling=Scaling(numbers("mean", config.mean), numbers("std", config.std), config.channel_order),
                output=config.output,
            )
            return spec, (difference, CHECKED)
        case suffix:
            raise EncoderError(f"{config.source.name}: a {suffix or 'file without suffix'}, wanted .h5 or .onnx")


def numbers(what: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise EncoderError(f"{what} {text!r}: wanted three numbers with commas between") from error
