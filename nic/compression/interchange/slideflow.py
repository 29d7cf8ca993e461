"""slideflow: <slide>.pt, a float32 tensor, with <slide>.index.npz (tiles' centres, level-0 px) and bags_config.json.

bags_config.json names extractor, tile_px and tile_um for the whole folder; the slide's um/px is nowhere. A tile is
int(tile_um / mpp) level-0 px wide.
"""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.interchange.bags import read_bag, write_bag
from nic.compression.interchange.hdf5 import by_slide, unusable, whole_pixels
from nic.compression.interchange.note import Note, encoder_note, grid_note
from nic.compression.interchange.tile_codes import Hints, TileCodes, imported_encoder
from nic.errors import InterchangeError
from nic.shared_files import drafted
from nic.slides.source import slide_id

TOOL = "slideflow"
CONFIG = "bags_config.json"


def find(folder: Path) -> dict[str, Path]:
    """Bags by slide id, also in folders below. Raises as by_slide."""
    return by_slide(folder, ".pt")


def read(path: Path, hints: Hints) -> TileCodes:
    """Raises InterchangeError, MissingResolution, ImplausibleResolution."""
    codes, index = read_bag(path), _index(path)
    if index["arr_0"].ndim != 2 or index["arr_0"].shape[1] != 2:
        raise InterchangeError(f"{path.stem}.index: locations are {list(index['arr_0'].shape)}, wanted [tiles, 2]")
    centre = whole_pixels(index["arr_0"].astype(np.float64), path)
    if note := Note.from_fields(index, path.name):
        return note.tiles(slide_id(path), codes, centre - int(note.grid.side_l0px) // 2, TOOL, hints)
    tile_px, tile_um, extractor = _config(path.parent / CONFIG, hints)
    name, slide_mpp = hints.encoder_name(path.name, extractor), hints.slide_mpp(path.name)
    side_l0px = int(tile_um / slide_mpp)
    return TileCodes(
        slide_id=slide_id(path),
        codes=codes,
        corner_l0px=centre - side_l0px // 2,
        tile_px=tile_px,
        tile_mpp=slide_mpp * side_l0px / tile_px,
        slide_mpp=slide_mpp,
        encoder=imported_encoder(name, TOOL, codes.shape[1], tile_px, tile_um / tile_px),
        tool=TOOL,
        size_l0px=hints.size_l0px,
        fingerprint=hints.fingerprint,
    )


def _index(path: Path) -> dict[str, Any]:
    """What the index file holds; `arr_0` are the locations. Raises InterchangeError."""
    for file in (path.with_suffix(".index.npz"), path.with_suffix(".index.npy")):
        if file.is_file():
            try:
                index = np.load(file)
                return dict(index) if file.suffix == ".npz" else {"arr_0": index}
            except (ValueError, OSError, EOFError, BadZipFile) as error:
                raise unusable(file, error, f"no index of locations: {error}; export it again") from error
    raise InterchangeError(f"{path.name}: no {path.stem}.index.npz beside it, so where its tiles lie is unknown")


def _config(path: Path, hints: Hints) -> tuple[int, float, str]:
    """tile_px, tile_um and the extractor's class. Raises InterchangeError."""
    try:
        config = json.loads(path.read_text())
        tile_px, tile_um = int(config["tile_px"]), hints.tile_um or config["tile_um"]
        extractor = str(config["extractor"]["class"]).rpartition(".")[2]
    except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        wrong = f"wanted beside the bags, with extractor, tile_px and tile_um; found: {type(error).__name__}"
        raise unusable(path, error, wrong) from error
    if not isinstance(tile_um, int | float) or tile_um <= 0:
        raise InterchangeError(
            f"{CONFIG}: tile_um is {tile_um!r}: cut at a level, whatever its um/px; give tile_um= if it is known"
        )
    return tile_px, float(tile_um), extractor


def write(slide: CompressedSlide, folder: Path) -> None:
    """<slide>.pt, <slide>.index.npz and bags_config.json in `folder`."""
    grid = slide.grid
    write_bag(slide.codes.astype(np.float32), folder / f"{slide.slide_id}.pt")
    with drafted(folder / f"{slide.slide_id}.index.npz") as draft, draft.open("wb") as file:
        arrays = {"arr_0": slide.corners_l0px() + int(grid.side_l0px) // 2}
        notes = {name: np.array(text) for name, text in (grid_note(slide) | encoder_note(slide)).items()}
        np.savez(file, **(arrays | notes))
    config = {
        "extractor": {"class": f"nic-{slide.encoder.sha256[:12]}", "kwargs": {}},
        "normalizer": None,
        "num_features": slide.codes.shape[1],
        "tile_px": grid.tile_px,
        "tile_um": grid.tile_px * grid.tile_mpp,
    }
    with drafted(folder / CONFIG) as draft:
        draft.write_text(json.dumps(config, indent=1))
