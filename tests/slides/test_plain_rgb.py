"""The pixels of every kind of image file, against the colours that were written."""

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nic.slides.plain_rgb import plain_rgb

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 5, 3)).astype(np.uint8)
GREY = COLOURS[..., 0]
ALPHA = RNG.integers(0, 256, (6, 5)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (6, 5, 3)).astype(np.uint16)
DEEP_ALPHA = RNG.integers(0, 65536, (6, 5, 1)).astype(np.uint16)
SHOWN = np.round(COLOURS * (ALPHA / 255)[..., None] + 255 * (1 - ALPHA / 255)[..., None])
GREY_SHOWN = np.round(GREY * (ALPHA / 255) + 255 * (1 - ALPHA / 255))[..., None].repeat(3, 2)


def png(image: Image.Image, **more: object) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", **more)
    return content.getvalue()


def tiff(values: NDArray[np.generic], **more: object) -> bytes:
    content = io.BytesIO()
    tifffile.imwrite(content, values, **more)
    return content.getvalue()


def deep_png(values: NDArray[np.uint16]) -> bytes:
    swapped = values if values.ndim == 2 else values[..., [2, 1, 0, *range(3, values.shape[2])]]
    return bytes(cv2.imencode(".png", swapped)[1])


def pixels(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        return plain_rgb(image, content)


@pytest.mark.parametrize(
    ("content", "expected", "off"),
    [
        (png(Image.fromarray(COLOURS)), COLOURS, 0),
        (png(Image.fromarray(GREY)), GREY[..., None].repeat(3, 2), 0),
        (png(Image.fromarray(GREY > 99)), 255 * (GREY > 99)[..., None].repeat(3, 2), 0),
        (png(Image.fromarray(np.dstack([COLOURS, ALPHA]))), SHOWN, 1),
        (png(Image.fromarray(np.dstack([GREY, ALPHA]))), GREY_SHOWN, 1),
        (tiff(np.dstack([COLOURS, ALPHA]), photometric="rgb", extrasamples=["unassalpha"]), SHOWN, 1),
        (tiff(np.dstack([COLOURS, ALPHA]), photometric="rgb", extrasamples=["unspecified"]), COLOURS, 0),
        (tiff(COLOURS.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"), COLOURS, 0),
        (deep_png(DEEP), np.round(DEEP / 257), 0),
        (deep_png(DEEP[..., 0]), np.round(DEEP[..., :1] / 257).repeat(3, 2), 0),
        (tiff(DEEP, photometric="rgb"), np.round(DEEP / 257), 0),
        (tiff(DEEP[..., 0]), np.round(DEEP[..., :1] / 257).repeat(3, 2), 0),
        (
            deep_png(np.dstack([DEEP, DEEP_ALPHA])),
            np.round(DEEP / 257 * (DEEP_ALPHA / 65535) + 255 * (1 - DEEP_ALPHA / 65535)),
            0,
        ),
    ],
)
def test_colours_are_kept(content: bytes, expected: NDArray[np.generic], off: int) -> None:
    assert np.abs(pixels(content).astype(float) - expected).max() <= off


def test_a_transparent_colour_is_white() -> None:
    key = tuple(map(int, COLOURS[2, 3]))
    assert pixels(png(Image.fromarray(COLOURS), transparency=key))[2, 3].tolist() == [255, 255, 255]
    palette = Image.fromarray(GREY).convert("P")
    palette.putpalette([value for grey in range(256) for value in (grey, 0, 0)])
    shown = pixels(png(palette, transparency=int(GREY[1, 1])))
    assert shown[1, 1].tolist() == [255, 255, 255]
    assert shown[0, 0].tolist() == [int(GREY[0, 0]), 0, 0]


def test_premultiplied_colours_are_restored() -> None:
    associated = np.round(COLOURS * (ALPHA / 255)[..., None]).astype(np.uint8)
    content = tiff(np.dstack([associated, ALPHA]), photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(pixels(content) - SHOWN).max() <= 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(GREY.astype(np.float32)), "pixels are floats"),
        (tiff(GREY.astype(np.int32)), "pixels are 32-bit numbers"),
        (tiff((DEEP >> 4), photometric="rgb"), r"16 bits, none above \d+: perhaps of 12 bits"),
        (deep_png(COLOURS.astype(np.uint16)), r"16 bits, none above \d+: perhaps of 12 bits"),
        (tiff(np.dstack([COLOURS, ALPHA]), photometric="separated"), "pixels are CMYK"),
    ],
)
def test_pixels_whose_white_is_not_known_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pixels(content)


@pytest.mark.parametrize("write", [deep_png, lambda values: png(Image.fromarray((values >> 8).astype(np.uint8)))])
def test_a_truncated_file_is_refused(write: Callable[[NDArray[np.uint16]], bytes]) -> None:
    content = write(RNG.integers(0, 65536, (64, 64, 3)).astype(np.uint16))
    with pytest.raises((OSError, SyntaxError, ValueError)):
        pixels(content[: len(content) // 2])
