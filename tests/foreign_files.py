"""What the tests of interchange share: tiles side by side, and a folder of one slide taken in or refused."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.interchange.layouts import ImportReport, import_folder
from nic.compression.interchange.tile_codes import Hints

Codes = NDArray[np.float32]
RNG = np.random.default_rng(0)


def block(rows: int, cols: int, step: int, x: int = 0, y: int = 0) -> NDArray[np.int64]:
    """Corners (x, y) of rows x cols tiles side by side, [N, 2], row by row."""
    col, row = np.meshgrid(np.arange(cols), np.arange(rows))
    return np.stack([x + col.ravel() * step, y + row.ravel() * step], axis=1)


def random_codes(count: int, size: int = 16) -> Codes:
    return RNG.normal(size=(count, size)).astype(np.float32)


def taken_in(features: Path, layout: str, hints: Hints, **more: Any) -> tuple[CompressedSlide, ImportReport]:
    """The one slide of a folder that is taken in."""
    out = features.parent / "taken"
    report = import_folder(features, layout, out, hints, **{"sources": {}, **more})
    assert not report.quarantined, report.quarantined[0].evidence
    return CompressedSlide.load(out / f"{report.imported[0].slide_id}.h5"), report


def refused(features: Path, layout: str, hints: Hints, **more: Any) -> str:
    """Why the one slide of a folder is not taken in; nothing of it is left."""
    out = features.parent / "refused"
    report = import_folder(features, layout, out, hints, **{"sources": {}, **more})
    assert not report.imported
    assert not list(out.glob("*.h5"))
    return f"{report.quarantined[0].reason}: {report.quarantined[0].evidence}"


def same_places(slide: CompressedSlide, coords: NDArray[Any], codes: Codes) -> bool:
    """Whether every tile's code stands where the tile was."""
    codes_at = {tuple(xy): code for xy, code in zip(slide.corners_l0px().tolist(), slide.codes, strict=True)}
    expected = zip(coords.astype(int).tolist(), codes.astype(np.float16), strict=True)
    return len(codes_at) == len(coords) and all(np.array_equal(codes_at[tuple(xy)], code) for xy, code in expected)
