"""Files laid out by hand as STAMP 1, 2.0 and 2.1 write them, and what may be wrong with them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from foreign_files import Codes, block, random_codes, refused, same_places, taken_in
from numpy.typing import NDArray

from nic.compression.interchange.tile_codes import Hints


def stamp(folder: Path, coords_um: NDArray[Any], codes: Codes, **attributes: Any) -> Path:
    """features/S-1.h5; coordinates float32 as STAMP has them."""
    features = folder / "features"
    features.mkdir(exist_ok=True)
    with h5py.File(features / "S-1.h5", "w") as file:
        file["coords"], file["feats"] = coords_um.astype(np.float32), codes.astype(np.float16)
        file.attrs.update(attributes)
    return features


NEW = {"stamp_version": "2.3.0", "extractor": "virchow2", "unit": "um", "tile_size_um": 256.0, "tile_size_px": 224}
NEW = {**NEW, "code_hash": "abcd", "feat_type": "tile"}


@pytest.mark.parametrize(("mpp", "side"), [(0.25, 1024), (0.499, 514), (0.2527, 1014)])
def test_stamp_is_read(tmp_path: Path, mpp: float, side: int) -> None:
    """Its tiles are ceil(256 / mpp) level-0 px wide and lie so; their coordinates are in um."""
    coords, codes = block(40, 30, side, 3 * side, 5 * side), random_codes(1200)
    slide, report = taken_in(stamp(tmp_path, coords * mpp, codes, **NEW), "stamp", Hints(mpp=mpp))
    assert same_places(slide, coords, codes)
    assert slide.grid.side_l0px == pytest.approx(side)
    assert report.imported[0].moved == 0
    assert slide.encoder.tasks == ("virchow2", "STAMP")
    assert slide.encoder.tile_um == pytest.approx(256)


def test_stamp_of_supertiles_is_moved_by_what_they_drift(tmp_path: Path) -> None:
    """At 0.498 um/px two tiles are read at once, 1030 px wide; the second is said to lie 256 um on, not 515 px."""
    mpp, codes = 0.498, random_codes(400)
    col, row = np.meshgrid(np.arange(20), np.arange(20))
    um = np.stack([(c // 2) * 1030 * mpp + (c % 2) * 256 for c in (col.ravel(), row.ravel())], axis=1)
    slide, report = taken_in(stamp(tmp_path, um, codes, **NEW), "stamp", Hints(mpp=mpp))
    assert same_places(slide, np.stack([col.ravel() * 515, row.ravel() * 515], axis=1), codes)
    assert report.imported[0].max_l0px <= 1


@pytest.mark.parametrize(
    ("attributes", "per_tile"),
    [({"unit": "um", "tile_size": 256.0, "stamp_version": "2.0.0", "extractor": "uni"}, 256.0), ({}, 224.0)],
)
def test_older_stamp_is_read(tmp_path: Path, attributes: dict[str, Any], per_tile: float) -> None:
    """2.0 had no tile_size_um; before that there were no attributes, and 224 stood for 256 um."""
    cells, codes = block(10, 12, 1), random_codes(120)
    features = stamp(tmp_path, cells * per_tile, codes, **attributes)
    slide, _ = taken_in(features, "stamp", Hints(mpp=0.5, encoder="ctranspath"))
    assert same_places(slide, cells * 512, codes)
    assert slide.grid.tile_px == 224


@pytest.mark.parametrize(
    ("attributes", "scale", "message"),
    [
        ({**NEW, "stamp_version": "3.0.0"}, 1.0, "written by STAMP 3.0.0, known are 1 to 2"),
        ({**NEW, "feat_type": "slide"}, 1.0, "features of a slide"),
        ({**NEW, "unit": "px"}, 1.0, "coordinates in 'px', wanted um"),
        ({}, 1.0, "tiles step by 256, not by the 224 of old files"),
        (NEW, 2.0, "lie 1024 px apart, wanted 512"),
        ({name: NEW[name] for name in NEW if name != "extractor"}, 1.0, "give encoder="),
    ],
)
def test_a_refusal_of_a_stamp_file_names_what_is_wrong(
    tmp_path: Path, attributes: dict[str, Any], scale: float, message: str
) -> None:
    features = stamp(tmp_path, block(5, 5, 1) * 256.0 * scale, random_codes(25), **attributes)
    assert message in refused(features, "stamp", Hints(mpp=0.5))


def test_a_layout_that_is_not_the_files_own_is_refused(tmp_path: Path) -> None:
    features = stamp(tmp_path, block(5, 5, 1) * 256.0, random_codes(25), **NEW)
    assert "no dataset 'features'; it holds coords, feats" in refused(features, "trident", Hints(mpp=0.5))
