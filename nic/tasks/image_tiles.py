"""Tiles from image files: whole images, or points and boxes in larger ones, at exact um/px."""

import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tifffile import TiffFile, TiffFileError

from nic.errors import TaskError, UnreadableTile
from nic.slides.plain_rgb import plain_rgb
from nic.slides.reader import cut_tiles
from nic.tasks.tile_source import PART_TILES, Cut, Pixels, TileField, TilePart
from nic.threads import map_ahead

Image.MAX_IMAGE_PIXELS = None  # large images are the user's own, not an attack

TooSmall = Literal["refuse", "pad", "drop"]
NUCLEUS_UM = 8.0
"""Width of a nucleus."""
ROUNDING_PX = 0.5
"""An image may be smaller than the field by this: 128 px at 0.499 um/px are meant as 64 um."""


@dataclass(frozen=True, eq=False)
class ImageTiles:
    """Tiles of image files; tiles of one file follow one another.

    paths, names, labels, groups, mpps: [N]. boxes: float [N, 4] (x, y, w, h) in px of the image, w and h being 0 for a
    point; None for whole images. context: whether a tile may show the surroundings of its box. dark_um: [N]; a tile is
    centred on the darkest spot within this distance of its place, where it is above 0.
    """

    paths: Sequence[Path]
    names: Sequence[str]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    mpps: NDArray[np.float64]
    too_small: TooSmall
    boxes: NDArray[np.float64] | None = None
    context: bool = True
    dark_um: NDArray[np.float64] | None = None

    @cached_property
    def digest(self) -> str:
        """Of the bytes of each image, and of all fields."""
        total = hashlib.sha256(f"{self.too_small} {self.context}".encode())
        for values in (self.labels, self.mpps, self.boxes, self.dark_um):
            total.update(b"" if values is None else values.tobytes())
        total.update("\n".join([*self.names, *self.groups]).encode())
        paths = [path for path, _ in groupby(self.paths)]
        for content in map_ahead(file_digest, paths):
            total.update(content)
        return total.hexdigest()

    @property
    def origins(self) -> frozenset[str]:
        return frozenset(self.groups.tolist())

    def parts(self, field: TileField) -> Iterator[TilePart]:
        for first in range(0, len(self.paths), PART_TILES):
            span = range(first, min(first + PART_TILES, len(self.paths)))
            stretch = slice(span.start, span.stop)
            cut = partial(self._cut, span, field)
            yield TilePart(self.names[stretch], self.labels[stretch], self.groups[stretch], cut)

    def _cut(self, members: range, field: TileField) -> Iterator[Cut]:
        for path, tiles in groupby(members, key=self.paths.__getitem__):
            yield from self._cut_image(path, list(tiles), field)

    def _cut_image(self, path: Path, members: Sequence[int], field: TileField) -> Iterator[Cut]:
        try:
            image = read_image(path)
        except UnreadableTile as error:
            yield from [error] * len(members)
            return
        for i in members:
            yield self._tile(image, i, field)

    def _tile(self, image: Pixels, i: int, field: TileField) -> Pixels | None:
        centre = image.shape[1] / 2, image.shape[0] / 2
        if self.boxes is not None:
            image, centre = self._placed(image, self.boxes[i], self.names[i])
        if self.dark_um is not None and self.dark_um[i] > 0:
            centre = darkest_spot(image, centre, self.dark_um[i] / self.mpps[i], NUCLEUS_UM / self.mpps[i])
        return cut_field(image, centre, self.mpps[i], field, self.too_small, self.names[i])

    def _placed(self, image: Pixels, box: NDArray[np.float64], name: str) -> tuple[Pixels, tuple[float, float]]:
        """The part of the image that the tile may show, and its centre there. Raises TaskError for a centre outside."""
        x, y, w, h = box
        height, width = image.shape[:2]
        centre = x + w / 2, y + h / 2
        if not (0 <= centre[0] < width and 0 <= centre[1] < height):
            raise TaskError(f"{name}: ({centre[0]:g}, {centre[1]:g}) is outside of an image of {width} x {height} px")
        if self.context:
            return image, centre
        left, top = max(0, round(x)), max(0, round(y))
        return image[top : round(y + h), left : round(x + w)], (centre[0] - left, centre[1] - top)


def file_digest(path: Path) -> bytes:
    """Of a file's bytes, read in pieces."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def read_image(path: Path) -> Pixels:
    """An image file as [h, w, 3] RGB, white where it is transparent.

    Raises UnreadableTile, also for a truncated file and for pixels without a known white.
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
    """The pixel format of a TIFF that Pillow cannot read, for the message."""
    try:
        with TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            return f"pixels are {page.dtype} {list(page.shape)}, wanted 8-bit RGB; save it as that"
    except (TiffFileError, IndexError):
        return "not an image that Pillow knows"


def darkest_spot(
    image: Pixels, centre: tuple[float, float], radius_px: float, nucleus_px: float
) -> tuple[float, float]:
    """The place (x, y) px where an image [h, w, 3], blurred over a nucleus, is darkest, in the square around centre."""
    left, top = (max(0, round(middle - radius_px)) for middle in centre)
    right, bottom = (max(1, round(middle + radius_px)) for middle in centre)
    grey = cv2.GaussianBlur(cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2GRAY), (0, 0), nucleus_px / 4)
    row, col = np.unravel_index(int(grey.argmin()), grey.shape)
    return float(left + col), float(top + row)


def cut_field(
    image: Pixels, centre: tuple[float, float], mpp: float, field: TileField, too_small: TooSmall, name: str
) -> Pixels | None:
    """The tile centred at (x, y) px of an image [h, w, 3], to the nearest whole pixel of it.

    too_small: what to do where the field leaves the image. `pad` mirrors the image at its border, which keeps its
    colours and adds no edge that a network could learn. `drop` gives None. `refuse` raises TaskError. A tile is never
    stretched.
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
