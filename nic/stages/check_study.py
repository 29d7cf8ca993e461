"""A study checked whole, before anything long begins: its file, tables, labels, gates, tiles, encoder, slides and disk.

The validators that the stages use are run one after the other, and what they refuse is collected.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from nic.encoder.loading import load_encoder
from nic.encoder.spec import EncoderSpec
from nic.patients.cohort import Cohort, Split
from nic.patients.covariates import covariates_of
from nic.patients.plausibility import warnings_of
from nic.patients.splits import check_folds
from nic.patients.targets import Grades, Targets, class_counts, names_of
from nic.stages.slide_sample import OpenedSlide, missing_files, opened, spread_rows
from nic.stages.steps import part_to_measure
from nic.stages.study_pieces import pieces_of, pieces_of_cohort, pieces_of_task, problems_with, table_of
from nic.stages.study_problems import Problem, Problems
from nic.study import EndpointEntry, Study, readable_part
from nic.tasks.entries import SlidesEntry, TileTaskEntry
from nic.tasks.read_task import read_task
from nic.tasks.tile_source import TileField
from nic.tasks.tile_task import check_resolution, check_sources
from nic.tracking.gates import DECIDING, EXAMPLE, Gate, read_gates
from nic.tracking.registry import encoder_file
from nic.tracking.runs import StageRun

TRAINED_HERE = EncoderSpec(code_size=128, tile_px=64, tile_mpp=1.0, read_mpp=0.5, objective="multitask", tasks=())
"""What `train_encoder` makes."""
FEW_TILES = 50
"""A class with fewer is reported."""
BYTES_A_NUMBER, BYTES_A_PLACE = 2, 16
"""Of a code, float16; of its place, two int64."""
MOST_NAMED = 5
"""Rows of missing slides that are named; the others are counted."""


def check_study(file: Path, work: Path, gates: Path, sample: int, stage: StageRun) -> dict[str, Any]:
    """Check, print the tables and keep them as data.csv and problems.csv; the stage's result.

    sample: slides that are opened. Raises StudyError when a problem stops the study.
    """
    console = Console(width=max(120, shutil.get_terminal_size().columns))
    problems = problems_of(file, work, gates, sample)
    if problems.data:
        stage.log_table(problems.data.frame, "data.csv")
        console.print(problems.data.for_terminal())
    stage.log_table(problems.table(), "problems.csv")
    if problems.rows:
        problems.show(console)
    problems.check(file.name)
    warnings = len(problems.rows)
    print(f"{file.name}: checked, no problem, {warnings} {'warning' if warnings == 1 else 'warnings'}")
    return {"problems": 0, "warnings": warnings}


def problems_of(file: Path, work: Path, gates: Path, sample: int) -> Problems:
    """All that stands in the way of a study, and what to think of. Nothing is written."""
    problems, parts = Problems(), list[tuple[Study, tuple[str, ...]]]()
    with problems.noting(file.name):
        parts.append(readable_part(file))
    for study, faults in parts:
        for fault in faults:
            problems.note(Problem.of(fault, file.name))
        cache = sum(_check_tile_task(entry, file.name, problems) for entry in study.tile_tasks if not study.encoder)
        cohorts = _read_cohorts(study, file.name, problems)
        problems.data = table_of(pieces_of(study, cohorts), study.root)
        for entry in study.endpoints:
            if entry.cohort in cohorts:
                _check_endpoint(entry, cohorts[entry.cohort], study, file.name, problems)
        _check_gates(study, cohorts, gates, file.name, problems)
        spec = _encoder_spec(study, file.name, problems)
        codes = sum(_check_slides(study, name, cohorts, spec, sample, problems) for name in cohorts)
        _check_disk(study, work, codes, cache, problems)
    return problems


def _check_tile_task(entry: TileTaskEntry, file: str, problems: Problems) -> int:
    """Bytes of its decoded tiles. Where the study says where to get the data, missing pieces are rows that say it."""
    key, count = f"tile_tasks, {entry.name}", 0
    if entry.about:
        pieces = pieces_of_task(entry)
        for problem in problems_with(pieces, file, key):
            problems.note(problem)
        if any(piece.is_missing for piece in pieces):
            return 0
    with problems.noting(file, key):
        task = read_task(entry)
        check_resolution(task, TRAINED_HERE.tile_mpp)
        if not isinstance(entry, SlidesEntry):  # their tiles are drawn from outlines, which takes long
            parts = list(task.source.parts(TileField(TRAINED_HERE.tile_px, TRAINED_HERE.tile_mpp)))
            labels = np.concatenate([part.labels for part in parts])
            for name, tiles in zip(task.classes, np.bincount(labels, minlength=len(task.classes)), strict=True):
                if tiles < FEW_TILES:
                    few = f"{tiles} tiles of class {name!r}"
                    problems.note(Problem(file, "", key, few, "more tiles; few teach an encoder little", stops=False))
            check_sources(task, labels, np.concatenate([part.groups for part in parts]))
            count = len(labels)
    return count * 3 * TRAINED_HERE.tile_px**2


def _read_cohorts(study: Study, file: str, problems: Problems) -> dict[str, Cohort]:
    """Those that can be read. Where the study says where to get the data, missing tables are rows that say it."""
    cohorts: dict[str, Cohort] = {}
    for name, entry in study.cohorts.items():
        missing = [piece for piece in pieces_of_cohort(name, entry, {}) if piece.is_missing]
        if entry.about and any("table" in piece.what for piece in missing):
            for problem in problems_with(missing, file, f"cohorts, {name}"):
                problems.note(problem)
            continue
        with problems.noting(entry.table.name, f"cohorts, {name}"):
            cohorts[name] = entry.read()
            if part_to_measure(cohorts[name]) != "external":
                there = f"{len(cohorts[name].patients)} patients, all for training: figures are cross-validated"
                remedy = "nothing; or a column split with train and external, for patients of another hospital"
                problems.note(Problem(entry.table.name, "", "split", there, remedy, stops=False))
    return cohorts


def _check_endpoint(entry: EndpointEntry, cohort: Cohort, study: Study, file: str, problems: Problems) -> None:
    key = f"endpoints, {entry.name}"
    parts: list[Split] = ["train", "external"] if part_to_measure(cohort) == "external" else ["train"]
    for part in parts:
        with problems.noting(cohort.file, key):
            labelled = cohort.labelled(entry.endpoint, part)
            if part == "external":
                _check_external(labelled.targets, cohort.file, key, problems)
                continue
            for warning in warnings_of(labelled.targets, [patient.site for patient in labelled.patients], 0):
                problems.note(Problem.of(warning, cohort.file, key, stops=False))
            with problems.noting(file, key):
                check_folds(labelled.targets, study.folds, f"endpoint {entry.name}")
    for column in entry.covariates:
        with problems.noting(cohort.file, f"covariates, {entry.name}"):
            covariates_of(cohort.patients, (column,))


def _check_external(targets: Targets, file: str, key: str, problems: Problems) -> None:
    """Without external patients of each class, or of two grades, the figure that decides is not defined."""
    names = names_of(targets)
    present = [name for name, patients in zip(names, class_counts(targets), strict=True) if patients]
    if len(present) == len(names) or (isinstance(targets, Grades) and len(present) > 1):
        return
    absent = ", ".join(repr(name) for name in names if name not in present)
    there = f"no external patient is {absent}: the figure that decides is not defined"
    wanted = (
        "external patients of two grades at least" if isinstance(targets, Grades) else "external patients of each class"
    )
    problems.note(Problem(file, "", key, there, wanted, stops=False))


def _check_gates(study: Study, cohorts: Mapping[str, Cohort], file: Path, study_file: str, problems: Problems) -> None:
    gates: dict[str, Gate] = {}
    with problems.noting(file.name):
        gates = read_gates(file)
    for entry in study.endpoints:
        gate, key = (gates | study.gates).get(entry.model_name), f"endpoints, {entry.name}, gate"
        part = part_to_measure(cohorts[entry.cohort]) if entry.cohort in cohorts else "external"
        wanted = f"{part}.{DECIDING[entry.kind]}"
        if gate is None:
            there, remedy = "no gate: its model is registered and not promoted", EXAMPLE.format(wanted)
            problems.note(Problem(study_file, "", key, there, f"under the endpoint {remedy}", stops=False))
        elif entry.cohort in cohorts and str(gate.figure) != wanted:
            source = study_file if entry.gate else file.name
            there = f"{gate.figure}, which `main` does not measure or which does not decide a {entry.kind}"
            problems.note(Problem(source, "", key, there, f"figure: {wanted}"))


def _encoder_spec(study: Study, file: str, problems: Problems) -> EncoderSpec:
    """Of the registered encoder that the study names, else of one that is trained."""
    if study.encoder:
        with problems.noting(file, "encoder"):
            return load_encoder(encoder_file(study.encoder), device="cpu").spec
    return TRAINED_HERE


def _check_slides(
    study: Study, name: str, cohorts: Mapping[str, Cohort], spec: EncoderSpec, sample: int, problems: Problems
) -> int:
    """Bytes that the codes of a cohort will take, by its opened slides. sample: slides of all cohorts to open."""
    entry, cohort = study.cohorts[name], cohorts[name]
    file, rows = entry.table.name, [row for patient in cohort.patients for row in patient.rows]
    if missing := missing_files(rows):
        numbers = [str(row.number) for row, _ in missing[:MOST_NAMED]]
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        there = f"{len(missing)} of {len(rows)} slides: {missing[0][0].slide.path}: {missing[0][1]}"
        remedy = "paths relative to the folder of the table, or absolute ones"
        if entry.about:
            remedy = f"get them from {entry.about}; or name their patients under leave_out"
        problems.note(Problem(file, ", ".join(numbers) + more, entry.slide, there, remedy))
    absent = {row.number for row, _ in missing}
    most = sample and max(1, sample // len(cohorts))
    chosen = spread_rows([row for row in rows if row.number not in absent], most)
    slides: list[OpenedSlide] = []
    with problems.noting(file, f"cohorts, {name}, compress"):
        slides = opened(chosen, spec, entry.compress.parameters)
    for slide in slides:
        if slide.fault:
            problems.note(Problem.of(slide.fault, stops=False).moved(file, str(slide.row.number), entry.slide))
    tiles = [slide.tiles for slide in slides if slide.tiles is not None]
    if len(tiles) < len(slides) / 2:
        there = f"{len(slides) - len(tiles)} of {len(slides)} opened slides cannot be used"
        problems.note(Problem(file, "", entry.slide, there, "see the rows of these slides"))
    variants = entry.compress.parameters.get("variants", 1)
    code_bytes = BYTES_A_NUMBER * spec.code_size * variants + BYTES_A_PLACE
    return round(np.mean(tiles) * len(rows) * code_bytes) if tiles else 0


def _check_disk(study: Study, work: Path, codes: int, cache: int, problems: Problems) -> None:
    """codes, cache: bytes of all; what is there already counts."""
    place = next(folder for folder in (work.absolute(), *work.absolute().parents) if folder.is_dir())
    patterns = [f"codes/{name}-*/*.h5" for name in study.cohorts] + [f"tiles/{t.name}-*/*" for t in study.tile_tasks]
    there = sum(file.stat().st_size for pattern in patterns for file in work.glob(pattern))
    needed, free = max(0, codes + cache - there), shutil.disk_usage(place).free
    if needed > free:
        remedy = "another work= with more space, or less to keep: a larger min_tissue, overlap_px: 0, variants: 1"
        space = f"{free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB needed for codes and decoded tiles"
        problems.note(Problem(str(place), "", "work", space, remedy))
