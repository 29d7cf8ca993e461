"""An open slide: its resolution, its pixels, its overview; and files that cannot be opened."""

from pathlib import Path

import numpy as np
import pytest
from conftest import spoil_tile, tissue_image, write_slide

from nic.errors import ImplausibleResolution, MissingResolution, UnreachedSlide, UnreadableSlide
from nic.slides.resolution import resolution
from nic.slides.slide import Slide, SlideSource, find_slides


def opened(path: Path, mpp: float | None = None) -> Slide:
    return Slide.open(SlideSource(path.stem, path, mpp))


@pytest.mark.parametrize("mpp", [0.5, 0.2425, 0.265])
def test_the_exact_resolution_of_the_file_is_found(tmp_path: Path, mpp: float) -> None:
    with opened(write_slide(tmp_path / "a.tif", tissue_image(400, 300), mpp)) as slide:
        assert slide.mpp == pytest.approx(mpp, rel=1e-5)
        assert slide.size_l0px == (400, 300)
        assert slide.bounds_l0px == (0, 0, 400, 300)


def test_a_missing_resolution_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "mute.tif", tissue_image(400, 300), mpp=None)
    with pytest.raises(MissingResolution, match=r"mute\.tif.*pass mpp="):
        opened(path)
    with opened(path, mpp=0.25) as slide:
        assert slide.mpp == 0.25


@pytest.mark.parametrize("mpp", [0.025, 0.05])
def test_an_error_by_a_factor_of_ten_is_refused(tmp_path: Path, mpp: float) -> None:
    with pytest.raises(ImplausibleResolution, match=rf"tenfold\.tif: {mpp}"):
        opened(write_slide(tmp_path / "tenfold.tif", tissue_image(400, 300), mpp=mpp))


def test_the_resolution_is_found_in_tiff_tags() -> None:
    inches = {"tiff.ResolutionUnit": "inch", "tiff.XResolution": "50800", "tiff.YResolution": "50800"}
    assert resolution("a", None, inches) == 0.5
    with pytest.raises(MissingResolution):
        resolution("a", None, {**inches, "tiff.ResolutionUnit": "none"})
    with pytest.raises(ImplausibleResolution, match="352"):  # the 72 dpi of a photograph
        resolution("a", None, {**inches, "tiff.XResolution": "72", "tiff.YResolution": "72"})


