"""How near patient training comes to the bare step's speed, and what memory it takes as patients grow in number.

    python -m benchmarks.patients [--patients 500] [--side 300] [--tissue 0.4] [--endpoint regression] [--epochs 3]
        [--network grid-cnn] [--folder work/benchmark] [--times 3]

Made codes of 128 numbers on grids of side x side cells lie in files as `compress` leaves them (500 patients with 300 x
300 take 4.6 GB). The loop is `fit_network`: codes mapped from the files, turned, made dense, forward, backward,
optimizer. The bare step is the same network's passes, two of survival, and the same optimizer in the same precision, on
batches that were drawn before and stay in memory: a quarter of the patients and at least 16, or as many as have
KEPT_BYTES of codes. Fewer would stay in the processor's cache. Both take turns, so that they suffer alike when the
machine is busy. Beside wall time stands processor time, which neighbours on a shared machine disturb less. Memory is
what the process itself holds (RssAnon): pages of the files belong to the system, which drops them when it needs them.
It is taken with a quarter of the patients and with all of them, after opening and at its peak in training, each in a
process of its own; the difference is what a patient costs. Descriptors and maps that stay open are counted too: where
nobody raised it, a process may have 1024 of the one and 65530 of the other.
"""

import argparse
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.patients.choices import Recipe
from nic.patients.cohort import Patient, SlideRow
from nic.patients.crops import Batch, PatientCells, gather_cells
from nic.patients.networks import PatientNetwork
from nic.patients.schedule import BATCH_PATIENTS, RISK_PATIENTS, schedule_of
from nic.patients.targets import Survival, Targets, Values
from nic.patients.training import (
    KEPT_BYTES,
    Chunk,
    Scored,
    backward_of_all,
    backward_of_mean,
    chunks_of,
    drawn,
    fit_network,
    optimizer_of,
    scores_in_turn,
)
from nic.patients.training_loss import loss_of
from nic.patients.untrained import untrained
from nic.slides.grid import TileGrid
from nic.slides.slide import SlideSource
from nic.training_device import precision_of, training_device

CODE_SIZE = 128
ENCODER = EncoderSpec(CODE_SIZE, 64, 1.0, 0.5, "random", (), sha256="b" * 64)


def make_codes(folder: Path, patients: int, side: int, tissue: float) -> list[Patient]:
    """Patients of one slide, tissue a disc of that share of the grid; files that are there are kept."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.hypot(y, x) <= side * np.sqrt(tissue / np.pi)
    row, col = (a.astype(np.int32) for a in np.nonzero(disc))
    made = []
    for number in range(patients):
        slide_id = f"{side}-{tissue:g}-{number:04d}"
        if not (folder / f"{slide_id}.h5").exists():
            codes = rng.standard_normal((len(row), CODE_SIZE), np.float32).astype(np.float16)
            grid = TileGrid(64, 1.0, 0.5, (0, 0), side, side)
            slide = CompressedSlide(
                slide_id, codes, row, col, grid, disc, np.zeros_like(disc), ENCODER, slide_id, Tiling(ENCODER.tile_um)
            )
            slide.save(folder / f"{slide_id}.h5")
        source = SlideSource(slide_id, folder / f"{slide_id}.tif", None)
        made.append(Patient(slide_id, "train", (SlideRow(number + 2, source, {}),)))
    return made


def labels(endpoint: str, patients: int) -> Targets:
    rng = np.random.default_rng(1)
    if endpoint == "survival":
        return Survival(rng.exponential(30, patients) + 0.1, rng.random(patients) < 0.5)
    return Values(rng.normal(size=patients))


class Bare:
    """The passes and the optimizer, on batches that are drawn once and stay in memory."""

    def __init__(self, network: PatientNetwork, cells: list[PatientCells], targets: Targets, passes: int) -> None:
        device = training_device()
        self.precision = precision_of(device) if device.type == "cuda" else torch.float32
        self.network = network.to(device).train()
        self.loss, self.size = loss_of(targets), len(cells)
        self.compares, self.passes = isinstance(targets, Survival), passes
        parts = np.array_split(np.arange(len(cells)), schedule_of(Recipe(epochs=1), targets).steps)
        plan = [chunks_of(network, cells, part, np.random.default_rng(0)) for part in parts]
        self.steps = [[(chunk, drawn(network, cells, device, chunk)[1].to(device)) for chunk in step] for step in plan]
        self.optimizer = optimizer_of(list(network.parameters()), device, 1e-3)

    def step(self, batches: list[tuple[Chunk, Batch]]) -> None:
        self.optimizer.zero_grad()
        if self.compares:
            backward_of_all(self.loss, [self.one_pass(batches) for _ in range(self.passes)])
        else:
            backward_of_mean(self.loss, self.one_pass(batches), sum(len(chunk.patients) for chunk, _ in batches))
        self.optimizer.step()

    def one_pass(self, batches: list[tuple[Chunk, Batch]]) -> Iterator[Scored]:
        return scores_in_turn(self.network, batches, self.precision)

    def seconds_a_patient(self, epochs: int) -> np.ndarray:
        start = now()
        for _ in range(epochs):
            for batches in self.steps:
                self.step(batches)
        return (now() - start) / epochs / self.size


def now() -> np.ndarray:
    """Seconds on the clock, and of this process on all cores."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def own_mib() -> float:
    """Memory of the process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


class Peak:
    """Most of the process's own memory while it is entered, looked at twenty times a second."""

    def __enter__(self) -> "Peak":
        self.mib, self.done = own_mib(), threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.05):
            self.mib = max(self.mib, own_mib())


