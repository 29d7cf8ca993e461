"""A compressed slide and its file: sparse codes of tissue tiles, readable by the field's tools."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from nic.compression.compatibility import ANOTHER_TOOL, CodesKind
from nic.compression.content import (
    ROWS,
    VARIANTS,
    rows_fault,
    rows_sha256,
    seal,
    turns_of,
    variants_fault,
    variants_sha256,
)
from nic.compression.cutting import AS_USUAL, Cutting
from nic.compression.hdf5_file import written
from nic.compression.setting import MadeOf
from nic.compression.tissue_rule import GIVEN
from nic.encoder.spec import IMPORTED, EncoderSpec
from nic.errors import CodesError, UnreachedCodes
from nic.slides.quality import REASONS
from nic.slides.reader import PIXEL_VERSION
from nic.slides.resolution import UM_TIMES_MAGNIFICATION
from nic.slides.tiling import TileGrid
from nic.slides.turns import TURNS
from nic.system_errors import cannot_be_read, reason

FORMAT = 1
IDENTIFYING_CODES = 1000


@dataclass(frozen=True)
class CompressedSlide:
    """Codes of a slide's tissue.

    codes: float16 [N, D], sorted by (row, col). row, col: int32 [N]. tissue, failed: bool [rows, cols]; a failed cell
    is tissue that could not be decoded and has no code. fingerprint: of the slide's file. min_tissue: least share of
    tissue in a cell with a code. reader: how pixels were read. size_l0px: (width, height), where it is known.
    exclude, tissue_rule, runtime: how it was compressed, see nic.compression.setting. excluded: uint8 [rows, cols],
    which of nic.slides.quality.REASONS keeps a cell without a code though it may be tissue. overview: uint8, the
    bytes of a JPEG of the whole slide, for pictures. pixel_version: of the arithmetic that made tiles of pixels, see
    nic.slides.reader; it says nothing of codes of another tool.
    variants: float16 [8, N, D], codes of the tiles in their eight turns (see nic.slides.turns), the first of them
    `codes`; None where they were not asked for, and after `load`, because they are eight times as large.
    """

    slide_id: str
    codes: NDArray[np.float16]
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    grid: TileGrid
    tissue: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    encoder: EncoderSpec
    fingerprint: str
    min_tissue: float = 0.6
    reader: str = "openslide"
    size_l0px: tuple[int, int] | None = None
    variants: NDArray[np.float16] | None = None
    exclude: tuple[str, ...] = AS_USUAL.exclude
    tissue_rule: str = "otsu"
    runtime: str = "onnx"
    excluded: NDArray[np.uint8] | None = None
    overview: NDArray[np.uint8] | None = None
    pixel_version: int = PIXEL_VERSION

    @property
    def cutting(self) -> Cutting:
        """Which tiles have a code."""
        rule = GIVEN if self.tissue_rule.startswith(GIVEN) else self.tissue_rule
        return Cutting(round(self.grid.overlap_px), self.min_tissue, self.exclude, rule)

    @property
    def kind(self) -> CodesKind:
        """How the codes were made, by which nic.compression.compatibility says what they may be used for."""
        if self.encoder.objective == IMPORTED:
            return CodesKind(self.encoder.sha256, self.cutting, ANOTHER_TOOL, 0)
        return CodesKind(self.encoder.sha256, self.cutting, self.runtime, self.pixel_version)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Cells that have a code, bool [rows, cols]."""
        valid = np.zeros((self.grid.rows, self.grid.cols), bool)
        valid[self.row, self.col] = True
        return valid

    def dense(self) -> NDArray[np.float32]:
        """Codes on the grid, float32 [D, rows, cols]; cells without a code are zero, so pair it with `valid`."""
        dense = np.zeros((self.codes.shape[1], self.grid.rows, self.grid.cols), np.float32)
        dense[:, self.row, self.col] = self.codes.T
        return dense

    def corners_l0px(self) -> NDArray[np.int64]:
        """(x, y) of each tile's top-left, [N, 2]."""
        # A call for each row and column, not for each tile: the process that encodes has little time for one.
        x = np.array([self.grid.tile_origin_l0px(0, col)[0] for col in range(self.grid.cols)], np.int64)
        y = np.array([self.grid.tile_origin_l0px(row, 0)[1] for row in range(self.grid.rows)], np.int64)
        return np.stack([x[self.col], y[self.row]], axis=1)

    def save(self, path: Path) -> None:
        """Write the file under a temporary name and rename it: a half-written file never has the final name.

        Raises CodesError when the codes do not fit the grid or are not finite, OSError when they cannot be written.
        """
        if fault := self._fault():
            raise CodesError(f"{self.slide_id}: {fault}; nothing was written")
        with written(path) as file:
            self._write(file)

    def _write(self, file: h5py.File) -> None:
        """TRIDENT's names for what TRIDENT's readers need, ours for the rest; never an absolute path."""
        grid = self.grid
        file["features"] = self.codes
        if self.variants is not None:
            file["features_d4"] = self.variants
            file.attrs[VARIANTS] = variants_sha256(self.variants)
        file.attrs[ROWS] = rows_sha256(self.codes, self.row, self.col)
        coords = file.create_dataset("coords", data=self.corners_l0px())
        coords.attrs.update(
            patch_size=grid.tile_px,
            patch_size_level0=round(grid.side_l0px),
            level0_magnification=round(UM_TIMES_MAGNIFICATION / grid.slide_mpp),
            target_magnification=round(UM_TIMES_MAGNIFICATION / grid.tile_mpp),
            overlap=round(grid.overlap_px),
            name=self.slide_id,
        )
        if self.size_l0px:
            coords.attrs.update(level0_width=self.size_l0px[0], level0_height=self.size_l0px[1])
        file["tissue"], file["failed"] = self.tissue, self.failed
        file["row"], file["col"] = self.row, self.col
        if self.excluded is not None:
            file["excluded"] = self.excluded
            file["excluded"].attrs["reasons"] = REASONS
        if self.overview is not None:
            file["overview"] = self.overview
        file.attrs.update(
            nic_format=FORMAT,
            slide_id=self.slide_id,
            slide_mpp=grid.slide_mpp,
            tile_px=grid.tile_px,
            tile_mpp=grid.tile_mpp,
            origin_l0px=grid.origin_l0px,
            side_l0px=grid.side_l0px,
            stride_l0px=grid.stride_l0px,
            overlap_px=grid.overlap_px,
            rows=grid.rows,
            cols=grid.cols,
            encoder=self.encoder.to_json(),
            encoder_sha256=self.encoder.sha256,
            fingerprint=self.fingerprint,
            min_tissue=self.min_tissue,
            exclude=",".join(self.exclude),
            tissue_rule=self.tissue_rule,
            runtime=self.runtime,
            reader=self.reader,
            pixel_version=self.pixel_version,
            coordinate_frame="level 0, x right, y down, top-left of the tile",
        )
        seal(file)

    @classmethod
    def load(cls, path: Path) -> "CompressedSlide":
        """Raises CodesError naming the file when it is missing, cut short, damaged or not of nic, UnreachedCodes."""
        try:
            with h5py.File(path, locking=False) as file:
                slide = cls._read(file)
                fault = slide._fault() or rows_fault(file, slide.codes, slide.row, slide.col)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise _unusable(path, error) from error
        if fault:
            raise CodesError(f"{path.name}: {fault}; compress the slide again")
        return slide

    @classmethod
    def load_cells(cls, path: Path) -> "CompressedSlide":
        """All but the codes, for pictures: `codes` is [N, 0]. Raises CodesError, UnreachedCodes."""
        try:
            with h5py.File(path, locking=False) as file:
                return cls._read(file, with_codes=False)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise _unusable(path, error) from error

    @staticmethod
    def load_variants(path: Path) -> NDArray[np.float16] | None:
        """Codes of the tiles in their eight turns, [8, N, D]; None where the file has none. Raises CodesError."""
        try:
            with h5py.File(path, locking=False) as file:
                variants = file["features_d4"][:] if "features_d4" in file else None
                fault = variants_fault(file, variants) if variants is not None else None
        except (OSError, RuntimeError) as error:
            raise _unusable(path, error) from error
        if fault:
            raise CodesError(f"{path.name}: {fault}; compress the slide again")
        return variants

    @staticmethod
    def check_variants(path: Path) -> None:
        """Read the codes in their eight turns, one turn at a time. Raises CodesError when they are damaged."""
        try:
            with h5py.File(path, locking=False) as file:
                known = "features_d4" in file
                fault = variants_fault(file, turns_of(file["features_d4"])) if known else None
        except (OSError, RuntimeError) as error:
            raise _unusable(path, error) from error
        if fault:
            raise CodesError(f"{path.name}: {fault}; compress the slide again")

    @staticmethod
    def made_of(path: Path) -> MadeOf | None:
        """What the file is made of; None where it is damaged, or there is none.

        Reads the head alone, so that a cohort of terabytes is taken up again in minutes. Raises UnreachedCodes when the
        file cannot be read now, which is neither.
        """
        try:
            with h5py.File(path, locking=False) as file:
                a = file.attrs
                return MadeOf(
                    encoder_sha256=str(a["encoder_sha256"]),
                    fingerprint=str(a["fingerprint"]),
                    slide_mpp=float(a["slide_mpp"]),
                    min_tissue=float(a["min_tissue"]),
                    variants=len(file["features_d4"]) if "features_d4" in file else 1,
                    overlap_px=_overlap_px(a),
                    exclude=_names(a),
                    tissue=_tissue_rule(a),
                    runtime=_runtime(a),
                )
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            if cannot_be_read(error):
                raise _unusable(path, error) from error
            return None

    @staticmethod
    def pixel_version_of(path: Path) -> int:
        """PIXEL_VERSION of nic.slides.reader when a file was made. Raises CodesError."""
        try:
            with h5py.File(path, locking=False) as file:
                return _pixel_version(file.attrs)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise _unusable(path, error) from error

    @staticmethod
    def identity(path: Path) -> tuple[str, NDArray[np.uint8] | None]:
        """The slide's fingerprint and overview, without its codes. Raises CodesError.

        Imported codes that came without their slide have no fingerprint; a digest of some codes takes its place.
        """
        try:
            with h5py.File(path, locking=False) as file:
                overview = file["overview"][:] if "overview" in file else None
                some_codes = hashlib.sha256(file["features"][:IDENTIFYING_CODES].tobytes()).hexdigest()
                return str(file.attrs["fingerprint"]) or some_codes, overview
        except (OSError, RuntimeError, KeyError) as error:
            raise _unusable(path, error) from error

    @staticmethod
    def count(path: Path) -> int:
        """How many codes a file holds. Raises CodesError."""
        try:
            with h5py.File(path, locking=False) as file:
                return len(file["features"])
        except (OSError, RuntimeError, KeyError) as error:
            raise _unusable(path, error) from error

    @classmethod
    def _read(cls, file: h5py.File, *, with_codes: bool = True) -> "CompressedSlide":
        a, size = file.attrs, file["coords"].attrs
        if a["nic_format"] != FORMAT:
            raise ValueError(f"format {a['nic_format']}, wanted {FORMAT}")
        x, y = (int(v) for v in a["origin_l0px"])
        return cls(
            slide_id=str(a["slide_id"]),
            codes=file["features"][:] if with_codes else np.empty((len(file["row"]), 0), np.float16),
            row=file["row"][:],
            col=file["col"][:],
            grid=TileGrid(
                tile_px=int(a["tile_px"]),
                tile_mpp=float(a["tile_mpp"]),
                slide_mpp=float(a["slide_mpp"]),
                origin_l0px=(x, y),
                rows=int(a["rows"]),
                cols=int(a["cols"]),
                overlap_px=_overlap_px(a),
            ),
            tissue=file["tissue"][:],
            failed=file["failed"][:],
            excluded=file["excluded"][:] if "excluded" in file else None,
            overview=file["overview"][:] if "overview" in file else None,
            encoder=EncoderSpec.from_json(str(a["encoder"])),
            fingerprint=str(a["fingerprint"]),
            min_tissue=float(a["min_tissue"]),
            exclude=_names(a),
            tissue_rule=_tissue_rule(a),
            runtime=_runtime(a),
            reader=str(a["reader"]),
            pixel_version=_pixel_version(a),
            size_l0px=(int(size["level0_width"]), int(size["level0_height"])) if "level0_width" in size else None,
        )

    def _fault(self) -> str | None:
        """What is wrong with the arrays, if anything."""
        cells, shape = (len(self.codes),), (self.grid.rows, self.grid.cols)
        if self.codes.ndim != 2 or self.codes.dtype != np.float16 or self.codes.shape[1] != self.encoder.code_size:
            found = f"{self.codes.dtype} {list(self.codes.shape)}"
            return f"codes are {found}, wanted float16 [N, {self.encoder.code_size}]"
        if not (self.row.shape == self.col.shape == cells and self.tissue.shape == self.failed.shape == shape):
            return f"rows, columns and masks do not fit {cells[0]} codes on a grid of {shape[0]} x {shape[1]}"
        place = self.row.astype(np.int64) * shape[1] + self.col
        if (self.row < 0).any() or (self.col < 0).any() or (self.row >= shape[0]).any() or (self.col >= shape[1]).any():
            return f"cells lie outside the grid of {shape[0]} x {shape[1]}"
        if (np.diff(place) <= 0).any():
            return "cells are not in the order of (row, col), or one stands twice"
        turned = (TURNS, *self.codes.shape)
        if self.variants is not None and (self.variants.dtype != np.float16 or self.variants.shape != turned):
            found = f"{self.variants.dtype} {list(self.variants.shape)}"
            return f"variants are {found}, wanted float16 {list(turned)}"
        finite = _finite(self.codes) and (self.variants is None or _finite(self.variants))
        return None if finite else "codes are not finite"


