"""Step 1 as a stage: an encoder trained on labelled tiles, certified and registered."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import Timeout

from nic.shared_files import locked
from nic.stages.objectives import TrainingPlan, train_objective
from nic.stages.registration import log_augmentation, register_trained
from nic.stages.tile_inputs import selected_tasks, tasks_digest
from nic.tasks.tile_task import load_tiles
from nic.tracking.runs import StageRun
from nic.tracking.training_data import ORIGINS_FILE, origins_of, origins_text

TILE_PX, TILE_MPP = 64, 1.0  # the published encoder's field


def train(study_file: Path, tasks: Sequence[str], work: Path, plan: TrainingPlan, stage: StageRun) -> dict[str, Any]:
    """Train and register; the stage's result: the version and its figures."""
    chosen, schedule = selected_tasks(study_file, tasks), plan.schedule
    read = {"tasks": tasks_digest(chosen)}
    stage.log_text(origins_text(origins_of(chosen)), ORIGINS_FILE)
    with exclusive_folder(work / "training" / stage.training_key) as folder:
        tile_sets = [load_tiles(task, TILE_PX, TILE_MPP, work / "tiles") for task in chosen]
        log_augmentation(tile_sets, schedule.augmentation, stage, schedule.seed)
        candidate = train_objective(plan, tile_sets, read["tasks"], stage, folder)
        version = register_trained(candidate, tile_sets, folder / "encoder.onnx", stage, read, schedule.seed)
    figures = ", ".join(f"{name} {value:.3f}" for name, value in candidate.validation.items())
    print(f"{version.uri}: {plan.objective}; on held-out tiles {figures or 'no figures'}; {candidate.trained_with}")
    sha256 = version.tags["nic.encoder_sha256"]
    return {"version": version.uri, "sha256": sha256, "validation": dict(candidate.validation)}


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[Path]:
    """The folder, for one training at a time. A training continues from what a killed one left there, and removes it.

    A second training that runs at the same time gets another folder. Raises OSError where none can be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder.with_name(f"{folder.name}.lock"), timeout_s=0))
        except Timeout:
            yield Path(held.enter_context(TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-")))
            return
        yield folder
        shutil.rmtree(folder)  # the encoder is registered
