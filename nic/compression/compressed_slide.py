"""A compressed slide and its file: sparse codes of tissue tiles, readable by the field's tools."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from nic.encoder.spec import EncoderSpec
from nic.errors import CodesError
from nic.slides.tiling import TileGrid

FORMAT = 1


@dataclass(frozen=True)
class CompressedSlide:
    """Codes of a slide's tissue.

    codes: float16 [N, D], sorted by (row, col). row, col: int32 [N]. tissue, failed: bool [rows, cols]; a failed cell
    is tissue that could not be decoded and has no code. fingerprint: of the slide's file.
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

    def save(self, path: Path) -> None:
        """Write the file under a temporary name and rename it: a half-written file never has the final name."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with h5py.File(draft, "w") as file:
            self._write(file)
        draft.replace(path)

    def _write(self, file: h5py.File) -> None:
        grid = self.grid
        origins = [grid.cell_origin_l0px(int(r), int(c)) for r, c in zip(self.row, self.col, strict=True)]
        file["features"] = self.codes
        coords = file.create_dataset("coords", data=np.array(origins, np.int64).reshape(-1, 2))
        coords.attrs.update(
            patch_size=round(grid.tile_px),
            patch_size_level0=round(grid.side_l0px),
            overlap=0,
            name=self.slide_id,
        )
        file["tissue"], file["failed"] = self.tissue, self.failed
        file["row"], file["col"] = self.row, self.col
        file.attrs.update(
            nic_format=FORMAT,
            slide_id=self.slide_id,
            slide_mpp=grid.slide_mpp,
            tile_px=grid.tile_px,
            tile_mpp=grid.tile_mpp,
            origin_l0px=grid.origin_l0px,
            rows=grid.rows,
            cols=grid.cols,
            encoder=self.encoder.to_json(),
            encoder_sha256=self.encoder.sha256,
            fingerprint=self.fingerprint,
            coordinate_frame="level 0, x right, y down, top-left of the tile",
        )

    @classmethod
    def load(cls, path: Path) -> "CompressedSlide":
        """Raises CodesError naming the file when it is missing, cut short or not of nic."""
        try:
            with h5py.File(path) as file:
                a = file.attrs
                origin = (int(a["origin_l0px"][0]), int(a["origin_l0px"][1]))
                slide = cls(
                    slide_id=str(a["slide_id"]),
                    codes=file["features"][:],
                    row=file["row"][:],
                    col=file["col"][:],
                    grid=TileGrid(
                        int(a["tile_px"]),
                        float(a["tile_mpp"]),
                        float(a["slide_mpp"]),
                        origin,
                        int(a["rows"]),
                        int(a["cols"]),
                    ),
                    tissue=file["tissue"][:],
                    failed=file["failed"][:],
                    encoder=EncoderSpec.from_json(str(a["encoder"])),
                    fingerprint=str(a["fingerprint"]),
                )
        except (OSError, KeyError) as error:
            raise CodesError(
                f"{path.name}: not a compressed slide of nic: {error}; compress the slide again"
            ) from error
        if not np.isfinite(slide.codes).all() or not len(slide.codes) == len(slide.row) == len(slide.col):
            raise CodesError(f"{path.name}: codes are damaged; compress the slide again")
        return slide
