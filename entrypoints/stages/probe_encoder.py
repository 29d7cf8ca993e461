"""What `entrypoints.probe_encoder` does."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from entrypoints.probe_encoder import Config
from nic.encoder.spec import EncoderSpec
from nic.errors import StudyError, TaskError
from nic.graphs.files import graph_sha256
from nic.study import read_study
from nic.tasks.read_task import read_task
from nic.tasks.tile_auc import Resampled
from nic.tasks.tile_task import TileTask
from nic.tracking.digests import digest
from nic.tracking.registry import encoder_file, find_version
from nic.tracking.runs import stage_run

if TYPE_CHECKING:
    from nic.encoder.probe import Probe


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def chosen_tasks(config: Config) -> list[TileTask]:
    """Raises StudyError for a task that the study does not have."""
    entries = {entry.name: entry for entry in read_study(config.study).tile_tasks}
    if unknown := [name for name in names(config.tasks) if name not in entries]:
        raise StudyError(f"{config.study.name}: no tile task {unknown[0]!r}; it has {', '.join(entries)}")
    return [read_task(entries[name]) for name in names(config.tasks) or entries]


def inputs(config: Config) -> dict[str, str]:
    tasks = digest({task.name: task.digest for task in chosen_tasks(config)})
    graphs = digest({uri: graph_sha256(encoder_file(uri)) for uri in names(config.encoders)})
    return {"tasks": tasks, "encoders": graphs}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.probe_encoder`."""
    with stage_run("probe_encoder", config, inputs(config)) as stage:
        # Here: the run is open, or refused, before the seconds that these take to import.
        from nic.encoder.probe import probe_figure, probe_frame, probe_table

        tasks = chosen_tasks(config)
        probes = [found for uri in names(config.encoders) for found in probed(uri, tasks, config)]
        stage.log_table(probe_frame(probes), "probes.csv")
        stage.log_figure(probe_figure(probes), "probes.png")
        Console(width=max(100, 40 + 24 * len(tasks))).print(probe_table(probes))
        stage.result.update(probes=[asdict(p) | {"auc": str(p.auc)} for p in probes])
    return stage.result


def learned(spec: EncoderSpec) -> str:
    """What an encoder was trained for; a single task is named."""
    return f"{spec.objective} of {spec.tasks[0]}" if len(spec.tasks) == 1 else spec.objective


def probed(uri: str, tasks: Sequence[TileTask], config: Config) -> "Iterator[Probe]":
    """The probes of one encoder, each also a figure of its version where it is a registered one."""
    # Here: the run is open, or refused, before the seconds that these take to import.
    from nic.encoder.loading import load_encoder
    from nic.encoder.probe import codes_of, enlarged_tiles, enlargement, probe
    from nic.tracking.figures import record_figures

    encoder = load_encoder(encoder_file(uri), device=config.device, threads=None)
    version = find_version(uri) if uri.startswith("models:/") else None
    place = f"{version.name}/{version.version}" if version else Path(uri).name
    aucs: dict[str, Resampled] = {}
    for task in tasks:
        factor = enlargement(task, encoder.spec)
        if factor > 1 and not config.upsample:
            raise TaskError(
                f"{task.name}: images at {task.mpp:g} um/px, {uri} takes {encoder.spec.tile_mpp:g}; leave the task out "
                f"(tasks=), or repeat each pixel {factor} x {factor} times (upsample=True)"
            )
        tile_set = enlarged_tiles(task, encoder.spec, factor, config.work / "tiles")
        codes = codes_of(encoder, tile_set, config.work / "codes_of_tiles")
        found = probe(f"{place} {learned(encoder.spec)}", tile_set, codes, factor, config.seed)
        aucs[f"probe.{task.name}"] = found.auc
        yield found
    if version:
        record_figures(version, aucs, data=digest({task.name: task.digest for task in tasks}))
