"""Compressed slides of patients as dense, padded, turned batches for a grid network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.spec import EncoderSpec
from nic.errors import ForeignCodes, NoTissue
from nic.patients.cohort import Patient


@dataclass(frozen=True)
class SlideCells:
    """Cells of a slide that have a code.

    codes: [N, D] float16. row, col: [N] int64, counted from the tissue's edge. variants: [8, N, D] float16, codes of
    the turned tiles, where they were made.
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
        turned = None if variants is None else torch.from_numpy(variants)
        return cls(codes, row - row.min(), col - col.min(), turned)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that hold all cells."""
        return int(self.row.max()) + 1, int(self.col.max()) + 1

    def turned(self, turn: int) -> "SlideCells":
        """The grid in one of its eight turns, see nic.slides.turns; with the turned tiles' codes, if known."""
        codes = self.codes if self.variants is None else self.variants[turn]
        rows, cols = self.shape
        row = rows - 1 - self.row if turn & 1 else self.row
        col = cols - 1 - self.col if turn & 2 else self.col
        return SlideCells(codes, col, row) if turn & 4 else SlideCells(codes, row, col)


@dataclass(frozen=True)
class PatientCells:
    """All slides of one patient."""

    patient_id: str
    slides: tuple[SlideCells, ...]

    @property
    def dense_cells(self) -> int:
        """Cells of the dense grids, glass included: what a forward pass costs."""
        return sum(rows * cols for rows, cols in (slide.shape for slide in self.slides))


@dataclass(frozen=True)
class Batch:
    """Slides of some patients. codes: [S, D, H, W] float32, 0 where not valid. valid: [S, 1, H, W] of 0 and 1.

    patient: [S] int64, which of the batch's `patients` a slide belongs to.
    """

    codes: torch.Tensor
    valid: torch.Tensor
    patient: torch.Tensor
    patients: int


@dataclass(frozen=True)
class Gathered:
    """Patients whose codes were found. found: [N] bool among those asked for. missing: slides without a file."""

    cells: tuple[PatientCells, ...]
    found: NDArray[np.bool_]
    missing: tuple[str, ...]
    encoder: EncoderSpec


def gather_cells(patients: Sequence[Patient], codes: Path) -> Gathered:
    """Load `codes`/<slide_id>.h5 of all patients; a patient is answered from those of his slides that are there.

    Raises NoTissue when nobody has a slide there, ForeignCodes when the slides come from two encoders.
    """
    loaded = [[(s.slide_id, _load(codes, s.slide_id)) for s in patient.slides] for patient in patients]
    present = [[slide for _, slide in of_patient if slide] for of_patient in loaded]
    slides = [slide for of_patient in present for slide in of_patient]
    if not slides:
        raise NoTissue(
            f"{codes.name}: no compressed slide of {len(patients)} patients; run `compress` on the cohort first"
        )
    for slide in slides:
        _check_same_encoder(slides[0], slide)
    return Gathered(
        cells=tuple(
            PatientCells(patient.patient_id, tuple(SlideCells.of(s, _variants(codes, s)) for s in of_patient))
            for patient, of_patient in zip(patients, present, strict=True)
            if of_patient
        ),
        found=np.array([bool(of_patient) for of_patient in present]),
        missing=tuple(slide_id for of_patient in loaded for slide_id, slide in of_patient if slide is None),
        encoder=slides[0].encoder,
    )


def make_batch(patients: Sequence[PatientCells], turns: Sequence[int] | None = None) -> Batch:
    """Dense grids of all slides, padded to the largest. turns: for each patient one of eight; None leaves them."""
    turned = [
        (which, slide if turns is None else slide.turned(turns[which]))
        for which, patient in enumerate(patients)
        for slide in patient.slides
    ]
    shapes = [slide.shape for _, slide in turned]
    height, width = max(rows for rows, _ in shapes), max(cols for _, cols in shapes)
    depth = turned[0][1].codes.shape[1]
    codes = torch.zeros(len(turned), height, width, depth)  # channels last: scattering writes whole codes
    valid = torch.zeros(len(turned), 1, height, width)
    for place, (_, slide) in enumerate(turned):
        codes[place, slide.row, slide.col] = slide.codes.float()
        valid[place, 0, slide.row, slide.col] = 1
    return Batch(codes.permute(0, 3, 1, 2), valid, torch.tensor([which for which, _ in turned]), len(patients))


def _load(codes: Path, slide_id: str) -> CompressedSlide | None:
    path = codes / f"{slide_id}.h5"
    return CompressedSlide.load(path) if path.is_file() else None


def _variants(codes: Path, slide: CompressedSlide) -> NDArray[np.float16] | None:
    return CompressedSlide.load_variants(codes / f"{slide.slide_id}.h5")


def _check_same_encoder(first: CompressedSlide, slide: CompressedSlide) -> None:
    if slide.encoder.sha256 != first.encoder.sha256:
        raise ForeignCodes(
            f"{slide.slide_id}: codes of encoder {slide.encoder.sha256[:12]}, those of {first.slide_id} are of "
            f"{first.encoder.sha256[:12]}; compress all slides with one encoder"
        )
