"""A tile's field: exact um/px, averaged by area, never stretched; held against sums over a finer raster."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nic.errors import TaskError, UnreadableTile
from nic.tasks.image_tiles import cut_field, read_image
from nic.tasks.tile_source import TileField

FIELD = TileField(64, 1.0)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, 3)).astype(np.uint8)


def averaged(image: NDArray[np.uint8], left: int, top: int, mpp: float) -> NDArray[np.float64]:
    """The 64 um from (left, top) on, by differences of running sums along each axis in turn."""
    means = image.astype(float)
    for axis, start in ((0, top), (1, left)):
        edges = start + np.arange(65) / mpp
        sums = np.insert(means.cumsum(axis), 0, 0, axis)
        at_edges = np.apply_along_axis(lambda line, e=edges: np.interp(e, np.arange(len(line)), line), axis, sums)
        means = np.diff(at_edges, axis=axis) * mpp
    return means


@pytest.mark.parametrize(("mpp", "shape"), [(0.5, (150, 140)), (0.25, (256, 256)), (0.4, (201, 170)), (0.97, (96, 97))])
def test_a_whole_image_gives_its_central_tile(mpp: float, shape: tuple[int, int]) -> None:
    image = noise(*shape)
    tile = cut_field(image, (shape[1] / 2, shape[0] / 2), mpp, FIELD, "refuse", "x")
    left, top = (round((side - 64 / mpp) / 2) for side in shape[::-1])
    assert tile is not None
    assert np.abs(tile - averaged(image, left, top, mpp)).max() < 0.51


def test_a_point_gives_the_tile_around_it() -> None:
    image = noise(300, 400)
    tile = cut_field(image, (231, 101.2), 0.5, FIELD, "refuse", "x")
    assert tile is not None
    assert np.abs(tile - averaged(image, 167, 37, 0.5)).max() < 0.51


@pytest.mark.parametrize("side_px", [127, 100, 20, 1])
def test_an_image_smaller_than_the_field_is_refused_dropped_or_mirrored(side_px: int) -> None:
    image = noise(side_px, side_px)
    arguments = (image, (side_px / 2, side_px / 2), 0.5, FIELD)
    with pytest.raises(
        TaskError, match=rf"tiny: {side_px} x {side_px} px at 0\.5 um/px, wanted a field of 64 um \(128"
    ):
        cut_field(*arguments, "refuse", "tiny")
    assert cut_field(*arguments, "drop", "tiny") is None
    padded = cut_field(*arguments, "pad", "tiny")
    period = np.concatenate([np.arange(side_px), np.arange(side_px)[::-1]])
    index = period[(np.arange(128) + round((side_px - 128) / 2)) % len(period)]
    expected = image[np.ix_(index, index)].reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert padded is not None
    assert np.abs(padded - expected).max() <= 0.5


def test_a_point_at_the_border_is_mirrored_on_its_side_alone() -> None:
    image = noise(300, 300)
    tile = cut_field(image, (44, 150), 0.5, FIELD, "pad", "x")
    mirrored = np.concatenate([image[:, :20][:, ::-1], image], 1)
    assert tile is not None
    assert np.abs(tile - averaged(mirrored, 0, 86, 0.5)).max() < 0.51


def test_rounded_resolutions_are_no_reason_to_refuse() -> None:
    assert cut_field(noise(128, 128), (64, 64), 0.4985, FIELD, "refuse", "x") is not None
    with pytest.raises(TaskError, match="never stretched"):
        cut_field(noise(128, 128), (64, 64), 0.497, FIELD, "refuse", "x")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_a_file_cut_short_is_unreadable_not_half_grey(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tile{suffix}"
    cv2.imwrite(str(path), noise(64, 64))
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableTile, match=rf"/tile\{suffix}: cannot be read as an image"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_file_that_is_not_an_image_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tile.png").write_bytes(content)
    with pytest.raises(UnreadableTile, match=r"/tile\.png: cannot be read as an image"):
        read_image(tmp_path / "tile.png")


def test_transparent_pixels_are_glass(tmp_path: Path) -> None:
    rgba = np.dstack([noise(9, 9), np.full((9, 9), 255, np.uint8)])
    rgba[:, 4:] = 0
    Image.fromarray(rgba, "RGBA").save(tmp_path / "tile.png")
    pixels = read_image(tmp_path / "tile.png")
    np.testing.assert_array_equal(pixels[:, :4], rgba[:, :4, :3])
    assert (pixels[:, 4:] == 255).all()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int32, np.uint32])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_whose_white_is_not_known_are_refused_by_name(tmp_path: Path, kind: type, channels: int) -> None:
    values = noise(9, 9).astype(kind)
    photometric = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "t.tif", values if channels == 3 else values[..., 0], photometric=photometric)
    with pytest.raises(UnreadableTile, match=r"/t\.tif: cannot be read as an image: pixels are .*wanted 8-bit RGB"):
        read_image(tmp_path / "t.tif")
