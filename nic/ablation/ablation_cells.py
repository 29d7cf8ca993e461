"""The cells of an ablation: one patient network on the codes of one encoder, for one endpoint and one seed.

A cell is trained once. Its answers are kept in a file of its own, under a name that follows from all that decides them,
so that a run that was killed goes on, and nothing is trained twice.
"""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nic.child_process import end_with_parent
from nic.compression.compressed_slide import CompressedSlide
from nic.errors import StudyError, TrainingEnded
from nic.patients.choices import NetworkName, Recipe, networks_named
from nic.patients.cohort import Labelled, Patient
from nic.shared_files import drafted
from nic.study import EndpointEntry, read_study
from nic.tracking.digests import digest
from nic.tracking.source_digest import PROJECT, files_digest, imported_files

if TYPE_CHECKING:
    from nic.patients.glimpses import Glimpses

NO_ENCODER = "pixels"
"""Stands for the encoder of a cell whose network takes the slides themselves."""
MITOSIS_COUNTING, STREAMING = "mitosis-counting", "streaming-cnn"
"""Comparators: they stand where a cell has the name of its network."""
LOOK_S = 5.0
"""Seconds between two looks at how far the processes are."""


@dataclass(frozen=True, order=True)
class Cell:
    """encoder: name of its arm. network: of nic.patients.choices, or a comparator. seed: of the network's training."""

    encoder: str
    encoder_seed: int
    endpoint: str
    network: str
    seed: int


@dataclass(frozen=True)
class SlidePath:
    """Where a network of glimpses looked at a slide, in its order: row and column on the slide's grid."""

    slide_id: str
    places: Sequence[Sequence[int]]


@dataclass(frozen=True)
class CellAnswers:
    """Scores of the measured patients, [N] or of several classes [N, C], higher as the endpoint's direction.

    fold: [N] where the patients were answered by networks of different folds, else None. seconds: of the training.
    path: where a network of glimpses looked, at the first of the measured slides.
    """

    patients: tuple[str, ...]
    scores: NDArray[np.float64]
    fold: NDArray[np.intp] | None
    seconds: float
    path: SlidePath | None = None

    def save(self, file: Path) -> None:
        content = {
            "patients": self.patients,
            "scores": self.scores.tolist(),
            "fold": None if self.fold is None else self.fold.tolist(),
            "seconds": self.seconds,
            "path": None if self.path is None else asdict(self.path),
        }
        with drafted(file) as draft:
            draft.write_text(json.dumps(content))

    @classmethod
    def load(cls, file: Path) -> "CellAnswers":
        content = json.loads(file.read_text())
        fold = None if content["fold"] is None else np.array(content["fold"], np.intp)
        path = SlidePath(**content["path"]) if content.get("path") else None  # files of before have none
        return cls(tuple(content["patients"]), np.array(content["scores"], np.float64), fold, content["seconds"], path)


@dataclass(frozen=True)
class CellTraining:
    """How each cell is trained. folds: 0 trains one network on all training patients, and measures the external ones;
    else one for each fold, and each training patient is answered by the network that never saw that patient. Raises
    StudyError for fewer than 0 epochs."""

    epochs: int
    learning_rate: float
    folds: int

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise StudyError(f"epochs={self.epochs}; wanted 1 or more, or 0 for as many as train_patients takes")

    def recipe(self, network: NetworkName) -> Recipe:
        return Recipe(network, self.epochs, self.learning_rate)


@dataclass(frozen=True)
class CellBatch:
    """Cells of one endpoint on one folder of codes: a process opens the codes once for them. files: of the answers."""

    study: Path
    endpoint: str
    codes: Path
    training: CellTraining
    files: tuple[tuple[Cell, Path], ...]


def cell_file(folder: Path, cell: Cell, entry: EndpointEntry, cohort: str, codes: str, training: CellTraining) -> Path:
    """Where the answers of a cell are kept. cohort, codes: digests of the labels and of the compressed slides."""
    decides = {
        "cohort": cohort,
        "codes": codes,
        "endpoint": entry.endpoint.definition,
        "network": cell.network,
        "seed": cell.seed,
        "training": asdict(training),
        "code": training_code(),
    }
    return folder / f"{cell.endpoint}-{cell.network}-{digest(decides)}.json"


