"""QC tests find pen marks, dark regions and blur, and each excluded cell keeps the test that it failed."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PixelEncoder, tissue_image, write_slide
from numpy.typing import NDArray

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.tiling import Tiling
from nic.errors import NoTissue, OutOfFocus, UnknownQCTest
from nic.slides.qc import QC_TESTS, cells_failing_qc, dark_regions, out_of_focus, pen_marks, qc_tests_named
from nic.slides.slide import Slide, SlideSource

Image = NDArray[np.uint8]
GREEN, BLUE, BLACK = (40, 150, 70), (40, 80, 190), (25, 22, 24)
STAINS = [(225, 150, 190), (120, 60, 150), (90, 80, 170), (150, 90, 40), (190, 30, 50), (242, 242, 242)]
"""Eosin, haematoxylin, a bluish haematoxylin, DAB, blood, glass."""


@pytest.mark.parametrize("ink", [GREEN, BLUE])
def test_pen_marks_are_found_with_their_outline(ink: tuple[int, int, int]) -> None:
    image = tissue_image(300, 300)
    cv2.line(image, (40, 60), (260, 200), ink, 30)
    drawn = cv2.line(np.zeros((300, 300), np.uint8), (40, 60), (260, 200), 1, 30) > 0
    marks = pen_marks(image)
    assert (marks & drawn).sum() > 0.95 * drawn.sum()
    assert (marks & ~drawn).sum() < 0.02 * drawn.sum()


@pytest.mark.parametrize("stain", STAINS)
def test_stains_blood_and_glass_are_neither_ink_nor_dark(stain: tuple[int, int, int]) -> None:
    image = np.full((100, 100, 3), stain, np.uint8)
    assert not pen_marks(image).any()
    assert not dark_regions(image).any()


def test_black_ink_is_dark_and_specks_are_not() -> None:
    image = tissue_image(300, 300)
    image[100:140, 50:250] = BLACK
    image[200:208, 200:208] = BLACK
    assert dark_regions(image)[105:135, 55:245].all()
    assert dark_regions(image).sum() < 1.05 * 40 * 200


def test_the_cmu_slide_is_in_focus_until_it_is_blurred(shared_data: Path) -> None:
    source = SlideSource("cmu", shared_data / "wsi" / "CMU-1-Small-Region.svs")
    sharp = compress_slide(source, PixelEncoder())
    assert sharp.excluded is not None
    assert not sharp.excluded.any()
    with Slide.open(source) as slide:
        image = slide.read_region(0, 0, 0, *slide.size_l0px)
    for sigma_um, least in ((2, 0.5), (3, 0.95)):
        smooth = cv2.resize(cv2.GaussianBlur(image, (0, 0), sigma_um * 2), None, fx=0.5, fy=0.5)
        rows, cols = smooth.shape[0] // 64, smooth.shape[1] // 64
        tiles = smooth[: rows * 64, : cols * 64].reshape(rows, 64, cols, 64, 3).swapaxes(1, 2)
        assert out_of_focus(tiles[sharp.valid[:rows, :cols]], 1.0).mean() >= least


def test_a_cell_fails_the_test_with_the_largest_share() -> None:
    usable = np.array([[0.7, 0.5, 0.1, 0.0, 0.3]])
    pen, dark = np.array([[0.3, 0.3, 0.2, 0.9, 0.1]]), np.array([[0.0, 0.1, 0.6, 0.1, 0.1]])
    failed = cells_failing_qc(usable, {"pen": pen, "dark": dark}, 0.6)
    assert [QC_TESTS[n] for n in failed[0]] == ["", "pen", "dark", "pen", ""]
    assert not cells_failing_qc(usable, {}, 0.6).any()


def spoilt_slide(folder: Path) -> tuple[SlideSource, Image]:
    """Tissue of 2048 px at 0.5 um/px: ink over one part, black over another, a third out of focus."""
    image = tissue_image(2048, 2048)
    image[512:768, 512:1024] = GREEN
    image[1024:1280, 512:1024] = BLACK
    image[1280:1792, 1280:1792] = cv2.GaussianBlur(image, (0, 0), 10)[1280:1792, 1280:1792]
    return SlideSource("s", write_slide(folder / "s.tif", image)), image


def test_excluded_cells_have_no_code_and_keep_the_test_they_failed(tmp_path: Path) -> None:
    source, _ = spoilt_slide(tmp_path)
    compress_slide(source, PixelEncoder()).save(tmp_path / "s.h5")
    slide = CompressedSlide.load(tmp_path / "s.h5")
    assert slide.excluded is not None
    assert (slide.excluded[4:6, 4:8] == QC_TESTS.index("pen")).all()
    assert (slide.excluded[8:10, 4:8] == QC_TESTS.index("dark")).all()
    assert (slide.excluded[10:14, 10:14] == QC_TESTS.index("blurred")).all()
    assert (slide.excluded > 0).sum() == 8 + 8 + 16
    assert not slide.valid[slide.excluded > 0].any()
    assert (slide.valid | (slide.excluded > 0))[2:14, 2:14].all()
    assert slide.tiling.exclude == ("blurred", "dark", "pen")


def test_unnamed_qc_tests_are_not_applied(tmp_path: Path) -> None:
    source, _ = spoilt_slide(tmp_path)
    slide = compress_slide(source, PixelEncoder(), Tiling(exclude=("pen",)))
    assert slide.excluded is not None
    assert set(np.unique(slide.excluded)) == {0, QC_TESTS.index("pen")}
    assert slide.valid[10:14, 10:14].all()


def test_slides_of_ink_and_out_of_focus_are_refused_with_the_reason(tmp_path: Path) -> None:
    image = tissue_image(1024, 1024)
    out_of_focus = cv2.GaussianBlur(image, (0, 0), 12)
    with pytest.raises(OutOfFocus, match=r"s: all of \d+ tissue tiles are blurred"):
        compress_slide(SlideSource("s", write_slide(tmp_path / "blurred.tif", out_of_focus)), PixelEncoder())
    image[100:-100, 100:-100] = BLUE
    with pytest.raises(NoTissue, match=r"\d+ are pen"):
        compress_slide(SlideSource("s", write_slide(tmp_path / "inked.tif", image)), PixelEncoder())


def test_unknown_qc_tests_are_refused() -> None:
    assert qc_tests_named("pen, blurred") == ("pen", "blurred")
    assert qc_tests_named("") == ()
    with pytest.raises(UnknownQCTest, match="no QC test 'fold'; wanted some of pen, dark, blurred"):
        qc_tests_named("pen,fold")
