"""The codes of patients on their grids: read from files, cropped and turned, and padded to batches for a network."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from nic.compression.compatibility import TrainingCodes, check_codes
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.encoder.spec import EncoderSpec
from nic.errors import NoTissue
from nic.patients.cohort import Patient
from nic.patients.mapped_file import MappedFile
from nic.slides.d4 import D4_VARIANTS
from nic.training_device import pinned

SAMPLED_CELLS = 1 << 17
"""Size of a sample of codes, where a distribution is estimated."""
RUN_CELLS = 1 << 17
"""Most cells in one forward and backward pass. It bounds the memory of a step."""


@dataclass(frozen=True)
class SlideCells:
    """Cells of a slide that have a code.

    codes: [N, D] float16. row, col: [N] int64, counted from the tissue's edge. variants: [8, N, D] float16, codes of
    the D4 variants of the tiles, where they were made.
    """

    codes: torch.Tensor
    row: torch.Tensor
    col: torch.Tensor
    variants: torch.Tensor | None = None

    @classmethod
    def of(cls, slide: CompressedSlide, variants: NDArray[np.float16] | None = None) -> "SlideCells":
        """Glass around the tissue is cut away. Raises NoTissue when no cell has a code."""
        if len(slide.codes) == 0:
            raise NoTissue(f"{slide.slide_id}: no cell has a code")
        row, col = (torch.from_numpy(np.asarray(a, np.int64)) for a in (slide.row, slide.col))
        codes = torch.from_numpy(np.asarray(slide.codes, np.float16))
        of_variants = None if variants is None else torch.from_numpy(variants)
        return cls(codes, row - row.min(), col - col.min(), of_variants)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that hold all cells."""
        return int(self.row.max()) + 1, int(self.col.max()) + 1

    @property
    def codes_shape(self) -> tuple[int, int]:
        """Cells and numbers in a code."""
        cells, code_size = self.codes.shape
        return cells, code_size

    @cached_property
    def centre_odds(self) -> NDArray[np.float64]:
        """Chance of each cell to be the centre of a crop, [N]: its squared distance from where there is no code."""
        rows, cols = self.shape
        mask = np.zeros((rows + 2, cols + 2), np.uint8)  # a margin, so that the grid's edge is an edge
        mask[self.row + 1, self.col + 1] = 1
        distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[self.row + 1, self.col + 1]
        # Squares of distances on a grid are whole numbers: rounded, they are free of the transform's single precision.
        odds = np.sqrt(np.rint(np.square(distance, dtype=np.float64))) ** 2
        return np.asarray(odds / odds.sum())

    def crop(self, centre: int, side: int) -> "SlideCells":
        """The cells in a square of `side` cells around cell number `centre`, counted from the square's corner."""
        row, col = self.row - (self.row[centre] - side // 2), self.col - (self.col[centre] - side // 2)
        inside = (row >= 0) & (row < side) & (col >= 0) & (col < side)
        return SlideCells(self.codes[inside], row[inside], col[inside])

    def d4_variant(self, number: int) -> "SlideCells":
        """One of the eight D4 variants of the grid, see nic.slides.d4; with the codes of such tiles, if known."""
        codes = self.codes if self.variants is None else self.variants[number]
        rows, cols = self.shape
        row = rows - 1 - self.row if number & 1 else self.row
        col = cols - 1 - self.col if number & 2 else self.col
        return SlideCells(codes, col, row) if number & 4 else SlideCells(codes, row, col)

    def opened(self) -> "SlideCells":
        """Itself: it is in memory."""
        return self


@dataclass(frozen=True, slots=True)
class FiledCells:
    """The same cells in their file: what is held of them here does not grow with their number.

    edge: row and column of the tissue's edge in the file's grid. shape: rows and columns that hold all cells.
    """

    file: MappedFile
    edge: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def of(cls, slide: CompressedSlide, path: Path) -> "FiledCells":
        """slide: what `load` read and checked in the file. Raises NoTissue when no cell has a code."""
        shape = SlideCells.of(slide).shape
        file = MappedFile.of(path, ("features", "features_d4", "row", "col"))
        return cls(file, (int(slide.row.min()), int(slide.col.min())), shape)

    @property
    def codes_shape(self) -> tuple[int, int]:
        """Cells and numbers in a code."""
        cells, code_size = self.file.datasets["features"].shape
        return cells, code_size

    def opened(self) -> SlideCells:
        """Codes and variants mapped, so that what is not touched is not read. Raises CodesError, see MappedFile."""
        arrays = self.file.arrays()
        row, col = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ("row", "col"))
        variants = torch.from_numpy(arrays["features_d4"]) if "features_d4" in arrays else None
        return SlideCells(torch.from_numpy(arrays["features"]), row - self.edge[0], col - self.edge[1], variants)


