"""Opening slides: what they say of themselves, and what cannot be opened."""

from pathlib import Path

import numpy as np
import pytest
from conftest import tissue_image, write_slide

from nic.errors import ImplausibleResolution, MissingResolution, UnreadableSlide
from nic.slides.slide import Slide, SlideSource, find_slides


def opened(path: Path, mpp: float | None = None) -> Slide:
    return Slide.open(SlideSource(path.stem, path, mpp))


@pytest.mark.parametrize("mpp", [0.5, 0.2425, 0.265])
def test_the_exact_resolution_of_the_file_is_found(tmp_path: Path, mpp: float) -> None:
    with opened(write_slide(tmp_path / "a.tif", tissue_image(400, 300), mpp)) as slide:
        assert slide.mpp == pytest.approx(mpp, rel=1e-5)
        assert slide.size_l0px == (400, 300)
        assert slide.bounds_l0px == (0, 0, 400, 300)


def test_no_resolution_is_an_error_that_says_the_remedy(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "mute.tif", tissue_image(400, 300), mpp=None)
    with pytest.raises(MissingResolution, match=r"mute\.tif.*pass mpp="):
        opened(path)
    with opened(path, mpp=0.25) as slide:
        assert slide.mpp == 0.25


def test_an_impossible_resolution_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImplausibleResolution, match=r"tenfold\.tif: 0\.02"):
        opened(write_slide(tmp_path / "tenfold.tif", tissue_image(400, 300), mpp=0.02))


@pytest.mark.parametrize("content", [b"", b"not a slide at all", b"II*\0" + bytes(50)])
def test_what_is_no_slide_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.svs"
    path.write_bytes(content)
    with pytest.raises(UnreadableSlide, match=r"broken\.svs"):
        opened(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSlide, match=r"gone\.svs: no such file"):
        opened(tmp_path / "gone.svs")


def test_errors_do_not_tell_where_the_slides_lie(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSlide) as caught:
        opened(tmp_path / "gone.svs")
    assert str(tmp_path) not in str(caught.value)


def test_pixels_beyond_the_edge_are_glass(tmp_path: Path) -> None:
    with opened(write_slide(tmp_path / "a.tif", tissue_image(400, 300))) as slide:
        assert (slide.read_region(390, 290, 0, 64, 64)[20:, 20:] == 255).all()


def test_a_fingerprint_follows_the_content_not_the_place(tmp_path: Path) -> None:
    first = write_slide(tmp_path / "a.tif", tissue_image(400, 300))
    copy = tmp_path / "b.tif"
    copy.write_bytes(first.read_bytes())
    other = write_slide(tmp_path / "c.tif", tissue_image(400, 300, seed=1))
    with opened(first) as a, opened(copy) as b, opened(other) as c:
        assert a.fingerprint == b.fingerprint != c.fingerprint


def test_a_folder_of_real_slides_holds_four(shared_data: Path) -> None:
    found = {s.slide_id: s.path for s in find_slides(shared_data / "wsi")}
    assert set(found) == {
        "CMU-1-Small-Region",
        "camelyon_lowres_level",
        "derived_CMU-1-Small-Region_dicom",
        "derived_CMU-1-Small-Region_pyramid",
    }
    with Slide.open(SlideSource("dicom", found["derived_CMU-1-Small-Region_dicom"])) as dicom:
        with Slide.open(SlideSource("svs", found["CMU-1-Small-Region"])) as svs:
            assert dicom.size_l0px == svs.size_l0px == (2220, 2967)
            assert np.array_equal(dicom.read_region(500, 500, 0, 64, 64), svs.read_region(500, 500, 0, 64, 64))


def test_a_glob_finds_slides_and_nothing_found_is_an_error(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write_slide(tmp_path / name, tissue_image(200, 200))
    assert [s.slide_id for s in find_slides(f"{tmp_path}/*.tif")] == ["a", "b"]
    with pytest.raises(UnreadableSlide, match="no slides there"):
        find_slides(f"{tmp_path}/*.svs")


def test_two_slides_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.tif", "a.tiff"):
        write_slide(tmp_path / name, tissue_image(200, 200))
    with pytest.raises(UnreadableSlide, match=r"a\.tif and a\.tiff"):
        find_slides(tmp_path)