def _finite(codes: NDArray[np.float16]) -> bool:
    """No infinity and no NaN, asked of the bits: NumPy's isfinite takes most of the time in which a file is loaded.

    What is not finite has the largest numbers for bits: from +inf among the positive, from -inf among all.
    """
    positive, every = codes.view(np.int16), codes.view(np.uint16)
    return bool(positive.max(initial=0) < 0x7C00 and every.max(initial=0) < 0xFC00)


def _unusable(path: Path, error: Exception) -> CodesError:
    """The error for a file of codes that could not be read, by whether the system or the content is the cause."""
    if cannot_be_read(error):
        return UnreachedCodes(f"{path.name}: cannot be read now: {reason(error)}; {UnreachedCodes.remedy}")
    said = str(error).replace(f"{path.parent}/", "")
    return CodesError(f"{path.name}: not a compressed slide of nic: {said}; compress the slide again")


def _names(attributes: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(name for name in str(attributes.get("exclude", "")).split(",") if name)


def _overlap_px(attributes: Mapping[str, object]) -> float:
    """Files of before there was any do not say it."""
    return float(str(attributes.get("overlap_px", 0)))


def _tissue_rule(attributes: Mapping[str, object]) -> str:
    """Files of before there were other rules do not say it."""
    return str(attributes.get("tissue_rule", "otsu"))


def _runtime(attributes: Mapping[str, object]) -> str:
    """Files of before there was another one do not say it."""
    return str(attributes.get("runtime", "onnx"))


def _pixel_version(attributes: Mapping[str, object]) -> int:
    """Files of the first version do not say it."""
    return int(str(attributes.get("pixel_version", 1)))
