"""The field of a tile, cut from an image at exact um/px and averaged by area."""

import io
import math
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from tifffile import TiffFile, TiffFileError

from nic.errors import TaskError, UnreadableTile
from nic.slides.plain_rgb import plain_rgb
from nic.slides.reader import cut_tiles
from nic.tasks.source import Field, Pixels

Image.MAX_IMAGE_PIXELS = None  # large fields are the user's own, not an attack

TooSmall = Literal["refuse", "pad", "drop"]
ROUNDING_PX = 0.5
"""An image may be this much smaller than the field: 128 px at 0.499 um/px are meant to be 64 um."""


def read_image(path: Path) -> Pixels:
    """An image file as [h, w, 3] RGB, white where it is transparent.

    Raises UnreadableTile; a file cut short is unreadable, not half grey, and so are pixels whose white is not known.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            return plain_rgb(image, content)
    except UnidentifiedImageError as error:
        raise UnreadableTile(f"{_named(path)}: cannot be read as an image: {_pixels_of(content)}") from error
    except (OSError, SyntaxError, ValueError) as error:
        reason = str(error).replace(str(path), path.name)
        raise UnreadableTile(f"{_named(path)}: cannot be read as an image: {reason}") from error


def _named(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _pixels_of(content: bytes) -> str:
    """What a TIFF that Pillow does not know holds."""
    try:
        with TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            return f"pixels are {page.dtype} {list(page.shape)}, wanted 8-bit RGB; save it as that"
    except (TiffFileError, IndexError):
        return "not an image that Pillow knows"


def cut_field(
    image: Pixels, centre: tuple[float, float], mpp: float, field: Field, too_small: TooSmall, name: str
) -> Pixels | None:
    """The tile centred at (x, y) px of an image [h, w, 3], to the nearest whole pixel of it.

    too_small: what to do where the field leaves the image. `pad` mirrors the image at its border: that keeps its
    colours and adds no edge which a network could learn. `drop` gives None. Never is a tile stretched.
    Raises TaskError for `refuse`.
    """
    height, width = image.shape[:2]
    side = field.side_px(mpp)
    left, top = (round(middle - side / 2) for middle in centre)
    right, bottom = math.ceil(left + side), math.ceil(top + side)
    if max(-left, -top, left + side - width, top + side - height) > ROUNDING_PX:
        if too_small == "drop":
            return None
        if too_small == "refuse":
            raise TaskError(
                f"{name}: {width} x {height} px at {mpp:g} um/px, wanted a field of {field.tile_px * field.tile_mpp:g}"
                f" um ({side:.0f} px) around ({centre[0]:g}, {centre[1]:g}); a tile is never stretched: set too_small"
            )
    inside = image[max(0, top) : min(bottom, height), max(0, left) : min(right, width)]
    beyond = ((max(0, -top), max(0, bottom - height)), (max(0, -left), max(0, right - width)), (0, 0))
    window = np.pad(inside, beyond, mode="symmetric") if np.any(beyond) else inside
    tile: Pixels = cut_tiles(window, np.zeros(1), 0, side, field.tile_px)[0]
    return tile
