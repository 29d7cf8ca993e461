"""CLAM: h5_files/<slide>.h5 (`features`, `coords`) or pt_files/<slide>.pt (features alone), and patches/<slide>.h5.

Tile size, level and its downsample stand in the patches alone, as attributes of `coords` (level-0 px). The lattice
of coordinates begins anew at each contour. Neither um/px nor the encoder is written down.
"""

import math
from pathlib import Path

import numpy as np

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.hdf5_file import written
from nic.compression.interchange.bags import read_bag, write_bag
from nic.compression.interchange.hdf5 import by_slide, codes_in, coords_in, number, reading, whole_pixels
from nic.compression.interchange.note import Note, encoder_note, grid_note
from nic.compression.interchange.tile_codes import Hints, TileCodes, imported_encoder
from nic.errors import InterchangeError
from nic.slides.source import slide_id

TOOL = "CLAM"
BESIDE = ("patches", "masks", "stitches")
"""Folders of other things, where features lie in CLAM's own folder."""
FINEST_UM_PX = 0.25
"""um/px of 40x, from which its users count magnifications in halves."""


def find(folder: Path) -> dict[str, Path]:
    """Feature files by slide id: h5_files where there are, for they have coordinates, else pt_files.

    Else those of the folder itself and of folders below it. Raises as by_slide.
    """
    for below, suffix in (("h5_files", ".h5"), ("pt_files", ".pt"), ("", ".h5"), ("", ".pt")):
        if (folder / below).is_dir() and (files := by_slide(folder / below, suffix, skip=BESIDE)):
            return files
    return {}


def read(path: Path, hints: Hints) -> TileCodes:
    """Raises InterchangeError, MissingResolution, ImplausibleResolution."""
    if not hints.patches:
        raise InterchangeError(
            f"{path.name}: CLAM's features do not say how large a tile is; give patches=, the folder of its patches"
        )
    places = Path(hints.patches) / f"{path.stem}.h5"
    with reading(places) as file:
        coords = whole_pixels(coords_in(file, places), places)
        fields = dict(file["coords"].attrs)
        tile_px, downsample = number(file["coords"], "patch_size", places), number(file["coords"], "downsample", places)
        side_l0px = tile_px * int(downsample) * int(fields.get("custom_downsample", 1))
    if path.suffix == ".pt":
        codes = read_bag(path)
    else:
        with reading(path) as file:
            codes = codes_in(file, "features", path)
            coords, fields = whole_pixels(coords_in(file, path), path), {**fields, **file.attrs}
    if note := Note.from_fields(fields, path.name):
        return note.tiles(slide_id(path), codes, coords, TOOL, hints)
    name, slide_mpp = hints.encoder_name(path.name, None), hints.slide_mpp(path.name)
    tile_mpp = slide_mpp * side_l0px / tile_px
    return TileCodes(
        slide_id=slide_id(path),
        codes=codes,
        corner_l0px=coords,
        tile_px=int(tile_px),
        tile_mpp=tile_mpp,
        slide_mpp=slide_mpp,
        encoder=imported_encoder(name, TOOL, codes.shape[1], int(tile_px), nominal_mpp(tile_mpp)),
        tool=TOOL,
        size_l0px=hints.size_l0px,
        fingerprint=hints.fingerprint,
    )


def nominal_mpp(tile_mpp: float) -> float:
    """um/px of the nearest of 40x, 20x, 10x ..., so that slides of 0.2425 and 0.2527 um/px are of one encoder."""
    return float(FINEST_UM_PX * 2 ** round(math.log2(tile_mpp / FINEST_UM_PX)))


def write(slide: CompressedSlide, folder: Path) -> None:
    """h5_files, pt_files and patches below `folder`."""
    coords, codes = slide.corners_l0px(), slide.codes.astype(np.float32)
    level_dim = slide.size_l0px or tuple(coords.max(axis=0) + round(slide.grid.side_l0px))
    with written(folder / "patches" / f"{slide.slide_id}.h5") as file:
        file.create_dataset("coords", data=coords).attrs.update(
            patch_size=round(slide.grid.side_l0px),  # CLAM cuts a level as it is: at level 0, tiles are so large
            patch_level=0,
            downsample=(1.0, 1.0),
            downsampled_level_dim=level_dim,
            level_dim=level_dim,
            name=slide.slide_id,
            **grid_note(slide),
        )
    with written(folder / "h5_files" / f"{slide.slide_id}.h5") as file:
        file["features"], file["coords"] = codes, coords.astype(np.int32)
        file.attrs.update(encoder_note(slide))
    write_bag(codes, folder / "pt_files" / f"{slide.slide_id}.pt")