@dataclass(frozen=True)
class PatientCells:
    """All slides of one patient, each in memory or in its file."""

    patient_id: str
    slides: tuple[SlideCells | FiledCells, ...]

    @property
    def code_bytes(self) -> int:
        """Bytes of all codes, which are float16."""
        return sum(2 * cells * code_size for cells, code_size in (slide.codes_shape for slide in self.slides))

    def cells_within(self, side: int) -> int:
        """Cells of the dense grids, glass included and each at most `side` across: what a forward pass costs."""
        return sum(min(rows, side) * min(cols, side) for rows, cols in (slide.shape for slide in self.slides))


@dataclass(frozen=True)
class Batch:
    """Slides of some patients, padded to the largest grid; only cells with a code are held.

    cells: [N, D] float16. place: [N] int64, each cell's index in [S, H, W]. valid: [S, 1, H, W] of 0 and 1. patient:
    [S] int64, which of the batch's `patients` a slide belongs to.
    """

    cells: torch.Tensor
    place: torch.Tensor
    valid: torch.Tensor
    patient: torch.Tensor
    patients: int

    @cached_property
    def codes(self) -> torch.Tensor:
        """Dense codes, [S, D, H, W] float32, 0 where not valid."""
        return self.dense(self.cells.float())

    def dense(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the cells, [N, C], on the grids: [S, C, H, W], channels last, 0 where not valid."""
        slides, _, height, width = self.valid.shape
        flat = values.new_zeros(slides * height * width, values.shape[1]).index_copy(0, self.place, values)
        return flat.view(slides, height, width, -1).permute(0, 3, 1, 2)

    def pinned(self, device: torch.device) -> "Batch":
        """In pinned memory, from which a GPU copies while the CPU goes on."""
        return self._each(lambda tensor: pinned(tensor, device))

    def to(self, device: torch.device) -> "Batch":
        """On the device. A copy from pinned memory is queued, and the call does not wait for it."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        cells, place, valid, patient = map(change, (self.cells, self.place, self.valid, self.patient))
        return Batch(cells, place, valid, patient, self.patients)


@dataclass(frozen=True)
class Gathered:
    """The codes of a list of patients, as `gather_cells` finds them in a folder.

    cells: of the patients that have codes. has_codes: [N] bool, which of the listed patients these are. missing: slides
    without a file. runtimes, pixel_versions: how the codes were made, with the number of slides of each.
    """

    cells: tuple[PatientCells, ...]
    has_codes: NDArray[np.bool_]
    missing: tuple[str, ...]
    encoder: EncoderSpec
    tiling: Tiling
    runtimes: Counter[str]
    pixel_versions: Counter[int]

    @property
    def training_codes(self) -> TrainingCodes:
        """What nic.compression.compatibility compares other codes with."""
        owner = "the training slides"
        runtimes, versions = tuple(self.runtimes), tuple(self.pixel_versions)
        return TrainingCodes(owner, self.encoder.sha256, self.tiling, runtimes, versions)

    @property
    def mixture(self) -> str:
        """How the codes were made, as a sentence, where runtimes or pixel versions differ; else empty."""
        counts = (("runtime", self.runtimes), ("pixel_version", self.pixel_versions))
        parts = [
            ", ".join(f"{name}={value} ({slides} slides)" for value, slides in sorted(counter.items()))
            for name, counter in counts
            if len(counter) > 1
        ]
        return "; ".join(parts)


def gather_cells(patients: Sequence[Patient], codes: Path, training: TrainingCodes | None = None) -> Gathered:
    """Check the files `codes`/<slide_id>.h5 of all patients. A slide without a file is left out, and is listed.

    training: the codes that these are used with; None compares them with one another. The arrays stay in the files, so
    that memory does not grow with the cohort. Raises NoTissue when no slide has a file, CodesError when a file is
    damaged, ForeignCodes by the rule of nic.compression.compatibility.
    """
    first: CompressedSlide | None = None
    gathered: list[PatientCells] = []
    has_codes, missing = np.zeros(len(patients), np.bool_), []
    runtimes: Counter[str] = Counter()
    pixel_versions: Counter[int] = Counter()
    for place, patient in enumerate(patients):
        slides = []
        for source in patient.slides:
            path = codes / f"{source.slide_id}.h5"
            if not path.is_file():
                missing.append(source.slide_id)
                continue
            slide = CompressedSlide.load(path)
            CompressedSlide.check_variants(path)
            first = first or slide
            training = training or TrainingCodes.like(slide)
            check_codes(slide, training)
            runtimes[slide.encoding.runtime] += 1
            pixel_versions[slide.encoding.pixel_version] += 1
            slides.append(FiledCells.of(slide, path))
        if slides:
            has_codes[place] = True
            gathered.append(PatientCells(patient.patient_id, tuple(slides)))
    if first is None:
        raise NoTissue(
            f"{codes.name}: no compressed slide of {len(patients)} patients; run `compress` on the cohort first"
        )
    tiling = first.tiling.of_any_slide
    return Gathered(tuple(gathered), has_codes, tuple(missing), first.encoder, tiling, runtimes, pixel_versions)


def draw_crops(patient: PatientCells, side: int, rng: np.random.Generator, whole: int) -> PatientCells:
    """The patient in one of the eight D4 variants. A slide of more than `whole` cells across gives one crop.

    The chance of a cell to be the centre of a crop grows with the square of its distance from the edge, as published.
    """
    number = int(rng.integers(D4_VARIANTS))
    slides = []
    for slide in patient.slides:
        cells = slide.opened()
        variant, large = cells.d4_variant(number), max(slide.shape) > whole
        slides.append(variant.crop(int(rng.choice(len(variant.row), p=cells.centre_odds)), side) if large else variant)
    return PatientCells(patient.patient_id, tuple(slides))


def make_batch(patients: Sequence[PatientCells]) -> Batch:
    """All slides of the patients, padded to the largest grid."""
    slides = [(which, slide.opened()) for which, patient in enumerate(patients) for slide in patient.slides]
    shapes = [slide.shape for _, slide in slides]
    height, width = max(rows for rows, _ in shapes), max(cols for _, cols in shapes)
    place = torch.cat([(n * height + slide.row) * width + slide.col for n, (_, slide) in enumerate(slides)])
    valid = torch.zeros(len(slides) * height * width)
    valid[place] = 1
    cells = torch.cat([slide.codes for _, slide in slides])
    patient = torch.tensor([which for which, _ in slides])
    return Batch(cells, place, valid.view(-1, 1, height, width), patient, len(patients))


def runs_of(sizes: Sequence[int]) -> list[slice]:
    """Slices of consecutive items with at most RUN_CELLS cells together. A larger item has a slice of its own."""
    runs, start, total = [], 0, 0
    for place, size in enumerate(sizes):
        if place > start and total + size > RUN_CELLS:
            runs.append(slice(start, place))
            start, total = place, 0
        total += size
    return [*runs, slice(start, len(sizes))]


def some_codes(patients: Sequence[PatientCells]) -> torch.Tensor:
    """A sample of codes spaced evenly over all slides, [N, D] float16: SAMPLED_CELLS, or all if they are fewer."""
    slides = [slide for patient in patients for slide in patient.slides]
    step = -(-sum(slide.codes_shape[0] for slide in slides) // SAMPLED_CELLS)
    counts = [-(-slide.codes_shape[0] // step) for slide in slides]
    # One array from the start: many small ones, kept while files are mapped and unmapped, fragment the heap.
    codes = torch.empty(sum(counts), slides[0].codes_shape[1], dtype=torch.float16)
    for part, slide in zip(torch.split(codes, counts), slides, strict=True):
        part.copy_(slide.opened().codes[::step])
    return codes
