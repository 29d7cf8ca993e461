"""The time of an ablation, expected from a short measurement of this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nic.ablation.ablation_cells import MITOSIS_COUNTING
from nic.ablation.arms import Arm
from nic.ablation.scope import Scope
from nic.ablation.workload import (
    ENCODINGS_A_CELL,
    ENCODINGS_A_STREAMED_CELL,
    ENCODINGS_A_TILE,
    OVERLAPPING_COMPRESSION,
    READING,
    Workload,
)
from nic.comparators.streaming_cnn import StreamingOptions
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


@dataclass(frozen=True)
class Pace:
    """How fast this machine is, measured. A cohort whose slides cannot be used is left out.

    compression_s: seconds of a cohort's compression by one encoder. cells: that hold codes, in all grids of a cohort.
    """

    compression_s: Mapping[str, float]
    cells: Mapping[str, float]

    @property
    def encoding_s(self) -> float:
        """Seconds of the encoding of one tile."""
        return (1 - READING) * sum(self.compression_s.values()) / max(1.0, sum(self.cells.values()))


def pace_of(cohorts: Mapping[str, Cohort]) -> Pace:
    """Read and encode some tiles of each cohort."""
    compression_s: dict[str, float] = {}
    cells: dict[str, float] = {}
    for name, cohort in cohorts.items():
        one = estimated([slide for patient in cohort.patients for slide in patient.rows], "")
        if one.hours and one.gigabytes:  # else the compression names the slides that cannot be used
            compression_s[name] = 3600 * one.hours
            cells[name] = 1e9 * one.gigabytes / CODE_BYTES
    return Pace(compression_s, cells)


def workload_of(
    study: Study,
    pace: Pace,
    arms: Sequence[Arm],
    scope: Scope,
    encoder_epochs: int,
    epochs: int,
    comparators: Mapping[str, str],
    work: Path,
) -> Workload:
    """The parts by name: train <encoder>, compress <cohort>, networks <encoder>, and compare <comparator>.

    comparators: the cohort of each. work: keeps the decoded tiles.
    """
    by_name, trainings = {arm.name: arm for arm in arms}, scope.trainings(arms)
    tasks = {task.name: read_task(task) for task in study.tile_tasks}
    tiles = {name: len(load_tiles(task, TILE_PX, TILE_MPP, work / "tiles").labels) for name, task in tasks.items()}
    of_endpoint = {entry.name: pace.cells.get(entry.cohort, 0.0) for entry in study.endpoints}
    expected: dict[str, float] = {}
    for name, seed in trainings:
        arm = by_name[name]
        cost = ENCODINGS_A_TILE.get(arm.parameters.get("objective", "multitask"), 0.0) if arm.learns else 0.0
        shown = encoder_epochs * sum(tiles[task] for task in arm.tasks or tiles)
        expected[training_part(name, seed)] = pace.encoding_s * cost * shown
        cells = sum(of_endpoint[cell.endpoint] for cell in scope.cells(name, seed, list(of_endpoint)))
        expected[networks_part(name, seed)] = pace.encoding_s * ENCODINGS_A_CELL * cells * (epochs or USUAL_EPOCHS)
    for name, seconds in pace.compression_s.items():
        expected[compression_part(name)] = seconds * (READING + (1 - READING) * len(trainings))
    for name, of in comparators.items():
        expected[comparator_part(name)] = _comparator_s(name, of, pace)
    return Workload(expected)


def _comparator_s(name: str, cohort: str, pace: Pace) -> float:
    if name == MITOSIS_COUNTING:
        return OVERLAPPING_COMPRESSION * pace.compression_s.get(cohort, 0.0)
    return pace.encoding_s * ENCODINGS_A_STREAMED_CELL * StreamingOptions().epochs * pace.cells.get(cohort, 0.0)


def show(workload: Workload) -> None:
    """Print the hours of each kind of part."""
    for kind in ("train", "compress", "networks", "compare"):
        seconds = [of for part, of in workload.expected.items() if part.startswith(kind)]
        print(f"{kind:9} {len(seconds):3} parts, about {sum(seconds) / 3600:.1f} hours")
    print(f"all about {workload.hours_left:.1f} hours on {cores()} cores; what an earlier run finished is kept")


def training_part(encoder: str, seed: int) -> str:
    return f"train {encoder}" + (f", seed {seed}" if seed else "")


def compression_part(cohort: str) -> str:
    return f"compress {cohort}"


def networks_part(encoder: str, seed: int) -> str:
    return f"networks on {encoder}" + (f", seed {seed}" if seed else "")


def comparator_part(name: str) -> str:
    return f"compare {name}"
