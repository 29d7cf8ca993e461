"""Files laid out by hand as TRIDENT writes them (save_h5 of `features` and `coords`), and what may be wrong."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import tissue_image, write_slide
from foreign_files import Codes, block, random_codes, refused, same_places, taken_in
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.compression.interchange.layouts import import_folder
from nic.compression.interchange.tile_codes import Hints
from nic.errors import InterchangeError
from nic.slides.slide import SlideSource


def trident(
    folder: Path,
    coords: NDArray[Any],
    codes: Codes,
    drop: str = "",
    **attributes: Any,
) -> Path:
    """features_uni_v1/T-1.h5: 256 px at 20x of a 40x slide."""
    stated = {
        "patch_size": 256,
        "patch_size_level0": 512,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 0,
        "name": "T-1",
        "savetodir": "/some/where",
        "level0_width": 20000,
        "level0_height": 16000,
    }
    features = folder / "features_uni_v1"
    features.mkdir(exist_ok=True)
    with h5py.File(features / "T-1.h5", "w") as file:
        made = file.create_dataset(
            "features", data=codes, maxshape=(None, *codes.shape[1:]), chunks=(1, *codes.shape[1:])
        )
        made.attrs.update(name="T-1", savetodir="/some/where")
        at = file.create_dataset(
            "coords", data=coords, maxshape=(None, *coords.shape[1:]), chunks=(1, *coords.shape[1:])
        )
        at.attrs.update({name: value for name, value in {**stated, **attributes}.items() if name != drop})
    return features


@pytest.mark.parametrize("mpp", [0.25, 0.2425, 0.2527])
def test_trident_is_read(tmp_path: Path, mpp: float) -> None:
    coords, codes = block(12, 9, 512, 1024, 2048)[::-1], random_codes(108)  # columns, rows: any order
    slide, report = taken_in(trident(tmp_path, coords, codes), "trident", Hints(mpp=mpp))
    assert same_places(slide, coords, codes)
    assert (slide.grid.side_l0px, slide.grid.tile_mpp) == pytest.approx((512, 2 * mpp))
    assert (slide.grid.rows, slide.grid.cols) == (32, 40)  # of the whole slide: 16000 and 20000 px
    assert (report.imported[0].moved, report.imported[0].collisions) == (0, 0)
    assert (slide.encoder.objective, slide.encoder.tasks) == ("imported", ("uni_v1", "TRIDENT"))
    assert slide.encoder.code_size == 16
    assert (slide.size_l0px, slide.reader) == ((20000, 16000), "imported from TRIDENT")


def test_slides_of_nearly_one_resolution_are_of_one_encoder_and_other_encoders_are_not(tmp_path: Path) -> None:
    coords, codes = block(4, 4, 512), random_codes(16)
    features = trident(tmp_path, coords, codes)
    fine = taken_in(features, "trident", Hints(mpp=0.2425))[0].encoder
    assert taken_in(features, "trident", Hints(mpp=0.2527))[0].encoder == fine

    def same_px(folder: Path) -> Path:
        return trident(folder, coords, codes, patch_size=512, level0_magnification=20)

    others = [
        taken_in(features, "trident", Hints(mpp=0.25, encoder="uni_v2"))[0].encoder,
        taken_in(same_px(tmp_path), "trident", Hints(mpp=0.45))[0].encoder,
        taken_in(trident(tmp_path, coords, random_codes(16, 20)), "trident", Hints(mpp=0.25))[0].encoder,
    ]
    assert len({fine.sha256, *(other.sha256 for other in others)}) == 4
    assert len(fine.sha256) == 64


def test_trident_with_a_leading_axis_is_read(tmp_path: Path) -> None:
    coords, codes = block(4, 5, 512), random_codes(20)
    slide, _ = taken_in(trident(tmp_path, coords[None], codes[None]), "trident", Hints(mpp=0.25))
    assert same_places(slide, coords, codes)


def test_the_slide_says_its_resolution_and_the_cohort_overrules_it(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "T-1.tif", tissue_image(1500, 1300), 0.25)
    coords, codes = block(2, 2, 512), random_codes(4)
    features = trident(tmp_path, coords, codes, level0_width=1500, level0_height=1300)
    for mpp, wanted in ((None, 0.25), (0.26, 0.26)):
        slide, _ = taken_in(features, "trident", Hints(), sources={"T-1": SlideSource("T-1", path, mpp)})
        assert slide.grid.slide_mpp == pytest.approx(wanted)
        assert len(slide.fingerprint) == 64


def test_trident_with_an_overlap_is_read(tmp_path: Path) -> None:
    """As TRIDENT steps now: all by a tile less the overlap, on one lattice, so that no tile is moved."""
    coords = block(7, 7, 384)
    codes = random_codes(49)
    slide, report = taken_in(trident(tmp_path, coords, codes, overlap=64), "trident", Hints(mpp=0.25))
    assert (slide.grid.side_l0px, slide.grid.stride_l0px, slide.grid.overlap_px) == (512, 384, 64)
    assert (report.imported[0].lattices, report.imported[0].moved, report.imported[0].collisions) == (1, 0, 0)
    assert same_places(slide, coords, codes)


def test_trident_with_an_overlap_as_it_was_until_2025_is_read(tmp_path: Path) -> None:
    """Each step is a tile less the overlap, but for the first one, which is a whole tile: those tiles are moved."""
    steps = np.arange(7)
    place = 512 * steps - 128 * (steps - 1).clip(0)  # 0, 512, 896, 1280, ...
    coords = np.stack([axis.ravel() for axis in np.meshgrid(place, place)], axis=1)
    slide, report = taken_in(trident(tmp_path, coords, random_codes(49), overlap=64), "trident", Hints(mpp=0.25))
    assert (slide.grid.side_l0px, slide.grid.stride_l0px, slide.grid.overlap_px) == (512, 384, 64)
    assert (report.imported[0].moved, report.imported[0].max_l0px, report.imported[0].collisions) == (13, 128, 0)
    found = slide.corners_l0px()
    assert np.array_equal(np.unique(found), 128 + 384 * steps)
    assert (found[:, 0].reshape(7, 7)[:, 1:] == place[1:]).all()


Broken = Callable[[Path], Path]
GOOD = block(6, 6, 512)


@pytest.mark.parametrize(
    ("broken", "hints", "message"),
    [
        (lambda d: trident(d, GOOD, random_codes(36)), Hints(), "MissingResolution: .*T-1.h5: does not state .* give"),
        (lambda d: trident(d, GOOD, random_codes(36)), Hints(mpp=0.01), "ImplausibleResolution: .*mpp=0.01 was"),
        (lambda d: trident(d, GOOD, random_codes(36)), Hints(mpp=0.5), "ImplausibleResolution: .* would have 1 um/px"),
        (lambda d: trident(d, GOOD, random_codes(35)), Hints(mpp=0.25), "35 codes and 36 coordinates"),
        (lambda d: trident(d, GOOD, random_codes(36)[0]), Hints(mpp=0.25), r"is \[16\], wanted \[tiles, D\]"),
        (lambda d: trident(d, GOOD, random_codes(36), "patch_size_level0"), Hints(mpp=0.25), "no attribute 'patch_s"),
        (lambda d: trident(d, GOOD, random_codes(36), overlap=250), Hints(mpp=0.25), "lie 512 px apart, wanted 12"),
        (lambda d: trident(d, GOOD * 0.25, random_codes(36)), Hints(mpp=0.25), "lie 128 px apart, wanted 512"),
        (lambda d: trident(d, GOOD + 0.5, random_codes(36)), Hints(mpp=0.25), r"\(0.5, 0.5\), wanted whole level-0"),
        (lambda d: trident(d, GOOD * 8, random_codes(36)), Hints(mpp=0.25), "on a slide of 20000 x 16000 px"),
        (lambda d: trident(d, GOOD * 2, random_codes(36)), Hints(mpp=0.25), "lie 1024 px apart, wanted 512"),
        (lambda d: trident(d, GOOD[:0], random_codes(0)), Hints(mpp=0.25), "NoTissue: T-1: TRIDENT found no tile"),
        (lambda d: trident(d, GOOD, np.full((36, 16), np.nan)), Hints(mpp=0.25), "36 of 36 codes are not finite"),
        (lambda d: trident(d, GOOD, np.full((36, 16), 1e5)), Hints(mpp=0.25), "beyond 65504, the first in row 0"),
        (lambda d: trident(d, GOOD, np.ones((36, 16), int)), Hints(mpp=0.25), "holds int64, wanted floats"),
        (lambda d: trident(d, GOOD[:, :1], random_codes(36)), Hints(mpp=0.25), r"'coords' is \[36, 1\]"),
        (lambda d: trident(d, GOOD, random_codes(36), patch_size="big"), Hints(mpp=0.25), "'patch_size' is big"),
    ],
)
def test_a_refusal_of_a_trident_file_names_what_is_wrong(
    tmp_path: Path, broken: Broken, hints: Hints, message: str
) -> None:
    evidence = refused(broken(tmp_path), "trident", hints)
    assert re.search(message, evidence), evidence
    assert str(tmp_path) not in evidence


def test_a_truncated_file_is_set_apart_and_the_others_are_taken_in(tmp_path: Path) -> None:
    features = trident(tmp_path, GOOD, random_codes(36))
    whole = (features / "T-1.h5").read_bytes()
    (features / "T-2.h5").write_bytes(whole[: len(whole) // 2])
    (features / "T-3.h5").write_text("no HDF5")
    report = import_folder(features, "trident", tmp_path / "out", Hints(mpp=0.25), {})
    assert [s.slide_id for s in report.imported] == ["T-1"]
    assert [q.slide for q in report.quarantined] == ["T-2", "T-3"]
    assert "copy it again" in report.quarantined[0].evidence
    assert (tmp_path / "out" / "quarantine.csv").is_file()


def raw2features(folder: Path, coords: NDArray[Any], codes: Codes, side_l0px: int, level0: float) -> Path:
    """exported/T-1.h5 as raw2features 0.2 exports TRIDENT's layout at 0.5 um/px: patch_size is that of level 0."""
    features = folder / "exported"
    features.mkdir()
    with h5py.File(features / "T-1.h5", "w") as file:
        file.create_dataset("features", data=codes).attrs["encoder"] = "uni2-h"
        stated = {"patch_size_level0": side_l0px, "patch_size": side_l0px, "target_magnification": 20.0}
        file.create_dataset("coords", data=coords).attrs.update({**stated, "level0_magnification": level0})
    return features


