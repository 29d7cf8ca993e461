"""What `entrypoints.train_encoder` does."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import Timeout

from entrypoints.train_encoder import Config
from nic.errors import TaskError
from nic.files import locked
from nic.study import read_study
from nic.tasks.reading import read_task
from nic.tasks.tile_task import TileTask, load_tiles
from nic.tracking.digests import digest
from nic.tracking.registry import ENCODER_MODEL, serving_digest
from nic.tracking.runs import SERVING, StageRun, stage_run
from nic.tracking.trained_before import register_again, result_again, trained_before
from nic.tracking.training_data import ORIGINS_FILE, origins_of, origins_text

TILE_PX, TILE_MPP = 64, 1.0  # the published encoder's field


def tile_tasks(config: Config) -> list[TileTask]:
    """Raises TaskError when a task is asked for that the study does not have."""
    entries = {entry.name: entry for entry in read_study(config.study).tile_tasks}
    wanted = [name.strip() for name in config.tasks.split(",")] if config.tasks else list(entries)
    if unknown := [name for name in wanted if name not in entries]:
        raise TaskError(f"{config.study.name}: no tile task {unknown[0]!r}; it has {', '.join(entries)}")
    return [read_task(entries[name]) for name in wanted]


def inputs(config: Config) -> dict[str, str]:
    tasks = digest({task.name: task.digest for task in tile_tasks(config)})
    return {"tasks": tasks, SERVING: serving_digest(ENCODER_MODEL)}


def run(config: Config) -> dict[str, Any]:
    """See `entrypoints.train_encoder`."""
    read = inputs(config)
    with stage_run("train_encoder", config, read) as stage:
        if trained := trained_before(stage):
            stage.result.update(result_again(trained, register_again(trained, stage)))
            return stage.result
        with one_alone(config.work / "training" / stage.training_key) as folder:
            stage.result.update(trained_anew(config, {"tasks": read["tasks"]}, stage, folder))
    return stage.result


def trained_anew(config: Config, read: dict[str, str], stage: StageRun, folder: Path) -> dict[str, Any]:
    """The registered version and its figures. folder: keeps what a killed training needs to go on."""
    # Here: what was trained before is registered again without torch, which takes seconds to import.
    from nic.stages.objectives import Training
    from nic.stages.registration import log_augmentation, register_trained

    tasks = tile_tasks(config)
    stage.log_text(origins_text(origins_of(tasks)), ORIGINS_FILE)
    tile_sets = [load_tiles(task, TILE_PX, TILE_MPP, config.work / "tiles") for task in tasks]
    log_augmentation(tile_sets, config.augmentation, stage, config.seed)
    trained = Training(config, tile_sets, read, stage, folder).run()
    version = register_trained(trained, tile_sets, folder / "encoder.onnx", stage, read, config.seed)
    figures = ", ".join(f"{name} {value:.3f}" for name, value in trained.validation.items())
    print(f"{version.uri}: {config.objective}; on held-out tiles {figures or 'no figures'}; {trained.trained_with}")
    sha256 = version.tags["nic.encoder_sha256"]
    return {"version": version.uri, "sha256": sha256, "validation": dict(trained.validation)}


@contextmanager
def one_alone(folder: Path) -> Iterator[Path]:
    """The folder, for one training at a time: it goes on with what a killed one left there, and removes it in the end.

    A second training of the same at the same time has a folder of its own. Raises OSError where none can be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder.with_name(f"{folder.name}.lock"), timeout_s=0))
        except Timeout:
            yield Path(held.enter_context(TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-")))
            return
        yield folder
        shutil.rmtree(folder)  # it is registered: nothing is left to go on with
