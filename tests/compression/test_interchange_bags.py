"""Bags laid out by hand as slideflow writes them, arrays as the original NIC does, and what may be wrong with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foreign_files import Codes, block, random_codes, refused, same_places, taken_in
from numpy.typing import NDArray

from nic.compression.interchange.tile_codes import Hints


def slideflow(folder: Path, centres: NDArray[Any], codes: Codes, **config: Any) -> Path:
    """bags/F-1.pt with F-1.index.npz and bags_config.json."""
    bags = folder / "bags"
    bags.mkdir(exist_ok=True)
    torch.save(torch.from_numpy(codes), bags / "F-1.pt")
    np.savez(bags / "F-1.index", centres)
    extractor = {"class": "slideflow.model.extractors.ctranspath.CTransPathFeatures", "kwargs": {"center_crop": True}}
    stated = {"extractor": extractor, "normalizer": None, "num_features": 16, "tile_px": 299, "tile_um": 302}
    (bags / "bags_config.json").write_text(json.dumps({**stated, **config}))
    return bags


def test_slideflow_is_read(tmp_path: Path) -> None:
    """A tile is int(302 / 0.2527) = 1195 px wide and its location is its centre."""
    coords, codes = block(9, 11, 1195, 1195, 2390), random_codes(99)
    bags = slideflow(tmp_path, coords + 1195 // 2, codes)
    slide, report = taken_in(bags, "slideflow", Hints(mpp=0.2527))
    assert same_places(slide, coords, codes)
    assert report.imported[0].moved == 0
    assert slide.encoder.tasks == ("CTransPathFeatures", "slideflow")


def test_a_refusal_of_bags_names_what_is_wrong(tmp_path: Path) -> None:
    coords, codes = block(9, 11, 604), random_codes(99)
    bags = slideflow(tmp_path, coords + 302, codes, tile_um="20x")
    assert "tile_um is '20x'" in refused(bags, "slideflow", Hints(mpp=0.5))
    assert same_places(taken_in(bags, "slideflow", Hints(mpp=0.5, tile_um=302))[0], coords, codes)
    (bags / "bags_config.json").unlink()
    assert "bags_config.json: wanted beside the bags" in refused(bags, "slideflow", Hints(mpp=0.5))
    (bags / "F-1.index.npz").write_bytes(b"PK no zip")
    assert "F-1.index.npz: no index" in refused(bags, "slideflow", Hints(mpp=0.5))
    (bags / "F-1.index.npz").unlink()
    assert "no F-1.index.npz beside it" in refused(bags, "slideflow", Hints(mpp=0.5))


def test_the_original_is_read_with_and_without_its_indexes(tmp_path: Path) -> None:
    dense = np.zeros((16, 12, 10), np.float16)
    row, col = np.array([0, 0, 5, 11]), np.array([0, 9, 4, 9])
    codes = random_codes(4)
    codes[1] = 0  # a tile whose code is zero: only the indexes know it from glass
    dense[:, row, col] = codes.T
    features = tmp_path / "features"
    features.mkdir()
    np.save(features / "N-1_features.npy", dense)
    hints = Hints(mpp=0.499, encoder="multitask-4", tile_um=64)
    side = 64 / 0.499
    coords = np.rint(np.stack([col, row], axis=1) * side)
    assert same_places(taken_in(features, "nic-npy", hints)[0], coords[[0, 2, 3]], codes[[0, 2, 3]])
    np.save(features / "N-1_x_idx.npy", col)
    np.save(features / "N-1_y_idx.npy", row)
    slide, report = taken_in(features, "nic-npy", hints)
    assert same_places(slide, coords, codes)
    assert report.imported[0].moved == 0
    assert "give tile_um=" in refused(features, "nic-npy", Hints(mpp=0.5, encoder="multitask-4"))
    np.save(features / "N-1_y_idx.npy", row + 1)
    assert "do not fit features of 12 x 10 cells" in refused(features, "nic-npy", hints)
    np.save(features / "N-1_features.npy", dense[0])
    assert "wanted floats [D, rows, cols]" in refused(features, "nic-npy", hints)
