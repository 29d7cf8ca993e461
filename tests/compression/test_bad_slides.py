"""A cohort with each kind of bad slide that people meet: each is named with its reason, and none stops another."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PixelEncoder, compress_here, spoil_tile, tissue_image, write_slide

from nic.compression.compress_cohort import CompressionReport
from nic.compression.compressed_slide import CompressedSlide
from nic.slides.slide import SlideSource, find_slides

GOOD = ("odd_mpp", "plain", "single_level")
REASONS = {
    "black": "NoTissue",
    "blurred": "OutOfFocus",
    "coarse": "ResolutionTooLow",
    "empty": "UnreadableSlide",
    "glass": "NoTissue",
    "mpp_tenfold": "ResolutionTooLow",
    "mpp_tenth": "ImplausibleResolution",
    "no_mpp": "MissingResolution",
    "spoilt": "TooManyFailedCells",
    "text": "UnreadableSlide",
    "truncated": "UnreadableSlide",
}


@pytest.fixture
def slides(tmp_path: Path) -> list[SlideSource]:
    folder, image = tmp_path / "slides", tissue_image(1024, 1024)
    folder.mkdir()
    write_slide(folder / "plain.tif", image)
    write_slide(folder / "single_level.tif", image, downsamples=(1,))
    write_slide(folder / "odd_mpp.tif", image, 0.4987)
    write_slide(folder / "black.tif", np.zeros_like(image))
    write_slide(folder / "glass.tif", np.full_like(image, 242))
    write_slide(folder / "blurred.tif", np.asarray(cv2.GaussianBlur(image, (0, 0), 12), np.uint8))
    write_slide(folder / "coarse.tif", image, 1.0)
    write_slide(folder / "no_mpp.tif", image, None)
    write_slide(folder / "mpp_tenfold.tif", image, 5.0)
    write_slide(folder / "mpp_tenth.tif", image, 0.025)
    spoilt = write_slide(folder / "spoilt.tif", image, downsamples=(1,))
    for tile in range(24, 48):
        spoil_tile(spoilt, tile)
    (folder / "empty.svs").write_bytes(b"")
    (folder / "text.svs").write_text("a list of slides\n")
    (folder / "truncated.tif").write_bytes((folder / "plain.tif").read_bytes()[:5000])
    return [*find_slides(folder), SlideSource("no_such_file", folder / "no_such_file.svs")]


@pytest.fixture
def report(slides: list[SlideSource], tmp_path: Path, pixel_encoder: PixelEncoder) -> CompressionReport:
    return compress_here(slides, pixel_encoder, tmp_path / "codes")


def test_each_bad_slide_is_in_the_table_with_its_reason(report: CompressionReport, tmp_path: Path) -> None:
    with (tmp_path / "codes" / "quarantine.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["slide"]: row["reason"] for row in table} == REASONS
    assert all(row["slide"] in row["evidence"] and row["release"] for row in table)
    assert not any(str(tmp_path) in row["evidence"] for row in table)


def test_a_slide_that_is_not_there_is_unreached_not_refused(report: CompressionReport, tmp_path: Path) -> None:
    assert [(miss.slide, miss.reason) for miss in report.unreached] == [("no_such_file", "UnreachedSlide")]
    with (tmp_path / "codes" / "unreached.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["slide"] == "no_such_file"
    assert "no_such_file.svs: no such file" in row["evidence"]
    assert row["release"]
    assert str(tmp_path) not in row["evidence"]


def test_the_good_slides_are_done_and_the_bad_leave_no_file(report: CompressionReport, tmp_path: Path) -> None:
    assert report.compressed == sorted(GOOD)
    assert sorted(file.stem for file in (tmp_path / "codes").glob("*.h5")) == sorted(GOOD)
    assert all(len(CompressedSlide.load(tmp_path / "codes" / f"{slide}.h5").codes) for slide in GOOD)
