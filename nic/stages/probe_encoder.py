"""Linear probes of encoders on tile tasks: a table of AUCs."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from nic.encoder.loading import load_encoder
from nic.encoder.probe import (
    Probe,
    codes_of,
    enlarged_tiles,
    enlargement,
    probe,
    probe_frame,
    probe_plot,
    probe_table,
)
from nic.encoder.spec import EncoderSpec
from nic.errors import TaskError
from nic.graphs.device import Device
from nic.stages.tile_inputs import selected_tasks, tasks_digest
from nic.tasks.tile_auc import Resampled
from nic.tasks.tile_task import TileTask
from nic.tracking.figure_name import FigureName
from nic.tracking.recorded_estimates import record_estimates
from nic.tracking.registry import encoder_file, find_version
from nic.tracking.runs import StageRun


def probe_encoders(
    encoders: Sequence[str],
    study_file: Path,
    tasks: Sequence[str],
    upsample: bool,
    work: Path,
    device: str,
    seed: int,
    stage: StageRun,
) -> dict[str, Any]:
    """Probe, log and print; the stage's result. upsample: whether images coarser than the tiles are probed too."""
    chosen = selected_tasks(study_file, tasks)
    probes = [probe for uri in encoders for probe in probed(uri, chosen, upsample, work, Device.named(device), seed)]
    stage.log_table(probe_frame(probes), "probes.csv")
    stage.log_plot(probe_plot(probes), "probes.png")
    Console(width=max(100, 40 + 24 * len(chosen))).print(probe_table(probes))
    return {"probes": [asdict(p) | {"auc": str(p.auc)} for p in probes]}


def learned(spec: EncoderSpec) -> str:
    """What an encoder was trained for; a single task is named."""
    return f"{spec.objective} of {spec.tasks[0]}" if len(spec.tasks) == 1 else spec.objective


def probed(
    uri: str, tasks: Sequence[TileTask], upsample: bool, work: Path, device: Device, seed: int
) -> Iterator[Probe]:
    """The probes of one encoder. The AUCs are kept with its version, if it is registered."""
    encoder = load_encoder(encoder_file(uri), device=device, threads=None)
    version = find_version(uri) if uri.startswith("models:/") else None
    place = f"{version.name}/{version.version}" if version else Path(uri).name
    aucs: dict[FigureName, Resampled] = {}
    for task in tasks:
        factor = enlargement(task, encoder.spec)
        if factor > 1 and not upsample:
            raise TaskError(
                f"{task.name}: images at {task.mpp:g} um/px, {uri} takes {encoder.spec.tile_mpp:g}; leave the task out "
                f"(tasks=), or repeat each pixel {factor} x {factor} times (upsample=True)"
            )
        tile_set = enlarged_tiles(task, encoder.spec, factor, work / "tiles")
        codes = codes_of(encoder, tile_set, work / "codes_of_tiles")
        result = probe(f"{place} {learned(encoder.spec)}", tile_set, codes, factor, seed)
        aucs[FigureName("probe", task.name)] = result.auc
        yield result
    if version:
        record_estimates(version, aucs, data=tasks_digest(tasks))
