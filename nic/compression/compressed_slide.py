"""A compressed slide and its file: sparse codes of tissue tiles, readable by the field's tools."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from nic.compression.hdf5_file import (
    ROWS,
    VARIANTS,
    opened,
    parts_of_variants,
    rows_fault,
    rows_sha256,
    seal,
    variants_fault,
    variants_sha256,
    written,
)
from nic.compression.tiling import ANOTHER_TOOL, Encoding, Tiling
from nic.encoder.spec import EXACT, IMPORTED, EncoderSpec
from nic.errors import CodesError
from nic.slides.d4 import D4_VARIANTS
from nic.slides.grid import TileGrid
from nic.slides.qc import QC_TESTS
from nic.slides.reader import PIXEL_VERSION
from nic.slides.resolution import UM_TIMES_MAGNIFICATION

FORMAT = 1
IDENTIFYING_CODES = 1000


@dataclass(frozen=True)
class FileHead:
    """What a file says of itself; equal for two files of the same codes. fingerprint, slide_mpp: of the slide."""

    fingerprint: str
    slide_mpp: float
    tiling: Tiling
    encoding: Encoding


@dataclass(frozen=True)
class CompressedSlide:
    """Codes of a slide's tissue.

    codes: float16 [N, D], sorted by (row, col). row, col: int32 [N]. tissue, failed: bool [rows, cols]; a failed cell
    is tissue that could not be decoded and has no code. fingerprint: of the slide's file. runtime, pixel_version: see
    Encoding. reader: how pixels were read. size_l0px: (width, height), where it is known. excluded: uint8 [rows, cols],
    which of nic.slides.qc.QC_TESTS keeps a cell without a code though it may be tissue. overview: uint8, the
    bytes of a JPEG of the whole slide, for pictures.
    variants: float16 [8, N, D], codes of the tiles' D4 variants (see nic.slides.d4), the first of them `codes`; None
    where they were not asked for, and after `load`, because they are eight times as large.
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
    tiling: Tiling
    runtime: str = EXACT
    pixel_version: int = PIXEL_VERSION
    reader: str = "openslide"
    size_l0px: tuple[int, int] | None = None
    variants: NDArray[np.float16] | None = None
    excluded: NDArray[np.uint8] | None = None
    overview: NDArray[np.uint8] | None = None

    @property
    def encoding(self) -> Encoding:
        """How the codes were made, as far as they are in memory: `head` knows of D4 variants that were not loaded."""
        return _encoding(self.encoder, self.runtime, self.pixel_version, 1 if self.variants is None else D4_VARIANTS)

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
            file["excluded"].attrs["reasons"] = QC_TESTS
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
            tiling=self.tiling.to_json(),
            runtime=self.runtime,
            reader=self.reader,
            pixel_version=self.pixel_version,
            coordinate_frame="level 0, x right, y down, top-left of the tile",
            # Models that are served by an older nic read the tiling here.
            min_tissue=self.tiling.min_tissue,
            exclude=",".join(self.tiling.exclude),
            tissue_rule=str(self.tiling.tissue),
        )
        seal(file)

    @classmethod
    def load(cls, path: Path) -> "CompressedSlide":
        """Raises CodesError naming the file when it is missing, cut short, damaged or not of nic, UnreachedCodes."""
        with opened(path) as file:
            slide = cls._read(file)
            _refuse(path, slide._fault() or rows_fault(file, slide.codes, slide.row, slide.col))
        return slide

    @classmethod
    def load_cells(cls, path: Path) -> "CompressedSlide":
        """All but the codes, for pictures: `codes` is [N, 0]. Raises CodesError, UnreachedCodes."""
        with opened(path) as file:
            return cls._read(file, with_codes=False)

    @staticmethod
    def load_variants(path: Path) -> NDArray[np.float16] | None:
        """Codes of the tiles' D4 variants, [8, N, D]; None where the file has none. Raises CodesError."""
        with opened(path) as file:
            variants = file["features_d4"][:] if "features_d4" in file else None
            _refuse(path, variants_fault(file, variants) if variants is not None else None)
        return variants

    @staticmethod
    def check_variants(path: Path) -> None:
        """Read the codes of the D4 variants, one variant at a time. Raises CodesError when they are damaged."""
        with opened(path) as file:
            if "features_d4" in file:
                _refuse(path, variants_fault(file, parts_of_variants(file["features_d4"])))

    @staticmethod
    def head(path: Path) -> "FileHead":
        """What a file says of itself. Its codes are not read, so that a cohort of terabytes is taken up again in
        minutes. Raises CodesError, UnreachedCodes."""
        with opened(path) as file:
            attributes, encoder = file.attrs, EncoderSpec.from_json(str(file.attrs["encoder"]))
            variants = len(file["features_d4"]) if "features_d4" in file else 1
            return FileHead(
                fingerprint=str(attributes["fingerprint"]),
                slide_mpp=float(attributes["slide_mpp"]),
                tiling=Tiling.from_attributes(attributes, encoder.tile_um),
                encoding=_encoding(encoder, _runtime(attributes), _pixel_version(attributes), variants),
            )

    @staticmethod
    def identity(path: Path) -> tuple[str, NDArray[np.uint8] | None]:
        """The slide's fingerprint and overview, without its codes. Raises CodesError.

        Imported codes that came without their slide have no fingerprint; a digest of some codes takes its place.
        """
        with opened(path) as file:
            overview = file["overview"][:] if "overview" in file else None
            some_codes = hashlib.sha256(file["features"][:IDENTIFYING_CODES].tobytes()).hexdigest()
            return str(file.attrs["fingerprint"]) or some_codes, overview

    @staticmethod
    def count(path: Path) -> int:
        """How many codes a file holds. Raises CodesError."""
        with opened(path) as file:
            return len(file["features"])

    @classmethod
    def _read(cls, file: h5py.File, *, with_codes: bool = True) -> "CompressedSlide":
        a, size = file.attrs, file["coords"].attrs
        if a["nic_format"] != FORMAT:
            raise ValueError(f"format {a['nic_format']}, wanted {FORMAT}")
        x, y = (int(v) for v in a["origin_l0px"])
        encoder = EncoderSpec.from_json(str(a["encoder"]))
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
                overlap_px=float(a.get("overlap_px", 0)),  # older files have none
            ),
            tissue=file["tissue"][:],
            failed=file["failed"][:],
            excluded=file["excluded"][:] if "excluded" in file else None,
            overview=file["overview"][:] if "overview" in file else None,
            encoder=encoder,
            fingerprint=str(a["fingerprint"]),
            tiling=Tiling.from_attributes(a, encoder.tile_um),
            runtime=_runtime(a),
            reader=str(a["reader"]),
            pixel_version=_pixel_version(a),
            size_l0px=(int(size["level0_width"]), int(size["level0_height"])) if "level0_width" in size else None,
        )

    def _fault(self) -> str | None:
        """What is wrong with the arrays, if anything."""
        cells, shape = (len(self.codes),), (self.grid.rows, self.grid.cols)
        if self.codes.ndim != 2 or self.codes.dtype != np.float16 or self.codes.shape[1] != self.encoder.code_size:
            form = f"float16 [N, {self.encoder.code_size}]"
            return f"codes are {self.codes.dtype} {list(self.codes.shape)}, wanted {form}"
        if not (self.row.shape == self.col.shape == cells and self.tissue.shape == self.failed.shape == shape):
            return f"rows, columns and masks do not fit {cells[0]} codes on a grid of {shape[0]} x {shape[1]}"
        place = self.row.astype(np.int64) * shape[1] + self.col
        if (self.row < 0).any() or (self.col < 0).any() or (self.row >= shape[0]).any() or (self.col >= shape[1]).any():
            return f"cells lie outside the grid of {shape[0]} x {shape[1]}"
        if self.tiling.overlap_px != round(self.grid.overlap_px):
            return f"its tiling has an overlap of {self.tiling.overlap_px} px, its grid {self.grid.overlap_px:g} px"
        if (np.diff(place) <= 0).any():
            return "cells are not in the order of (row, col), or one stands twice"
        shape = (D4_VARIANTS, *self.codes.shape)
        if self.variants is not None and (self.variants.dtype != np.float16 or self.variants.shape != shape):
            return f"variants are {self.variants.dtype} {list(self.variants.shape)}, wanted float16 {list(shape)}"
        finite = _finite(self.codes) and (self.variants is None or _finite(self.variants))
        return None if finite else "codes are not finite"


def _finite(codes: NDArray[np.float16]) -> bool:
    """No infinity and no NaN, asked of the bits: NumPy's isfinite takes most of the time in which a file is loaded.

    What is not finite has the largest numbers for bits: from +inf among the positive, from -inf among all.
    """
    positive, every = codes.view(np.int16), codes.view(np.uint16)
    return bool(positive.max(initial=0) < 0x7C00 and every.max(initial=0) < 0xFC00)


def _refuse(path: Path, fault: str | None) -> None:
    if fault:
        raise CodesError(f"{path.name}: {fault}; compress the slide again")


def _encoding(encoder: EncoderSpec, runtime: str, pixel_version: int, d4_variants: int) -> Encoding:
    if encoder.objective == IMPORTED:
        return Encoding(encoder.sha256, ANOTHER_TOOL, d4_variants, 0)
    return Encoding(encoder.sha256, runtime, d4_variants, pixel_version)


def _runtime(attributes: Mapping[str, object]) -> str:
    """Files that are older than the second runtime do not say it."""
    return str(attributes.get("runtime", EXACT))


def _pixel_version(attributes: Mapping[str, object]) -> int:
    """Files of the first version do not say it."""
    return int(str(attributes.get("pixel_version", 1)))