@dataclass(frozen=True)
class Measured:
    """Of a process of its own. opening_ms: a patient. held_mib: by all, before training. peak_mib: in training.

    descriptors, maps: open after opening, more than before. seconds: of each epoch, a patient's in the loop and in the
    bare step after it, on the clock and of processors.
    """

    patients: int
    opening_ms: float
    held_mib: float
    descriptors: int
    maps: int
    peak_mib: float
    seconds: list[tuple[np.ndarray, np.ndarray]]


def measure(given: argparse.Namespace, count: int, epochs: int) -> Measured:
    """Open and train the first patients."""
    patients = make_codes(given.folder, count, given.side, given.tissue)
    few = list(gather_cells(patients[: max(BATCH_PATIENTS, given.patients // 4)], given.folder).cells)
    few = few[: max(1, KEPT_BYTES // few[0].code_bytes)]
    mib, files, start = held_mib(), open_files(), now()
    cells = gather_cells(patients, given.folder).cells
    opening_ms = (now() - start)[0] / count * 1e3
    held, (descriptors, maps) = held_mib() - mib, (after - b for after, b in zip(open_files(), files, strict=True))
    network = untrained(given.network, few, 1)
    passes = min(2, len(network.chunks(cells[:RISK_PATIENTS])))  # as the loop of a survival endpoint takes
    bare = Bare(network, few, labels(given.endpoint, len(few)), passes)
    seconds: list[tuple[np.ndarray, np.ndarray]] = []
    resumed = [now()]

    def on_epoch(_: int, __: float) -> None:
        loop = (now() - resumed[0]) / count
        seconds.append((loop, bare.seconds_a_patient(max(1, count // bare.size))))
        resumed[0] = now()

    with Peak() as peak:
        fit_network(cells, labels(given.endpoint, count), Recipe(given.network, epochs, 1e-3), 0, on_epoch)
    return Measured(count, opening_ms, held, descriptors, maps, peak.mib, seconds)


def held_mib() -> float:
    """The process's own memory without what the allocator keeps of what was freed."""
    ctypes.CDLL(None).malloc_trim(0)
    return own_mib()


def open_files() -> tuple[int, int]:
    """Open descriptors, and maps of files of codes."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return len(list(Path("/proc/self/fd").iterdir())), sum(line.endswith(".h5") for line in maps)


def compare(given: argparse.Namespace) -> None:
    """A quarter of the patients and all of them, each in a new process with as many passes over patients."""
    make_codes(given.folder, given.patients, given.side, given.tissue)
    epochs = given.epochs + 1  # the first warms up
    few, everyone = (
        in_new_process(measure, given, *wanted)
        for wanted in ((-(-given.patients // 4), 4 * epochs), (given.patients, epochs))
    )
    seconds = np.array(everyone.seconds[1:])  # [epochs, loop and bare step, wall and processor]
    loop, alone = np.median(seconds, axis=0)
    print(f"{given.network}, {given.endpoint}, {given.patients} patients, {given.side} x {given.side} cells")
    for name, (wall, processor) in (("bare step", alone), ("whole loop", loop)):
        print(f"{name:12} {wall * 1e3:9.2f} ms a patient, {processor * 1e3:.2f} of processors")
    print(f"opening      {everyone.opening_ms:9.2f} ms a patient, once")
    print(f"open files   {everyone.descriptors:9d} descriptors and {everyone.maps} maps between two uses")
    for name, less, more in (
        ("memory held", few.held_mib, everyone.held_mib),
        ("in training", few.peak_mib, everyone.peak_mib),
    ):
        each = (more - less) / max(1, everyone.patients - few.patients)
        ends = f"{less:9.1f} MiB with {few.patients} patients, {more:.1f} with {everyone.patients}"
        print(f"{name}  {ends}: {each:.4f} MiB a patient")
    ratio, of_processors = np.median(seconds[:, 1] / seconds[:, 0], axis=0)
    print(f"bare step / whole loop: {ratio:.2f}; of processor time {of_processors:.2f}", flush=True)


def in_new_process(work: Callable[..., Measured], *given: object) -> Measured:
    """Memory of a process depends on what it did before."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--patients", type=int, default=500)
    arguments.add_argument("--side", type=int, default=300, help="cells across a grid")
    arguments.add_argument("--tissue", type=float, default=0.4, help="share of the grid")
    arguments.add_argument("--endpoint", choices=("regression", "survival"), default="regression")
    arguments.add_argument("--network", default="grid-cnn")
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--folder", type=Path, default=Path("work/benchmark"), help="where the codes are kept")
    arguments.add_argument("--times", type=int, default=3, help="how often the whole is measured")
    given = arguments.parse_args()
    for _ in range(given.times):
        compare(given)


if __name__ == "__main__":
    main()
