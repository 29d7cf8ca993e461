"""Files laid out by hand as CLAM writes them (process_contours, extract_features_fp), and what may be wrong."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from foreign_files import Codes, block, random_codes, refused, same_places, taken_in
from numpy.typing import NDArray

from nic.compression.interchange.tile_codes import Hints


def clam(
    folder: Path, contours: list[NDArray[np.int64]], codes: Codes, level: int = 1, downsample: float = 4.0
) -> Hints:
    """patches/C-1.h5 of 128 px, one contour after another, with features/h5_files and features/pt_files."""
    coords = np.concatenate(contours)
    (folder / "patches").mkdir(parents=True)
    with h5py.File(folder / "patches" / "C-1.h5", "w") as file:
        file.create_dataset("coords", data=coords).attrs.update(
            patch_size=128,
            patch_level=level,
            downsample=(downsample, downsample),
            downsampled_level_dim=np.array([5000, 4000]),
            level_dim=(5000, 4000),
            name="C-1",
            save_path="/some/where",
        )
    for below in ("h5_files", "pt_files"):
        (folder / "features" / below).mkdir(parents=True)
    with h5py.File(folder / "features" / "h5_files" / "C-1.h5", "w") as file:
        file["features"], file["coords"] = codes, coords.astype(np.int32)
    torch.save(torch.from_numpy(codes), folder / "features" / "pt_files" / "C-1.pt")
    return Hints(mpp=0.25, patches=str(folder / "patches"), encoder="resnet50_trunc")


def test_clam_of_one_contour_is_read(tmp_path: Path) -> None:
    coords, codes = block(7, 8, 512, 1111, 2222), random_codes(56)
    hints = clam(tmp_path, [coords], codes, downsample=4.0003)
    slide, report = taken_in(tmp_path / "features", "clam", hints)
    assert same_places(slide, coords, codes)
    assert (slide.grid.tile_px, slide.grid.tile_mpp) == (128, 1.0)
    assert slide.encoder.tasks == ("resnet50_trunc", "CLAM")
    assert (report.imported[0].lattices, report.imported[0].moved) == (1, 0)


def test_clam_bags_take_their_places_from_the_patches(tmp_path: Path) -> None:
    coords, codes = block(7, 8, 512, 1111, 2222), random_codes(56)
    hints = clam(tmp_path, [coords], codes)
    assert same_places(taken_in(tmp_path / "features" / "pt_files", "clam", hints)[0], coords, codes)
    torch.save(torch.from_numpy(codes[1:]), tmp_path / "features" / "pt_files" / "C-1.pt")
    assert "55 codes and 56 coordinates" in refused(tmp_path / "features" / "pt_files", "clam", hints)


def test_each_contour_is_moved_as_a_whole_and_the_report_says_how_far(tmp_path: Path) -> None:
    large, small = block(9, 9, 512, 1000, 1000), block(3, 4, 512, 9000 + 100, 1000 + 256)
    codes = random_codes(93)
    slide, report = taken_in(tmp_path / "features", "clam", clam(tmp_path, [large, small], codes))
    # 9100 - 1000 = 16 * 512 - 92: the small contour is moved right by 92 px; up by 256 px, which is halfway
    moved = np.concatenate([large, small + np.array([92, -256])])
    assert same_places(slide, moved, codes)
    snapping = report.imported[0]
    assert (snapping.lattices, snapping.moved, snapping.max_l0px, snapping.collisions) == (2, 12, 256.0, 0)
    assert snapping.mean_l0px == pytest.approx(12 * 256 / 93)


def test_contours_that_meet_in_a_cell_are_refused_unless_declared(tmp_path: Path) -> None:
    left, right = (
        block(5, 5, 512),
        block(5, 4, 512, 4 * 512 + 200),
    )  # the last column of the one, the first of the other
    codes = random_codes(45)
    hints = clam(tmp_path, [left, right], codes)
    evidence = refused(tmp_path / "features", "clam", hints)
    assert "5 of 45 tiles lie in a cell that another tile takes (2 lattices" in evidence
    assert "most_collisions" in evidence
    slide, report = taken_in(tmp_path / "features", "clam", hints, most_collisions=0.12)
    assert report.imported[0].collisions == 5
    free = right[:, 0] > 2500
    moved = np.concatenate([left, right[free] - np.array([200, 0])])
    assert same_places(slide, moved, np.concatenate([codes[:25], codes[25:][free]]))


def test_clam_without_what_it_does_not_write_is_refused(tmp_path: Path) -> None:
    hints = clam(tmp_path, [block(4, 4, 512)], random_codes(16))
    features = tmp_path / "features"
    assert "give patches=" in refused(features, "clam", Hints(mpp=0.25, encoder="resnet50_trunc"))
    assert "give encoder=" in refused(features, "clam", Hints(mpp=0.25, patches=hints.patches))
    assert "MissingResolution" in refused(features, "clam", Hints(encoder="resnet50_trunc", patches=hints.patches))
    (tmp_path / "features" / "h5_files" / "C-1.h5").rename(tmp_path / "features" / "h5_files" / "C-2.h5")
    assert "C-2.h5: cannot be read" in refused(features, "clam", hints)


@pytest.mark.parametrize("content", [{"features": torch.ones(3, 4)}, torch.ones(3, 4, dtype=torch.int64), [1, 2], None])
def test_a_bag_that_is_no_tensor_of_floats_is_refused(tmp_path: Path, content: Any) -> None:
    hints = clam(tmp_path, [block(4, 4, 512)], random_codes(16))
    bag = tmp_path / "features" / "pt_files" / "C-1.pt"
    torch.save(content, bag)
    assert "wanted a tensor of floats" in refused(bag.parent, "clam", hints)
    bag.write_bytes(bag.read_bytes()[:100])
    assert "not a tensor that torch reads" in refused(bag.parent, "clam", hints)
