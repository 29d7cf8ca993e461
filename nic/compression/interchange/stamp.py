"""STAMP: <slide>.h5 with `feats` and `coords`, attributes on the file.

From 2.1: coordinates and `tile_size_um` in um, `tile_size_px`. 2.0: `tile_size` and `unit` "um". Before: neither;
coordinates in tiles' own pixels, 224 of them to 256 um.
"""

import math
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.hdf5_file import written
from nic.compression.interchange.hdf5 import by_slide, codes_in, coords_in, number, reading
from nic.compression.interchange.note import Note, encoder_note, grid_note
from nic.compression.interchange.tile_codes import Hints, TileCodes, imported_encoder
from nic.errors import InterchangeError
from nic.slides.source import slide_id

TOOL, NEWEST_MAJOR, WRITTEN_AS = "STAMP", 2, "2.1.0"
HISTORIC_PX, HISTORIC_UM = 224, 256.0


def find(folder: Path) -> dict[str, Path]:
    """Feature files by slide id, also in folders below: STAMP keeps those of the slides. Raises as by_slide."""
    return by_slide(folder, ".h5")


def read(path: Path, hints: Hints) -> TileCodes:
    """Raises InterchangeError, MissingResolution, ImplausibleResolution."""
    with reading(path) as file:
        _check_version(file, path)
        codes = codes_in(file, "feats", path)
        coords_um, tile_um = _um(file, coords_in(file, path), path)
        tile_px = int(number(file, "tile_size_px", path)) if "tile_size_px" in file.attrs else HISTORIC_PX
        note = Note.from_fields(file.attrs, path.name)
        extractor = file.attrs.get("extractor")
    if note:
        corner = np.rint(coords_um / note.grid.slide_mpp)
        return note.tiles(slide_id(path), codes, corner, TOOL, hints)
    name = hints.encoder_name(path.name, str(extractor) if extractor else None)
    slide_mpp = hints.slide_mpp(path.name)
    corner = np.rint(coords_um / slide_mpp)
    side_l0px = _side_l0px(corner, tile_um / slide_mpp)
    return TileCodes(
        slide_id=slide_id(path),
        codes=codes,
        corner_l0px=corner,
        tile_px=tile_px,
        tile_mpp=slide_mpp * side_l0px / tile_px,
        slide_mpp=slide_mpp,
        encoder=imported_encoder(name, TOOL, codes.shape[1], tile_px, tile_um / tile_px),
        tool=TOOL,
        size_l0px=hints.size_l0px,
        fingerprint=hints.fingerprint,
    )


def _check_version(file: h5py.File, path: Path) -> None:
    version = str(file.attrs.get("stamp_version", "1"))
    major = version.split(".")[0]
    if not major.isdigit() or int(major) > NEWEST_MAJOR:
        raise InterchangeError(
            f"{path.name}: written by STAMP {version}, known are 1 to {NEWEST_MAJOR}; extract with one of those"
        )
    if (kind := str(file.attrs.get("feat_type", "tile"))) != "tile":
        raise InterchangeError(
            f"{path.name}: features of a {kind}, wanted those of tiles; give the folder that `preprocess` filled"
        )


def _um(file: h5py.File, coords: NDArray[np.float64], path: Path) -> tuple[NDArray[np.float64], float]:
    """Coordinates and side of a tile in um. Raises InterchangeError when the file does not tell its unit."""
    unit = str(file.attrs.get("unit", ""))
    if unit not in ("", "um"):
        raise InterchangeError(f"{path.name}: coordinates in {unit!r}, wanted um; extract the features again")
    if "tile_size_um" in file.attrs:
        return coords, number(file, "tile_size_um", path)
    if unit == "um":
        return coords, number(file, "tile_size", path)
    step = _smallest_step(coords)
    if round(step) != HISTORIC_PX:
        raise InterchangeError(
            f"{path.name}: no 'tile_size_um', and tiles step by {step:.6g}, not by the {HISTORIC_PX} of old files; "
            "their unit is unknown, extract the features again"
        )
    return coords / HISTORIC_PX * HISTORIC_UM, HISTORIC_UM


def _smallest_step(coords: NDArray[np.float64]) -> float:
    steps = np.concatenate([np.diff(np.unique(coords[:, axis])) for axis in (0, 1)])
    return float(steps.min()) if len(steps) else 0.0


def _side_l0px(corner: NDArray[np.float64], exact: float) -> float:
    """STAMP 2 cuts tiles of whole level-0 px, rounded up, and so they step; older ones step by the exact side."""

    def largest_miss(side: float) -> float:
        return float(np.abs(corner - np.rint(corner / side) * side).max(initial=0))

    return min((exact, float(math.ceil(exact))), key=largest_miss)


def write(slide: CompressedSlide, folder: Path) -> None:
    """`folder`/<slide>.h5 as STAMP 2.1 lays it out."""
    grid = slide.grid
    with written(folder / f"{slide.slide_id}.h5") as file:
        file["coords"] = (slide.corners_l0px() * grid.slide_mpp).astype(np.float32)
        file["feats"] = slide.codes
        file.attrs.update(
            stamp_version=WRITTEN_AS,
            extractor=f"nic-{slide.encoder.sha256[:12]}",
            unit="um",
            tile_size_um=grid.tile_px * grid.tile_mpp,
            tile_size_px=grid.tile_px,
            code_hash=slide.encoder.sha256[:8],
            feat_type="tile",
            **grid_note(slide),
            **encoder_note(slide),
        )
