"""The original NIC: <slide>_features.npy, float16 [D, rows, cols], 0 where there is no tile.

The cells with a tile stand in <slide>_x_idx.npy and <slide>_y_idx.npy of its vectorized slide; without them, a cell
of zeros is taken for background. Its grid begins at (0, 0); neither um/px nor the size of a tile is written down.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.interchange.hdf5 import by_slide, unusable
from nic.compression.interchange.note import Note, encoder_note, grid_note
from nic.compression.interchange.tile_codes import Hints, TileCodes, imported_encoder
from nic.errors import InterchangeError
from nic.shared_files import drafted
from nic.slides.source import slide_id

TOOL, FEATURES, NOTE = "NIC", "_features.npy", "_nic.json"
TILE_PX = 64
"""What the published encoders take, after averaging."""


def find(folder: Path) -> dict[str, Path]:
    """Feature files by slide id, also in folders below. Raises as by_slide."""
    return by_slide(folder, FEATURES)


def read(path: Path, hints: Hints) -> TileCodes:
    """Raises InterchangeError, MissingResolution, ImplausibleResolution."""
    name_of_files = path.name.removesuffix(FEATURES)
    dense = _array(path)
    if dense.ndim != 3 or dense.dtype.kind != "f":
        raise InterchangeError(f"{path.name}: {dense.dtype} {list(dense.shape)}, wanted floats [D, rows, cols]")
    row, col = _cells(path.parent, name_of_files, dense)
    codes = dense[:, row, col].T
    if note := _note(path.with_name(f"{name_of_files}{NOTE}")):
        corner = np.rint(np.stack([col, row], axis=1) * note.grid.stride_l0px) + note.grid.origin_l0px
        return note.tiles(slide_id(name_of_files), codes, corner, TOOL, hints)
    name, slide_mpp = hints.encoder_name(path.name, None), hints.slide_mpp(path.name)
    if hints.tile_um is None:
        raise InterchangeError(
            f"{path.name}: does not say how large a tile is; give tile_um=, which is 64 for 128 px at 0.5 um/px"
        )
    tile_mpp = hints.tile_um / TILE_PX
    return TileCodes(
        slide_id=slide_id(name_of_files),
        codes=codes,
        corner_l0px=np.rint(np.stack([col, row], axis=1) * hints.tile_um / slide_mpp),
        tile_px=TILE_PX,
        tile_mpp=tile_mpp,
        slide_mpp=slide_mpp,
        encoder=imported_encoder(name, TOOL, len(dense), TILE_PX, tile_mpp),
        tool=TOOL,
        size_l0px=hints.size_l0px,
        fingerprint=hints.fingerprint,
    )


def _note(path: Path) -> Note | None:
    if not path.is_file():
        return None
    try:
        return Note.from_fields(json.loads(path.read_text()), path.name)
    except (json.JSONDecodeError, OSError) as error:
        raise unusable(path, error, f"no JSON: {error}; export the slide again") from error


def _cells(folder: Path, name: str, dense: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """row, col [N] of the cells that have a code. Raises InterchangeError."""
    row_file, col_file = folder / f"{name}_y_idx.npy", folder / f"{name}_x_idx.npy"
    if not (row_file.is_file() and col_file.is_file()):
        row, col = np.nonzero((dense != 0).any(axis=0))
        return row, col
    row, col = _array(row_file).astype(np.intp), _array(col_file).astype(np.intp)
    shape = dense.shape[1:]
    if row.shape != col.shape or row.ndim != 1 or ((row < 0) | (row >= shape[0]) | (col < 0) | (col >= shape[1])).any():
        raise InterchangeError(f"{name}: its x_idx and y_idx do not fit features of {shape[0]} x {shape[1]} cells")
    return row, col


def _array(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path))
    except (ValueError, OSError, EOFError) as error:
        raise unusable(path, error, "no array that numpy reads; copy it again") from error


def write(slide: CompressedSlide, folder: Path) -> None:
    """<slide>_features.npy with its indexes and shape, and nic's own note of the grid, in `folder`."""
    arrays: dict[str, NDArray[Any]] = {
        FEATURES: slide.dense().astype(np.float16),
        "_x_idx.npy": slide.col,
        "_y_idx.npy": slide.row,
        "_im_shape.npy": np.array([slide.grid.cols, slide.grid.rows]),
    }
    for ending, array in arrays.items():
        with drafted(folder / f"{slide.slide_id}{ending}") as draft, draft.open("wb") as file:
            np.save(file, array)
    with drafted(folder / f"{slide.slide_id}{NOTE}") as draft:
        draft.write_text(json.dumps(grid_note(slide) | encoder_note(slide)))
