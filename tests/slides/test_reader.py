"""Tiles have the exact um/px (checked by brute force), the right level, and OpenSlide's pixels; none is lost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import PixelEncoder, spoil_tile, tissue_image, write_slide
from numpy.typing import NDArray

from nic.compression.compress_slide import compress_slide
from nic.errors import ResolutionTooLow, UnreadableSlide
from nic.slides.grid import TileGrid
from nic.slides.jpeg_tiles import JpegTiles
from nic.slides.reader import TileReader, area_weights, cut_tiles
from nic.slides.slide import Slide, SlideSource


def read(slide: Slide, grid: TileGrid) -> dict[tuple[int, int], NDArray[np.uint8] | None]:
    """Every cell's tile, None where it failed."""
    rows, cols = (axis.ravel() for axis in np.indices((grid.rows, grid.cols)))
    tiles_by_cell: dict[tuple[int, int], NDArray[np.uint8] | None] = {}
    for batch in TileReader(slide, grid, 0.5).batches(rows, cols, batch_size=7):
        for tile, row, col, failed in zip(batch.tiles, batch.row, batch.col, batch.failed, strict=True):
            tiles_by_cell[int(row), int(col)] = None if failed else tile
    return tiles_by_cell


def averaged(image: NDArray[np.uint8], x: float, y: float, side: float, px: int) -> NDArray[np.float64]:
    """The exact area means of a window: differences of running sums, which are straight lines between pixels."""

    def means(lines: NDArray[np.float64], start: float) -> NDArray[np.float64]:
        sums = np.concatenate([np.zeros_like(lines[:1]), lines.cumsum(axis=0)])
        edges = start + np.arange(px + 1) * side / px
        flat = sums.reshape(len(sums), -1)
        at = np.stack([np.interp(edges, np.arange(len(sums)), column) for column in flat.T], axis=1)
        return np.asarray((np.diff(at, axis=0) / (side / px)).reshape(px, *lines.shape[1:]))

    x0, y0 = int(x), int(y)
    window = image[y0 : y0 + int(side) + 3, x0 : x0 + int(side) + 3].astype(float)
    return means(means(window, y - y0).swapaxes(0, 1), x - x0).swapaxes(0, 1)


@pytest.mark.parametrize("mpp", [0.5, 0.2425, 0.265, 0.499])
def test_tiles_are_cut_at_the_exact_resolution(tmp_path: Path, mpp: float) -> None:
    path = write_slide(tmp_path / "a.tif", tissue_image(900, 700), mpp, downsamples=(1,))
    with Slide.open(SlideSource("a", path)) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0)
        pixels = slide.read_region(0, 0, 0, 900, 700)
        tiles = read(slide, grid)
        for (row, col), tile in tiles.items():
            x, y = grid.cell_origin_l0px(row, col)
            if tile is not None and x + grid.side_l0px < 900 and y + grid.side_l0px < 700:
                assert np.abs(averaged(pixels, x, y, grid.side_l0px, 64) - tile).max() <= 0.51  # rounding
                shifted = np.abs(averaged(pixels, x + 0.25, y, grid.side_l0px, 64) - tile)
                glass = tile.std() < 1
                assert glass or shifted.max() > 0.6
        assert len(tiles) == grid.rows * grid.cols


def test_the_coarsest_level_that_is_fine_enough_is_read(tmp_path: Path) -> None:
    def level(mpp: float, downsamples: tuple[int, ...]) -> int:
        path = write_slide(tmp_path / f"{mpp}.tif", tissue_image(1200, 1000), mpp, downsamples)
        with Slide.open(SlideSource("a", path)) as slide:
            return TileReader(slide, TileGrid.covering(slide.bounds_l0px, mpp, 64, 1.0), 0.5).level

    assert level(0.25, (1, 2, 4)) == 1
    assert level(0.25, (1, 4, 16)) == 0  # 1.0 um/px would be too coarse
    assert level(0.2425, (1, 2)) == 1


def test_a_slide_coarser_than_the_encoder_reads_is_refused(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "coarse.tif", tissue_image(600, 500), 1.0)
    with (
        Slide.open(SlideSource("coarse", path)) as slide,
        pytest.raises(ResolutionTooLow, match=r"coarse: 1 um/px at its finest level, wanted 0\.5"),
    ):
        TileReader(slide, TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0), 0.5)


