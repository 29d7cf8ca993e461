"""What nic exports comes back as it was, in the layout of the other tools."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import h5py
import numpy as np
import pytest
import torch
from conftest import PixelEncoder, tissue_image, write_slide
from made_once import made_once

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.interchange.layouts import LAYOUTS, export_folder, import_folder
from nic.compression.interchange.tile_codes import Hints
from nic.compression.tiling import Tiling
from nic.errors import CodesError, InterchangeError
from nic.slides.slide import SlideSource

FEATURES = {
    "trident": "10x_64px_0px_overlap/features_nic-000000000000",
    "clam": "",
    "stamp": "",
    "slideflow": "",
    "nic-npy": "",
}
"""Where below the exported folder the features lie."""


def compressed(folder: Path, mpp: float, overlap_px: int = 0) -> CompressedSlide:
    """folder/a.tif, a slide whose tiles' sides are rarely whole level-0 px, and its codes in folder/codes/a.h5."""

    def compress(draft: Path) -> None:
        path = write_slide(draft / "a.tif", tissue_image(1500, 1300), mpp)
        slide = compress_slide(SlideSource("a", path), PixelEncoder(), Tiling(overlap_px=overlap_px))
        slide.save(draft / "codes" / "a.h5")

    copytree(made_once(f"compressed-{mpp}-{overlap_px}", compress), folder, dirs_exist_ok=True)
    return CompressedSlide.load(folder / "codes" / "a.h5")


