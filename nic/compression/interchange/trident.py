"""TRIDENT: features_<encoder>/<slide>.h5 with `features`, and `coords` in level-0 px.

A job's folder is <magnification>x_<px>px_<overlap>px_overlap, with patches/ (coordinates alone) beside the features.
The um/px of the slide is not in the file; its magnification is, sorted into 80, 60, 40, 20, 10 and 5x. Tiles that
overlap lie on one lattice since TRIDENT's change 178 of November 2025. Before, the first of a row or column lay a whole
tile before the second, off the lattice of the others; it is moved by the overlap when it is put on a grid.

raw2features writes the same layout, but its `patch_size` is the side in level-0 px, its encoder's name stands on
`features`, and its magnifications are 10 / (um/px).
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.hdf5_file import written
from nic.compression.interchange.hdf5 import (
    by_slide,
    codes_in,
    coords_in,
    number,
    reading,
    whole_pixels,
)
from nic.compression.interchange.note import Note, encoder_note, grid_note
from nic.compression.interchange.tile_codes import Hints, TileCodes, imported_encoder
from nic.encoder.spec import IMPORTED
from nic.slides.resolution import UM_TIMES_MAGNIFICATION
from nic.slides.source import slide_id

TOOL = "TRIDENT"
FEATURES, PATCHES = "features_", "_patches.h5"
ONE_MAGNIFICATION = 0.75
"""Target over level 0, above which tiles are level-0 pixels: the magnifications are rounded, the next is a half."""


def find(folder: Path) -> dict[str, Path]:
    """Feature files by slide id, also in folders below; of a job's folder, not its patches. Raises as by_slide."""
    return by_slide(folder, ".h5", skip=("patches",))


def read(path: Path, hints: Hints) -> TileCodes:
    """Raises InterchangeError, MissingResolution, ImplausibleResolution."""
    with reading(path) as file:
        codes = codes_in(file, "features", path)
        coords = whole_pixels(coords_in(file, path), path)
        at = file["coords"]
        stated_name = _encoder_of(path, str(file["features"].attrs.get("encoder", "")))
        if note := Note.from_fields({**at.attrs, **file.attrs}, path.name):
            return note.tiles(slide_id(path), codes, coords, TOOL, hints, stated_name)
        side_l0px = number(at, "patch_size_level0", path)
        tile_px = _tile_px(at, side_l0px, path)
        nominal_mpp = UM_TIMES_MAGNIFICATION / number(at, "target_magnification", path)
        overlap_l0px = round(float(at.attrs.get("overlap", 0)) * side_l0px / tile_px)  # whole pixels, as its steps are
        stated = [int(at.attrs[f"level0_{side}"]) for side in ("width", "height") if f"level0_{side}" in at.attrs]
    name, slide_mpp = hints.encoder_name(path.name, stated_name), hints.slide_mpp(path.name)
    return TileCodes(
        slide_id=slide_id(path),
        codes=codes,
        corner_l0px=coords,
        tile_px=int(tile_px),
        tile_mpp=slide_mpp * side_l0px / tile_px,
        slide_mpp=slide_mpp,
        encoder=imported_encoder(name, TOOL, codes.shape[1], int(tile_px), nominal_mpp),
        tool=TOOL,
        size_l0px=hints.size_l0px or ((stated[0], stated[1]) if len(stated) == 2 else None),
        fingerprint=hints.fingerprint,
        overlap_px=overlap_l0px * tile_px / side_l0px,
    )


def _encoder_of(path: Path, stated: str) -> str | None:
    """The encoder by the name of its folder, features_<encoder>; else as stated; else by a folder farther above."""
    parent, *above = (folder.name for folder in path.parents)
    names = [name.removeprefix(FEATURES) for name in (parent, *above) if name.startswith(FEATURES)]
    return (names[0] if parent.startswith(FEATURES) else stated) or next(iter(names), None)


def _tile_px(at: h5py.Dataset, side_l0px: float, path: Path) -> float:
    """Side of a tile as the encoder took it. Raises InterchangeError.

    A file that states one side for both, and two magnifications, contradicts itself: it is of raw2features.
    """
    stated = number(at, "patch_size", path)
    if stated != side_l0px or "level0_magnification" not in at.attrs:
        return stated
    scale = number(at, "target_magnification", path) / number(at, "level0_magnification", path)
    return stated if scale > ONE_MAGNIFICATION else float(round(side_l0px * scale))


def write(slide: CompressedSlide, folder: Path) -> None:
    """A job's folder below `folder`: patches/<slide>_patches.h5 and features_nic/<slide>.h5."""
    grid, coords = slide.grid, slide.corners_l0px()
    attributes: dict[str, Any] = {
        "patch_size": grid.tile_px,
        "patch_size_level0": round(grid.side_l0px),
        "level0_magnification": round(UM_TIMES_MAGNIFICATION / grid.slide_mpp),
        "target_magnification": round(UM_TIMES_MAGNIFICATION / grid.tile_mpp),
        "overlap": round(grid.overlap_px),
        "name": slide.slide_id,
        **grid_note(slide),  # TRIDENT copies what it finds here into the features that it makes of these patches
    }
    if slide.size_l0px:
        attributes |= dict(zip(("level0_width", "level0_height"), slide.size_l0px, strict=True))
    job = folder / f"{attributes['target_magnification']}x_{grid.tile_px}px_{attributes['overlap']}px_overlap"
    with written(job / "patches" / f"{slide.slide_id}{PATCHES}") as file:
        file.create_dataset("coords", data=coords).attrs.update(attributes)
    with written(job / f"{FEATURES}{encoder_label(slide)}" / f"{slide.slide_id}.h5") as file:
        file["features"] = slide.codes.astype(np.float32)
        file.create_dataset("coords", data=coords).attrs.update(attributes)
        file.attrs.update(encoder_note(slide))


def encoder_label(slide: CompressedSlide) -> str:
    """A short name for folders: that of an imported encoder, else nic and the first digits of the encoder's digest."""
    encoder = slide.encoder
    return encoder.tasks[0] if encoder.objective == IMPORTED else f"nic-{encoder.sha256[:12]}"
