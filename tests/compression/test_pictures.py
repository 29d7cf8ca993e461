"""Pictures show where a slide was encoded, and where not and why."""

from pathlib import Path

import cv2
import numpy as np
from conftest import PixelEncoder, tissue_image, write_slide

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.pictures import COLOURS, ENCODED, Counts, contact_picture, contact_sheet, contact_sheets
from nic.slides.slide import SlideSource


def inked_slide(folder: Path) -> CompressedSlide:
    """Tissue of 2048 px at 0.5 um/px, 16 x 16 cells, with green ink over cells 4-5 of rows and 4-7 of columns."""
    image = tissue_image(2048, 2048)
    image[512:768, 512:1024] = (40, 150, 70)
    return compress_slide(SlideSource("s", write_slide(folder / "s.tif", image)), PixelEncoder())


def test_excluded_cells_are_tinted_and_encoded_ones_outlined_where_they_lie(tmp_path: Path) -> None:
    slide = inked_slide(tmp_path)
    picture = contact_picture(slide, width_px=320)  # 20 px a cell
    plain, tinted = picture[:320, :320].astype(int), picture[:320, 320:].astype(int)
    cell = np.s_[81:119, 81:159]  # the inked ones, less their edge
    assert np.abs(plain[cell] - (40, 150, 70)).mean() < 12
    wanted = 0.45 * np.array((40, 150, 70)) + 0.55 * np.array(COLOURS["pen"])
    assert np.abs(tinted[cell] - wanted).mean() < 12
    away = np.s_[200:220, 200:220]
    assert np.abs(plain[away] - tinted[away]).max() == 0
    outlined = (tinted == ENCODED).all(axis=2)
    row, col = np.nonzero(slide.valid)
    edges = np.flatnonzero(outlined.any(axis=1))
    assert abs(edges[0] - row.min() * 20) <= 1
    assert abs(edges[-1] - (row.max() + 1) * 20) <= 1
    edges = np.flatnonzero(outlined.any(axis=0))
    assert abs(edges[0] - col.min() * 20) <= 1


def test_counts_are_those_of_the_file(tmp_path: Path) -> None:
    slide = inked_slide(tmp_path)
    assert str(Counts.of(slide)) == f"{len(slide.codes)} encoded, 8 pen"


def test_a_picture_wants_no_codes(tmp_path: Path) -> None:
    slide = inked_slide(tmp_path)
    slide.save(tmp_path / "a.h5")
    cells = CompressedSlide.load_cells(tmp_path / "a.h5")
    assert cells.codes.shape == (len(slide.codes), 0)
    assert np.array_equal(contact_picture(cells), contact_picture(slide))


def test_a_sheet_has_all_pictures_and_keeps_them(tmp_path: Path) -> None:
    inked_slide(tmp_path).save(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes())
    (sheet,) = contact_sheets(tmp_path, ["b", "a"])
    assert sheet.shape[1] > 2 * 640
    kept = tmp_path / "pictures" / "a.jpg"
    cv2.imwrite(str(kept), np.zeros((50, 640, 3), np.uint8))
    (sheet,) = contact_sheets(tmp_path, ["a"])
    assert sheet[:50, :640].max() == 0, "a picture younger than the codes is not drawn again"


def test_pictures_of_different_heights_stand_in_rows() -> None:
    pictures = [np.full((height, 100, 3), shade, np.uint8) for height, shade in ((30, 10), (60, 20), (40, 30))]
    sheet = contact_sheet(pictures, columns=2, gap_px=5)
    assert sheet.shape == (60 + 5 + 40 + 5, 2 * 105, 3)
    assert (sheet[:30, :100] == 10).all()
    assert (sheet[:60, 105:205] == 20).all()
    assert (sheet[65:105, :100] == 30).all()
    assert (sheet[65:, 105:] == 255).all()
