"""The comparators of an ablation: other methods that answer one endpoint for the same patients."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from tqdm import tqdm

from nic.ablation.ablation_cells import MITOSIS_COUNTING, NO_ENCODER, STREAMING, Cell, CellAnswers, ids_of
from nic.ablation.arms import TUNED, UNIFORM
from nic.comparators.mitosis_counting import mitosis_scores
from nic.comparators.mitosis_detections import MitosisOptions, positive_class
from nic.comparators.streaming_cnn import StreamingOptions, streaming_scores
from nic.compression.compress_cohort import compress_cohort
from nic.encoder.loading import load_encoder
from nic.errors import StudyError
from nic.patients.cohort import Labelled
from nic.stages.ablation import Ablation
from nic.stages.ablation_hours import comparator_part
from nic.stages.steps import part_to_measure
from nic.study import EndpointEntry
from nic.tasks.read_task import read_task
from nic.tracking.digests import digest
from nic.tracking.encoder_heads import load_heads
from nic.tracking.registry import encoder_file
from nic.tracking.source_digest import PROJECT, files_digest, imported_files

COMPARATORS = (MITOSIS_COUNTING, STREAMING)


def comparators_at_hand(ablation: Ablation, names: Sequence[str], endpoint: str) -> list[str]:
    """Those of the methods that can answer the endpoint; prints why another is left out. names: of COMPARATORS.

    Raises StudyError for an unknown method or endpoint, EncoderError where the mitosis task has no class of its name.
    """
    if unknown := [name for name in names if name not in COMPARATORS]:
        raise StudyError(f"no comparator {unknown[0]!r}; there are {', '.join(COMPARATORS)}")
    entry = ablation.study.endpoint(endpoint)
    lacks = {name: _lacking(name, ablation, entry) for name in names}
    for name, lack in lacks.items():
        if lack:
            print(f"{name} is left out: {lack}")
    return [name for name in names if not lacks[name]]


def compare_methods(ablation: Ablation, names: Sequence[str], endpoint: str) -> None:
    """Let each method answer the endpoint's external patients, unless its answers are kept.

    names: of `comparators_at_hand`.
    """
    entry = ablation.study.endpoint(endpoint)
    for name in names:
        train, external = (ablation.cohorts[entry.cohort].labelled(entry.endpoint, s) for s in ("train", "external"))
        method = {MITOSIS_COUNTING: _count_mitoses, STREAMING: _stream}[name]
        method(ablation, entry, train, external)
        # A method that goes on from kept slides or epochs takes a part of its time, which says nothing of the pace.
        ablation.workload.finish(comparator_part(name), 0.0, new=0.0)
        print(ablation.workload)


def _lacking(name: str, ablation: Ablation, entry: EndpointEntry) -> str:
    """What a method lacks, in words; empty where it lacks nothing."""
    if part_to_measure(ablation.cohorts[entry.cohort]) != "external":
        return f"cohort {entry.cohort} has no external patients"
    if name == MITOSIS_COUNTING:
        task = MitosisOptions().task
        tasks = [read_task(tile_task) for tile_task in ablation.study.tile_tasks if tile_task.name == task]
        if not tasks:
            return f"the study has no tile task {task!r}"
        if not {TUNED, UNIFORM} & {arm.name for arm in ablation.arms}:
            return f"its head is that of {TUNED} or {UNIFORM}, and encoders names neither"
        if entry.kind == "multiclass":
            return f"a count has an order, the classes of {entry.name} have none"
        positive_class(task, tasks[0].classes, MitosisOptions().positive)
    return ""


def _count_mitoses(ablation: Ablation, entry: EndpointEntry, train: Labelled, external: Labelled) -> None:
    """Tiles overlap by half, so that each mitosis lies in the middle of one."""
    arm = next(name for name in (TUNED, UNIFORM) if (name, 0) in ablation.encoders)
    encoder, options = ablation.encoders[arm, 0], MitosisOptions()
    codes = ablation.work / "overlapping" / entry.cohort / encoder.sha256[:8]

    def answer() -> CellAnswers:
        start = time.perf_counter()
        loaded, usual = load_encoder(encoder_file(encoder.version)), ablation.options[entry.cohort]
        half = replace(usual, tiling=replace(usual.tiling, overlap_px=loaded.spec.tile_px // 2))
        slides = [slide for of in (train, external) for patient in of.patients for slide in patient.slides]
        compress_cohort(slides, loaded, codes, half)
        scores = mitosis_scores(train, external, codes, load_heads(encoder.version), options)
        return CellAnswers(ids_of(external), scores, None, time.perf_counter() - start)

    cell = Cell(arm, 0, entry.name, MITOSIS_COUNTING, 0)
    _kept(ablation, cell, entry, {"encoder": encoder.sha256, **asdict(options)}, "mitosis_counting", answer)


def _stream(ablation: Ablation, entry: EndpointEntry, train: Labelled, external: Labelled) -> None:
    options, folder = StreamingOptions(), ablation.work / "streaming"

    def answer() -> CellAnswers:
        start = time.perf_counter()
        with tqdm(total=options.epochs, desc=STREAMING, unit="epoch") as bar:

            def on_epoch(epoch: int, loss: float) -> None:
                bar.update(epoch + 1 - bar.n)  # a training that goes on begins at a later epoch

            scores = streaming_scores(train, external, options, 0, folder, on_epoch)
        shutil.rmtree(folder)
        return CellAnswers(ids_of(external), scores, None, time.perf_counter() - start)

    cell = Cell(NO_ENCODER, 0, entry.name, STREAMING, 0)
    _kept(ablation, cell, entry, asdict(options), "streaming_cnn", answer)


def _kept(
    ablation: Ablation,
    cell: Cell,
    entry: EndpointEntry,
    options: dict[str, object],
    module: str,
    answer: Callable[[], CellAnswers],
) -> None:
    """Take the answers of a cell from their file, or compute and keep them."""
    decides = {
        "cohort": entry.cohort_digest(ablation.cohorts[entry.cohort]),
        "endpoint": entry.endpoint.definition,
        "options": options,
        "code": files_digest(imported_files([PROJECT / "nic" / "comparators" / f"{module}.py"])),
    }
    file = ablation.work / "cells" / f"{entry.name}-{cell.network}-{digest(decides)}.json"
    ablation.files[cell] = file
    if not file.is_file():
        answer().save(file)