@pytest.mark.parametrize(("mpp", "side", "level0"), [(0.25, 448, 40.0), (0.2527, 443, 39.6), (0.5, 224, 20.0)])
def test_raw2features_in_tridents_layout_is_read(tmp_path: Path, mpp: float, side: int, level0: float) -> None:
    coords, codes = block(5, 4, side, side, 2 * side), random_codes(20)
    slide, _ = taken_in(raw2features(tmp_path, coords, codes, side, level0), "trident", Hints(mpp=mpp))
    assert same_places(slide, coords, codes)
    assert (slide.grid.tile_px, slide.grid.side_l0px) == (224, pytest.approx(side))
    assert slide.encoder.tasks == ("uni2-h", "TRIDENT")


def test_features_in_folders_below_are_taken_in_and_two_of_one_slide_are_named(tmp_path: Path) -> None:
    features = trident(tmp_path, GOOD, random_codes(36))
    (features / "site_b").mkdir()
    (features / "T-1.h5").rename(features / "site_b" / "T-1.h5")
    trident(tmp_path, GOOD, random_codes(36)).joinpath("T-1.h5").rename(features / "T-2.h5")
    (features / "._T-2.h5").write_bytes(b"of another system")
    report = import_folder(features, "trident", tmp_path / "out", Hints(mpp=0.25), {})
    assert [snapping.slide_id for snapping in report.imported] == ["T-1", "T-2"]
    assert CompressedSlide.load(tmp_path / "out" / "T-1.h5").encoder.tasks[0] == "uni_v1"
    trident(tmp_path, GOOD, random_codes(36))
    with pytest.raises(InterchangeError, match=r"T-1: two files of this slide, T-1\.h5 and site_b/T-1\.h5"):
        import_folder(features, "trident", tmp_path / "out", Hints(mpp=0.25), {})


def test_features_that_are_half_there_today_leave_yesterdays_imports(tmp_path: Path) -> None:
    features, out = trident(tmp_path, GOOD, random_codes(36)), tmp_path / "out"
    whole = (features / "T-1.h5").read_bytes()
    (features / "T-2.h5").write_bytes(whole)
    import_folder(features, "trident", out, Hints(mpp=0.25), {})
    before = {file.name: file.read_bytes() for file in out.glob("*.h5")}
    assert sorted(before) == ["T-1.h5", "T-2.h5"]
    (features / "T-1.h5").write_bytes(whole[: len(whole) // 2])
    slide = SlideSource("T-2", tmp_path / "not_mounted" / "T-2.svs")
    report = import_folder(features, "trident", out, Hints(), {"T-2": slide})
    assert [(q.slide, q.reason) for q in report.quarantined] == [("T-1", "InterchangeError")]
    assert [(u.slide, u.reason) for u in report.unreached] == [("T-2", "UnreachedSlide")]
    assert {file.name: file.read_bytes() for file in out.glob("*.h5")} == before
    assert (out / "unreached.csv").is_file()