@cache
def training_code() -> str:
    """Digest of the source that trains patient networks."""
    return files_digest(imported_files([PROJECT / "nic" / "patients" / "ensemble.py"]))


def train_cells(batches: Sequence[CellBatch], processes: int) -> None:
    """Train the cells, in processes of one thread each: the grids of a step are too small to share among threads.

    Finished cells stay. After the first error every process ends with the cell that it trains. Raises what the training
    of a network raises, TrainingEnded where the system ends a process.
    """
    total = sum(len(batch.files) for batch in batches)
    if not total:
        return
    context = get_context("spawn")
    failed = context.Event()
    with (
        ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(failed,)) as pool,
        tqdm(total=total, desc="networks", unit="network", smoothing=0.05) as bar,
    ):
        waiting = {pool.submit(_train_batch, batch): batch for batch in batches}
        ended_cells = 0
        try:
            while waiting:
                ended, _ = wait(waiting, timeout=LOOK_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                    ended_cells += len(waiting.pop(future).files)
                under_way = sum(file.is_file() for batch in waiting.values() for _, file in batch.files)
                bar.update(ended_cells + under_way - bar.n)
        except BrokenProcessPool as error:
            raise TrainingEnded(
                f"one of {processes} processes that train networks was ended from outside, mostly because memory was "
                "full; run again: what is finished is kept"
            ) from error
        except BaseException:
            failed.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


_FAILED: list[Event] = []
"""In a process of the pool: whether another one has failed."""


def _begin(failed: Event) -> None:
    import torch

    end_with_parent()
    torch.set_num_threads(1)
    _FAILED.append(failed)


def _train_batch(batch: CellBatch) -> None:
    for file, answers in _answered(batch):
        answers.save(file)
        if _FAILED[0].is_set():
            return


def _answered(batch: CellBatch) -> Iterator[tuple[Path, CellAnswers]]:
    from nic.patients.crops import gather_cells  # here: torch is slow to import, and the main process needs none
    from nic.patients.ensemble import fit_folds
    from nic.patients.glimpses import Glimpses
    from nic.patients.training import fit_network, scores_of

    study = read_study(batch.study)
    entry = study.endpoint(batch.endpoint)
    cohort = study.cohorts[entry.cohort].read()
    labelled = cohort.labelled(entry.endpoint, "train")
    gathered = gather_cells(labelled.patients, batch.codes)
    train, cells = labelled.take(gathered.has_codes), gathered.cells
    measured, unseen = train, cells
    if not batch.training.folds:
        labelled = cohort.labelled(entry.endpoint, "external")
        external = gather_cells(labelled.patients, batch.codes, gathered.training_codes)
        measured, unseen = labelled.take(external.has_codes), external.cells
    for cell, file in batch.files:
        start, (network,) = time.perf_counter(), networks_named([cell.network])
        recipe = batch.training.recipe(network)
        fold: NDArray[np.intp] | None = None
        path: SlidePath | None = None
        if batch.training.folds:
            ensemble = fit_folds(cells, train.targets, recipe, folds=batch.training.folds, seed=cell.seed)
            scores, fold = ensemble.out_of_fold, ensemble.fold
        else:
            trained = fit_network(cells, train.targets, recipe, cell.seed)
            scores = scores_of(trained, unseen)
            if isinstance(trained, Glimpses):
                path = path_on(trained, measured.patients[0], batch.codes)
        yield file, CellAnswers(ids_of(measured), scores, fold, time.perf_counter() - start, path)


def path_on(network: "Glimpses", patient: Patient, codes: Path) -> SlidePath:
    """On the first slide of a patient that has codes."""
    from nic.patients.glimpses import glimpse_path

    files = (codes / f"{slide.slide_id}.h5" for slide in patient.slides)
    slide = CompressedSlide.load(next(file for file in files if file.is_file()))
    return SlidePath(slide.slide_id, glimpse_path(network, slide).tolist())


def ids_of(labelled: Labelled) -> tuple[str, ...]:
    return tuple(patient.patient_id for patient in labelled.patients)