@pytest.mark.parametrize(
    "odd",
    [
        {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.26"},
        {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25", "openslide.objective-power": "10"},
        {"openslide.mpp-x": "2.5", "openslide.mpp-y": "2.5", "openslide.objective-power": "40"},
    ],
)
def test_contradicting_resolutions_are_refused_unless_mpp_is_given(odd: dict[str, str]) -> None:
    with pytest.raises(ImplausibleResolution, match=r"odd\.svs.*mpp="):
        resolution("odd.svs", None, odd)
    assert resolution("odd.svs", 0.25, odd) == 0.25


@pytest.mark.parametrize(
    ("mpp", "power", "true"),
    [
        (0.2341, 20, True),  # a Pannoramic's 20x objective with a 1.6x adapter
        (0.1625, 20, True),
        (0.121, 40, True),
        (0.504, 40, True),  # made half as large after scanning, the objective left as it was
        (0.05, 20, False),  # a tenth of the truth
        (0.02341, 20, False),
        (5.0, 20, False),  # ten times the truth
        (2.341, 20, False),
        (2.5, 40, False),
    ],
)
def test_an_adapter_is_plausible_and_a_factor_of_ten_is_not(mpp: float, power: int, true: bool) -> None:
    stated = {"openslide.mpp-x": f"{mpp}", "openslide.mpp-y": f"{mpp}", "openslide.objective-power": f"{power}"}
    if true:
        assert resolution("a.svs", None, stated) == mpp
    else:
        with pytest.raises(ImplausibleResolution, match=r"a\.svs"):
            resolution("a.svs", None, stated)


def test_properties_that_are_not_numbers_are_ignored() -> None:
    stated = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25", "openslide.objective-power": "40x"}
    assert resolution("a.svs", None, stated) == 0.25
    with pytest.raises(MissingResolution):
        resolution("a.svs", None, {**stated, "openslide.mpp-x": "unknown"})


@pytest.mark.parametrize("mpp", [0.0, -0.5, 250.0, float("nan")])
def test_a_given_resolution_must_be_a_microscopes(mpp: float) -> None:
    with pytest.raises(ImplausibleResolution, match="mpp="):
        resolution("a.svs", mpp, {})


@pytest.mark.parametrize("content", [b"", b"not a slide at all", b"II*\0" + bytes(50)])
def test_a_file_that_is_not_a_slide_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.svs"
    path.write_bytes(content)
    with pytest.raises(UnreadableSlide, match=r"broken\.svs"):
        opened(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreachedSlide, match=r"gone\.svs: no such file"):
        opened(tmp_path / "gone.svs")


def test_errors_do_not_reveal_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreachedSlide) as caught:
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
    paths = {s.slide_id: s.path for s in find_slides(shared_data / "wsi")}
    assert set(paths) == {
        "CMU-1-Small-Region",
        "camelyon_lowres_level",
        "derived_CMU-1-Small-Region_dicom",
        "derived_CMU-1-Small-Region_pyramid",
    }
    dicom_source = SlideSource("dicom", paths["derived_CMU-1-Small-Region_dicom"])
    svs_source = SlideSource("svs", paths["CMU-1-Small-Region"])
    with Slide.open(dicom_source) as dicom, Slide.open(svs_source) as svs:
        assert dicom.size_l0px == svs.size_l0px == (2220, 2967)
        assert np.array_equal(dicom.read_region(500, 500, 0, 64, 64), svs.read_region(500, 500, 0, 64, 64))


def test_slides_beside_dicom_files_are_found(tmp_path: Path, shared_data: Path) -> None:
    dicom = shared_data / "wsi" / "derived_CMU-1-Small-Region_dicom"
    first = dicom / "volume_none_139x186.dcm"
    lone = shared_data / "wsi" / "camelyon_lowres_level.dcm"
    for file in (first, lone):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert [s.slide_id for s in find_slides(tmp_path)] == ["camelyon_lowres_level", "volume_none_139x186"]
    write_slide(tmp_path / "a.tif", tissue_image(200, 200))
    assert [s.slide_id for s in find_slides(tmp_path)] == ["a", "camelyon_lowres_level", "volume_none_139x186"]
    assert [s.slide_id for s in find_slides(lone)] == ["camelyon_lowres_level"]
    assert [(s.slide_id, s.path) for s in find_slides(dicom)] == [(dicom.name, dicom)]
    assert len(find_slides(shared_data / "wsi" / "*")) == 4


def test_a_glob_finds_slides_and_an_empty_one_is_an_error(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write_slide(tmp_path / name, tissue_image(200, 200))
    assert [s.slide_id for s in find_slides(f"{tmp_path}/*.tif")] == ["a", "b"]
    with pytest.raises(UnreadableSlide, match="no slides there"):
        find_slides(f"{tmp_path}/*.svs")


def test_two_slides_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.tif", "a.tiff"):
        write_slide(tmp_path / name, tissue_image(200, 200))
    with pytest.raises(UnreadableSlide, match=r"/a\.tif and .*/a\.tiff"):
        find_slides(tmp_path)


def test_an_error_in_one_place_does_not_affect_the_others(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.tif", tissue_image(512, 512), downsamples=(1,))
    spoil_tile(path, index=5)  # 4 x 4 tiles of 128 px
    with opened(path) as slide:
        for _ in range(2):
            with pytest.raises(UnreadableSlide, match=r"a: cannot decode at \(130, 130\)"):
                slide.read_region(130, 130, 0, 64, 64)
            assert slide.read_region(300, 300, 0, 64, 64).mean() < 240


def test_an_overview_marks_what_cannot_be_decoded(tmp_path: Path) -> None:
    image = tissue_image(2048, 1250)
    path = write_slide(tmp_path / "a.tif", image, downsamples=(1,))
    with opened(path) as slide:
        whole, unreadable = slide.overview(256)
        assert whole.shape == (157, 256, 3)
        assert not unreadable.any()
        averaged = image[:1248].reshape(156, 8, 256, 8, 3).mean((1, 3))
        assert np.abs(whole[:156] - averaged).mean() < 1
    spoil_tile(path, index=16 * 5 + 7)
    with opened(path) as slide:
        partial, unreadable = slide.overview(256)
        assert 0 < unreadable.sum() <= 32 * 32
        assert unreadable[5 * 16 + 8, 7 * 16 + 8]
        assert np.array_equal(partial[~unreadable], whole[~unreadable])


def test_lower_levels_of_other_colours_are_not_used(tmp_path: Path, shared_data: Path) -> None:
    """OpenSlide decodes the lower levels of this DICOM in wrong colours, and some not at all."""
    sources = {s.slide_id: s for s in find_slides(shared_data / "wsi")}
    with (
        Slide.open(sources["derived_CMU-1-Small-Region_dicom"]) as dicom,
        Slide.open(sources["CMU-1-Small-Region"]) as svs,
    ):
        assert np.array_equal(dicom.thumbnail(200), svs.thumbnail(200))