def test_tiles_are_never_enlarged(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.tif", tissue_image(600, 500), 0.5)
    with Slide.open(SlideSource("a", path)) as slide, pytest.raises(ResolutionTooLow, match=r"wanted 0\.25 um/px"):
        TileReader(slide, TileGrid.covering(slide.bounds_l0px, slide.mpp, 224, 0.25), 0.5)


def test_raw_jpeg_tiles_are_openslides_pixels(tmp_path: Path, shared_data: Path) -> None:
    made = write_slide(tmp_path / "a.tif", tissue_image(900, 700))
    for path in (made, *sorted((shared_data / "wsi").glob("*CMU*.*f")), *(shared_data / "wsi").glob("*.svs")):
        with Slide.open(SlideSource("a", path)) as slide:
            reader = TileReader(slide, TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0), 0.5)
            assert reader.way == "jpeg tiles"
            region = reader._region(130, 77, 500, 400)
            assert np.array_equal(region, slide.read_region(130, 77, 0, 500, 400))


def test_other_tiles_than_jpeg_are_read_by_openslide(tmp_path: Path) -> None:
    image = tissue_image(900, 700)
    path = write_slide(tmp_path / "a.tif", image, compression="deflate")
    with Slide.open(SlideSource("a", path)) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0)
        assert TileReader(slide, grid, 0.5).way == "openslide"
        for (row, col), tile in read(slide, grid).items():
            if tile is not None and row < 5 and col < 7:
                assert np.abs(averaged(image, col * 128, row * 128, 128, 64) - tile).max() <= 0.51


def test_raw_tiles_that_differ_from_openslide_are_not_trusted(tmp_path: Path) -> None:
    """A file that calls its YCbCr RGB, which the two decoders interpret differently."""
    path = write_slide(tmp_path / "a.tif", tissue_image(900, 700))
    with tifffile.TiffFile(path) as file:
        tags = [page.aspage().tags["PhotometricInterpretation"] for page in file.pages]
    content = bytearray(path.read_bytes())
    for tag in tags:
        content[tag.valueoffset : tag.valueoffset + tag.valuebytecount] = (2).to_bytes(tag.valuebytecount, "little")
    path.write_bytes(content)
    with Slide.open(SlideSource("a", path)) as slide:
        reader = TileReader(slide, TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0), 0.5)
        assert reader.way == "openslide, for raw tiles differ from it"
        assert np.array_equal(reader._region(130, 77, 500, 400), slide.read_region(130, 77, 0, 500, 400))


def test_a_level_of_fractional_downsample_is_read_raw(shared_data: Path) -> None:
    """OpenSlide interpolates there, because its downsample of 2.0003 falls between the pixels."""
    with Slide.open(SlideSource("a", shared_data / "wsi" / "derived_CMU-1-Small-Region_pyramid.tiff")) as slide:
        reader = TileReader(slide, TileGrid.covering(slide.bounds_l0px, slide.mpp, 32, 2.0), 1.0)
        assert (reader.level, reader.way) == (1, "jpeg tiles")


@pytest.mark.parametrize(("compression", "kept"), [("jpeg", 0.5), ("jpeg", 0), ("deflate", 0)])
def test_a_cell_that_cannot_be_decoded_fails_alone(tmp_path: Path, compression: str, kept: float) -> None:
    path = write_slide(tmp_path / "a.tif", tissue_image(1024, 1024), downsamples=(1,), compression=compression)
    with Slide.open(SlideSource("a", path)) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0)
        whole = read(slide, grid)
    spoil_tile(path, 27, kept)  # 8 TIFF tiles of 128 px a row: row 3, column 3; grid cells are 128 px too
    with Slide.open(SlideSource("a", path)) as slide:
        spoilt = read(slide, grid)
    assert [cell for cell, tile in spoilt.items() if tile is None] == [(3, 3)]
    for cell, tile in spoilt.items():
        if cell != (3, 3):
            assert tile is not None
            assert np.array_equal(tile, whole[cell])


def test_a_wide_slide_is_read_band_by_band_and_whole(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.tif", tissue_image(9000, 300), 0.5)
    with Slide.open(SlideSource("a", path)) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0)
        pixels = slide.read_region(0, 0, 0, 9088, 384)
        tiles = read(slide, grid)
        assert len(tiles) == grid.rows * grid.cols == 3 * 71
        for (row, col), tile in tiles.items():
            window = pixels[row * 128 : (row + 1) * 128, col * 128 : (col + 1) * 128]
            assert tile is not None
            assert np.abs(window.reshape(64, 2, 64, 2, 3).mean((1, 3)) - tile).max() <= 0.5


