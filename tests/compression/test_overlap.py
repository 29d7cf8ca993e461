"""Overlapping tiles: where they lie, what they hold, and that nobody takes them for tiles side by side."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import PixelEncoder, compress_here, tissue_image, write_slide

from nic.compression.compress_slide import compress_slide
from nic.compression.compressed_slide import CompressedSlide
from nic.compression.slide_of_cohort import CompressionOptions
from nic.compression.tiling import Tiling
from nic.errors import EncoderError
from nic.slides.slide import SlideSource

MPP = 0.499
"""A tile of 64 um is 128.26 px wide, half of it 64.13."""


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> SlideSource:
    path = tmp_path_factory.mktemp("slides") / "s.tif"
    return SlideSource("s", write_slide(path, tissue_image(2000, 1500, 3), MPP, compression="deflate"))


@pytest.fixture(scope="module")
def half(slide: SlideSource) -> CompressedSlide:
    return compress_slide(slide, PixelEncoder(), Tiling(overlap_px=32, exclude=()))


def test_every_second_tile_is_that_of_tiles_side_by_side(slide: SlideSource, half: CompressedSlide) -> None:
    plain = compress_slide(slide, PixelEncoder(), Tiling(exclude=()))
    codes = {(r, c): code for r, c, code in zip(half.row.tolist(), half.col.tolist(), half.codes, strict=True)}
    assert plain.grid.stride_um == 2 * half.grid.stride_um == 64
    for row, col, code in zip(plain.row.tolist(), plain.col.tolist(), plain.codes, strict=True):
        assert np.array_equal(codes[2 * row, 2 * col], code)
        assert half.grid.tile_origin_l0px(2 * row, 2 * col) == plain.grid.tile_origin_l0px(row, col)
    assert 3.3 < len(half.codes) / len(plain.codes) < 4.3


def test_tiles_between_hold_the_pixels_between(slide: SlideSource, half: CompressedSlide) -> None:
    image = tissue_image(2000, 1500, 3).astype(float)
    side = 64 / MPP
    odd = (half.row % 2 == 1) & (half.col % 2 == 1)
    for row, col, code in zip(half.row[odd], half.col[odd], half.codes[odd], strict=True):
        x, y = round(int(col) * side / 2), round(int(row) * side / 2)
        tile = image[y : y + 128, x : x + 128].reshape(4, 32, 4, 32, 3).mean((1, 3)).ravel() / 255
        assert np.allclose(code, tile, atol=0.03)


def test_a_file_says_how_its_tiles_overlap(half: CompressedSlide, tmp_path: Path) -> None:
    half.save(tmp_path / "s.h5")
    found = CompressedSlide.load(tmp_path / "s.h5")
    assert (found.grid, found.tiling) == (half.grid, half.tiling)
    assert found.tiling.overlap_px == 32
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["coords"].attrs["overlap"] == 32
        assert file.attrs["stride_l0px"] == pytest.approx(32 / MPP)
        assert np.array_equal(file["coords"][:], half.corners_l0px())


def test_another_overlap_is_compressed_anew(slide: SlideSource, tmp_path: Path) -> None:
    for overlap, wanted in ((0, 1), (32, 1), (32, 0)):
        how = CompressionOptions(Tiling(overlap_px=overlap, exclude=()))
        assert len(compress_here([slide], PixelEncoder(), tmp_path, how).compressed) == wanted


@pytest.mark.parametrize("overlap", [-1, 64, 100])
def test_more_than_a_tile_cannot_overlap(slide: SlideSource, tmp_path: Path, overlap: int) -> None:
    with pytest.raises(EncoderError, match=f"overlap_px={overlap}: the encoder's tiles are 64 px wide, wanted 0 to 63"):
        compress_here([slide], PixelEncoder(), tmp_path, CompressionOptions(Tiling(overlap_px=overlap)))
