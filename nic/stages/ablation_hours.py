"""The time of an ablation, expected from a short measurement of this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nic.ablation.arms import Arm
from nic.ablation.scope import Scope
from nic.ablation.workload import ENCODINGS_A_CELL, ENCODINGS_A_TILE, READING, Workload
from nic.patients.cohort import Cohort
from nic.stages.check_study import BYTES_A_NUMBER, BYTES_A_PLACE, TRAINED_HERE
from nic.stages.compression_estimate import estimated
from nic.stages.train_encoder import TILE_MPP, TILE_PX
from nic.study import Study
from nic.tasks.read_task import read_task
from nic.tasks.tile_task import load_tiles
from nic.threads import cores

CODE_BYTES = BYTES_A_NUMBER * TRAINED_HERE.code_size + BYTES_A_PLACE
USUAL_EPOCHS = 40
"""Of a patient network whose epochs follow from the number of steps; from some 100 patients on."""


def workload_of(
    study: Study,
    cohorts: Mapping[str, Cohort],
    arms: Sequence[Arm],
    scope: Scope,
    encoder_epochs: int,
    epochs: int,
    work: Path,
) -> Workload:
    """The parts by name: train <encoder>, compress <cohort>, and networks <encoder>. work: keeps the decoded tiles."""
    by_name, trainings = {arm.name: arm for arm in arms}, scope.trainings(arms)
    compression_s: dict[str, float] = {}
    grid_cells: dict[str, float] = {}
    for name, cohort in cohorts.items():
        one = estimated([slide for patient in cohort.patients for slide in patient.rows], "")
        if one.hours and one.gigabytes:  # else the compression names the slides that cannot be used
            compression_s[name] = 3600 * one.hours
            grid_cells[name] = 1e9 * one.gigabytes / CODE_BYTES
    encoding_s = (1 - READING) * sum(compression_s.values()) / max(1.0, sum(grid_cells.values()))  # of one tile

    tasks = {task.name: read_task(task) for task in study.tile_tasks}
    tiles = {name: len(load_tiles(task, TILE_PX, TILE_MPP, work / "tiles").labels) for name, task in tasks.items()}
    expected: dict[str, float] = {}
    for name, seed in trainings:
        arm = by_name[name]
        cost = ENCODINGS_A_TILE.get(arm.parameters.get("objective", "multitask"), 0.0) if arm.learns else 0.0
        shown = encoder_epochs * sum(tiles[task] for task in arm.tasks or tiles)
        expected[training_part(name, seed)] = encoding_s * cost * shown
    for name, seconds in compression_s.items():
        expected[compression_part(name)] = seconds * (READING + (1 - READING) * len(trainings))
    of_endpoint = {entry.name: grid_cells.get(entry.cohort, 0.0) for entry in study.endpoints}
    for name, seed in trainings:
        cells = sum(of_endpoint[cell.endpoint] for cell in scope.cells(name, seed, list(of_endpoint)))
        expected[networks_part(name, seed)] = encoding_s * ENCODINGS_A_CELL * cells * (epochs or USUAL_EPOCHS)
    return Workload(expected)


def show(workload: Workload) -> None:
    """Print the hours of each kind of part."""
    for kind in ("train", "compress", "networks"):
        seconds = [of for part, of in workload.expected.items() if part.startswith(kind)]
        print(f"{kind:9} {len(seconds):3} parts, about {sum(seconds) / 3600:.1f} hours")
    print(f"all about {workload.hours_left:.1f} hours on {cores()} cores; what an earlier run finished is kept")


def training_part(encoder: str, seed: int) -> str:
    return f"train {encoder}" + (f", seed {seed}" if seed else "")


def compression_part(cohort: str) -> str:
    return f"compress {cohort}"


def networks_part(encoder: str, seed: int) -> str:
    return f"networks on {encoder}" + (f", seed {seed}" if seed else "")