def test_cells_come_in_order_and_in_full_batches(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.tif", tissue_image(3000, 600), 0.2425)
    with Slide.open(SlideSource("a", path)) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0)
        every = read(slide, grid)
        rows, cols = np.array([2, 0, 0, 1, 0, 2]), np.array([11, 9, 0, 5, 1, 0])
        reader = TileReader(slide, grid, 0.5)
        batches = list(reader.batches(rows, cols, batch_size=4))
        assert [len(batch) for batch in batches] == [4, 2]
        cells = [(int(r), int(c)) for batch in batches for r, c in zip(batch.row, batch.col, strict=True)]
        assert cells == sorted(zip(rows.tolist(), cols.tolist(), strict=True))
        for tile, cell in zip((tile for batch in batches for tile in batch.tiles), cells, strict=True):
            assert np.array_equal(tile, every[cell])
        assert list(reader.batches(rows[:0], cols[:0])) == []


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_cells_of_whole_pixels_are_the_same_beside_holes(factor: int) -> None:
    side = 64 * factor
    strip = np.random.default_rng(factor).integers(0, 256, (side, 12 * side, 3), np.uint8)
    x = np.arange(12) * float(side)
    whole = cut_tiles(strip, x, 0, side, 64)
    means = strip.reshape(64, factor, 12, 64, factor, 3).mean((1, 4)).swapaxes(0, 1)
    assert np.abs(whole - means).max() <= 0.5 + 1e-9
    for cells in ([0, 1, 3, 4, 7, 11], [0, 2, 4], [5], [11]):
        assert np.array_equal(cut_tiles(strip, x[cells], 0, side, 64), whole[cells])


@pytest.mark.parametrize(("mpp", "downsamples"), [(0.25, (1,)), (0.2425, (1,)), (0.12, (1, 2)), (0.1667, (1, 3))])
def test_tiles_do_not_depend_on_the_cells_beside_them(tmp_path: Path, mpp: float, downsamples: tuple[int, ...]) -> None:
    """Also at a lower level of a fractional downsample, where OpenSlide shifts regions."""
    path = write_slide(tmp_path / "a.tif", tissue_image(3001, 1003), mpp, downsamples, "deflate")
    with Slide.open(SlideSource("a", path)) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0)
        every = read(slide, grid)
        reader = TileReader(slide, grid, 0.5)
        for cols in ([0, 2, 3], [1], [3]):
            for batch in reader.batches(np.ones(len(cols), int), np.array(cols)):
                for tile, col in zip(batch.tiles, batch.col, strict=True):
                    assert np.array_equal(tile, every[1, int(col)])


def test_a_grid_begins_where_the_bounds_do(tmp_path: Path) -> None:
    image = tissue_image(900, 700)
    path = write_slide(tmp_path / "a.tif", image, compression="deflate", downsamples=(1,))
    with Slide.open(SlideSource("a", path)) as whole:
        slide = replace(whole, bounds_l0px=(101, 57, 700, 600))
        tile = read(slide, TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0))[2, 3]
        assert tile is not None
        assert np.abs(averaged(image, 101 + 3 * 128, 57 + 2 * 128, 128, 64) - tile).max() <= 0.51


def test_area_weights_of_a_whole_ratio_are_plain_means() -> None:
    weights = area_weights(4, 8.0, 0.0, 8)
    assert np.allclose(weights, np.kron(np.eye(4), [[0.5, 0.5]]))
    assert np.allclose(area_weights(5, 7.3, 0.4, 8).sum(1), 1)


def test_a_level_that_claims_more_than_its_tiles_is_not_read_raw(tmp_path: Path) -> None:
    """Found by fuzzing: such a file once ended the run of a whole cohort."""
    path = write_slide(tmp_path / "a.tif", tissue_image(900, 700))
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].aspage().tags["ImageLength"]
    content = bytearray(path.read_bytes())
    width = tag.valuebytecount
    content[tag.valueoffset : tag.valueoffset + width] = (2100).to_bytes(width, "little")
    path.write_bytes(content)
    with pytest.raises(UnreadableSlide, match="in JPEG tiles"):
        JpegTiles(path, (900, 2100), (128, 128))
    assert compress_slide(SlideSource("a", path, 0.5), PixelEncoder()).reader == "openslide"