@pytest.mark.parametrize(("mpp", "overlap_px"), [(0.5, 0), (0.499, 0), (0.3777, 0), (0.499, 32), (0.3777, 20)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_round_trip_keeps_coordinates_codes_and_encoder(
    tmp_path: Path, layout: str, mpp: float, overlap_px: int
) -> None:
    slide = compressed(tmp_path, mpp, overlap_px)
    export_folder(tmp_path / "codes", layout, tmp_path / "out")
    patches = str(tmp_path / "out" / "patches")
    features = tmp_path / "out" / FEATURES[layout].replace("0px_overlap", f"{overlap_px}px_overlap")
    report = import_folder(features, layout, tmp_path / "back", Hints(patches=patches), {})
    assert not report.quarantined
    assert (report.imported[0].moved, report.imported[0].collisions, report.imported[0].lattices) == (0, 0, 1)
    back = CompressedSlide.load(tmp_path / "back" / "a.h5")
    assert np.array_equal(back.corners_l0px(), slide.corners_l0px())
    assert np.array_equal(back.codes, slide.codes)
    assert (back.grid, back.encoder) == (slide.grid, slide.encoder)


def test_features_have_the_ids_of_their_slides(tmp_path: Path) -> None:
    """A tool that names its file by the whole name of the slide, and one that leaves the slide's suffix out."""
    slide = compressed(tmp_path, 0.5)
    for number, name in enumerate(("TCGA-01.B34C", "b.svs", "c.d.tif")):
        export = tmp_path / f"out {number}"
        LAYOUTS["stamp"].write(replace(slide, slide_id=name), export)
        (export / f"{name}.h5").rename((tmp_path / "out 0") / f"{name}.h5")
    report = import_folder(tmp_path / "out 0", "stamp", tmp_path / "back", Hints(), {})
    assert not report.quarantined
    ids = ["TCGA-01.B34C", "b", "c.d"]
    assert sorted(file.name for file in (tmp_path / "back").glob("*.h5")) == [f"{name}.h5" for name in ids]
    assert [CompressedSlide.load(tmp_path / "back" / f"{name}.h5").slide_id for name in ids] == ids


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_slide_itself_gives_size_and_fingerprint(tmp_path: Path, layout: str) -> None:
    slide = compressed(tmp_path, 0.499)
    export_folder(tmp_path / "codes", layout, tmp_path / "out")
    hints, sources = Hints(patches=str(tmp_path / "out" / "patches")), {"a": SlideSource("a", tmp_path / "a.tif")}
    assert import_folder(tmp_path / "out" / FEATURES[layout], layout, tmp_path / "back", hints, sources).imported
    back = CompressedSlide.load(tmp_path / "back" / "a.h5")
    assert (back.size_l0px, back.fingerprint) == (slide.size_l0px, slide.fingerprint)


def test_trident_finds_what_it_looks_for(tmp_path: Path) -> None:
    slide = compressed(tmp_path, 0.25)
    export_folder(tmp_path / "codes", "trident", tmp_path)
    with h5py.File(tmp_path / FEATURES["trident"] / "a.h5") as file:
        assert file["features"].shape == slide.codes.shape
        assert file["features"].dtype == np.float32
        coords, attributes = file["coords"][:], dict(file["coords"].attrs)
    assert np.array_equal(coords, slide.corners_l0px())
    wanted = {"patch_size": 64, "patch_size_level0": 256, "level0_magnification": 40, "target_magnification": 10}
    assert wanted.items() <= attributes.items()
    assert (attributes["level0_width"], attributes["level0_height"], attributes["overlap"]) == (1500, 1300, 0)
    with h5py.File(tmp_path / "10x_64px_0px_overlap" / "patches" / "a_patches.h5") as file:
        assert np.array_equal(file["coords"][:], coords)


def test_clam_finds_what_it_looks_for(tmp_path: Path) -> None:
    slide = compressed(tmp_path, 0.25)
    export_folder(tmp_path / "codes", "clam", tmp_path)
    bag = torch.load(tmp_path / "pt_files" / "a.pt", weights_only=True)
    assert bag.dtype == torch.float32
    assert np.array_equal(bag.numpy(), slide.codes.astype(np.float32))
    with h5py.File(tmp_path / "patches" / "a.h5") as file:
        assert (file["coords"].attrs["patch_size"], file["coords"].attrs["patch_level"]) == (256, 0)
        assert tuple(file["coords"].attrs["level_dim"]) == (1500, 1300)
        assert np.array_equal(file["coords"][:], slide.corners_l0px())


def test_stamp_finds_what_it_looks_for(tmp_path: Path) -> None:
    slide = compressed(tmp_path, 0.499)
    export_folder(tmp_path / "codes", "stamp", tmp_path / "out")
    with h5py.File(tmp_path / "out" / "a.h5") as file:
        assert file["feats"].dtype == np.float16
        assert np.allclose(file["coords"][:], slide.corners_l0px() * 0.499, atol=1e-3)
        assert (file.attrs["unit"], file.attrs["tile_size_um"], file.attrs["tile_size_px"]) == ("um", 64.0, 64)
        assert file.attrs["feat_type"] == "tile"


def test_slideflow_finds_what_it_looks_for(tmp_path: Path) -> None:
    slide = compressed(tmp_path, 0.5)
    export_folder(tmp_path / "codes", "slideflow", tmp_path / "out")
    assert torch.load(tmp_path / "out" / "a.pt", weights_only=True).shape == slide.codes.shape
    assert np.array_equal(np.load(tmp_path / "out" / "a.index.npz")["arr_0"], slide.corners_l0px() + 64)
    config = json.loads((tmp_path / "out" / "bags_config.json").read_text())
    assert (config["num_features"], config["tile_px"], config["tile_um"]) == (48, 64, 64.0)


def test_the_original_finds_a_dense_array(tmp_path: Path) -> None:
    slide = compressed(tmp_path, 0.5)
    export_folder(tmp_path / "codes", "nic-npy", tmp_path / "out")
    dense = np.load(tmp_path / "out" / "a_features.npy")
    assert (dense.dtype, dense.shape) == (np.float16, (48, slide.grid.rows, slide.grid.cols))
    assert np.array_equal(dense[:, slide.row, slide.col].T, slide.codes)
    assert not dense[:, ~slide.valid].any()
    assert np.array_equal(np.load(tmp_path / "out" / "a_im_shape.npy"), [slide.grid.cols, slide.grid.rows])


def test_an_exported_file_of_another_slide_is_refused(tmp_path: Path) -> None:
    compressed(tmp_path, 0.5)
    export_folder(tmp_path / "codes", "stamp", tmp_path / "out")
    report = import_folder(tmp_path / "out", "stamp", tmp_path / "back", Hints(mpp=0.25), {})
    assert report.quarantined[0].reason == "ImplausibleResolution"
    assert "0.5 um/px, now 0.25" in report.quarantined[0].evidence
    assert not list((tmp_path / "back").glob("*.h5"))


def test_folders_without_slides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InterchangeError, match="no features laid out as stamp"):
        import_folder(tmp_path, "stamp", tmp_path / "out", Hints(), {})
    with pytest.raises(InterchangeError, match="known are trident"):
        import_folder(tmp_path, "hoptimus", tmp_path / "out", Hints(), {})
    with pytest.raises(CodesError, match="run `compress` first"):
        export_folder(tmp_path, "stamp", tmp_path / "out")


def test_a_slide_of_another_encoder_keeps_its_name(tmp_path: Path) -> None:
    """Imported codes exported again: the folder says whose they are."""
    slide = compressed(tmp_path, 0.5)
    foreign = replace(slide.encoder, objective="imported", tasks=("uni_v1", "STAMP"))
    replace(slide, encoder=foreign).save(tmp_path / "codes" / "a.h5")
    export_folder(tmp_path / "codes", "trident", tmp_path / "out")
    assert (tmp_path / "out" / "10x_64px_0px_overlap" / "features_uni_v1" / "a.h5").is_file()


def test_another_encoder_run_by_trident_on_our_tiles_lies_on_our_grid(tmp_path: Path) -> None:
    """TRIDENT copies the attributes of `coords` from the patches to the features that it makes of them."""
    slide = compressed(tmp_path, 0.499)
    export_folder(tmp_path / "codes", "trident", tmp_path / "out")
    job = tmp_path / "out" / "10x_64px_0px_overlap"
    theirs = np.random.default_rng(0).normal(size=(len(slide.codes), 32)).astype(np.float32)
    (job / "features_uni_v1").mkdir()
    with (
        h5py.File(job / "patches" / "a_patches.h5") as patches,
        h5py.File(job / "features_uni_v1" / "a.h5", "w") as file,
    ):
        file["features"] = theirs
        file.create_dataset("coords", data=patches["coords"][:]).attrs.update(patches["coords"].attrs)
    report = import_folder(job / "features_uni_v1", "trident", tmp_path / "back", Hints(), {})
    assert [found.moved for found in report.imported] == [0]
    back = CompressedSlide.load(tmp_path / "back" / "a.h5")
    assert np.array_equal(back.codes, theirs.astype(np.float16))
    assert back.grid == slide.grid
    assert back.encoder.tasks == ("uni_v1", "TRIDENT")
    assert back.encoder.sha256 != slide.encoder.sha256


def test_another_encoder_run_by_clam_on_our_tiles_is_not_taken_for_ours(tmp_path: Path) -> None:
    slide = compressed(tmp_path, 0.499)
    export_folder(tmp_path / "codes", "clam", tmp_path / "out")
    with h5py.File(tmp_path / "out" / "h5_files" / "a.h5", "r+") as file:
        del file.attrs["nic_encoder"]
    hints = Hints(patches=str(tmp_path / "out" / "patches"))
    report = import_folder(tmp_path / "out", "clam", tmp_path / "back", hints, {})
    assert "give encoder=" in report.quarantined[0].evidence
    assert import_folder(tmp_path / "out", "clam", tmp_path / "back", replace(hints, encoder="uni"), {}).imported
    back = CompressedSlide.load(tmp_path / "back" / "a.h5")
    assert (back.grid, back.encoder.tasks) == (slide.grid, ("uni", "CLAM"))


@pytest.mark.parametrize(
    "note",
    ["", "{}", '{"rows": 1}', '{"origin_l0px": [0, 0], "rows": 3}', '{"origin_l0px": 3}', '{"origin_l0px": "ab"}'],
)
def test_a_damaged_note_is_refused(tmp_path: Path, note: str) -> None:
    compressed(tmp_path, 0.5)
    export_folder(tmp_path / "codes", "stamp", tmp_path / "out")
    with h5py.File(tmp_path / "out" / "a.h5", "r+") as file:
        file.attrs["nic_grid"] = note
    report = import_folder(tmp_path / "out", "stamp", tmp_path / "back", Hints(), {})
    assert "nic's note in it is damaged" in report.quarantined[0].evidence
