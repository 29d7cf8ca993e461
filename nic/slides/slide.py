"""An open slide: its properties, its resolution, its pixels."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.errors import UnreadableSlide
from nic.slides.opening import UNDECODABLE, Handle, dicom_files, reaching
from nic.slides.resolution import resolution
from nic.slides.search import file_of
from nic.slides.search import find_slides as find_slides
from nic.slides.source import SlideSource as SlideSource
from nic.slides.source import printable

BLOCK_PX = 2048
"""Side of the pieces in which an overview is read, so that it takes little memory also without a pyramid."""

CACHE_BYTES = 32 << 20, 128 << 20
"""Least and largest cache of decoded tiles in OpenSlide."""
DEFAULT_TILE_PX = 512
"""Side of tiles, if the slide does not state it."""

COLOUR_TOLERANCE = 30.0
"""Of 255: the means of some hundred pixels differ by less between two levels of one slide."""


@dataclass(frozen=True)
class Slide:
    """An open slide; threads may share it. Sizes and bounds (x, y, width, height) in level-0 px; mpp at level 0."""

    slide_id: str
    path: Path
    mpp: float
    size_l0px: tuple[int, int]
    bounds_l0px: tuple[int, int, int, int]
    level_downsamples: tuple[float, ...]
    level_sizes_px: tuple[tuple[int, int], ...]
    fingerprint: str
    _handle: Handle

    @classmethod
    def open(cls, source: SlideSource) -> "Slide":
        """Raises UnreachedSlide, UnreadableSlide, MissingResolution or ImplausibleResolution, each naming the slide."""
        name = printable(source.path.name)
        path = file_of(source)
        handle = Handle(path)
        image = handle.image
        properties, size = image.properties, image.dimensions
        with reaching(name):
            fingerprint = _fingerprint(path, properties)
        return cls(
            source.slide_id,
            path,
            resolution(name, source.mpp, properties),
            size,
            _bounds(properties, size),
            tuple(image.level_downsamples),
            tuple(image.level_dimensions),
            fingerprint,
            handle,
        )

    @property
    def opened_by(self) -> str:
        """`openslide` or `tifffile`."""
        return self._handle.by

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._handle.image.close()

    def keep_decoded(self, level: int, width_px: float, height_px: float) -> None:
        """Have OpenSlide cache the tiles of a window of a level and of the next rows, within CACHE_BYTES."""
        properties, decoded = self._handle.image.properties, 4
        for axis, side, more in (("width", width_px, 1), ("height", height_px, 2)):
            tile = int(properties.get(f"openslide.level[{level}].tile-{axis}", DEFAULT_TILE_PX))
            decoded *= (math.ceil(side / tile) + more) * tile
        least, most = CACHE_BYTES
        self._handle.keep_decoded(min(max(decoded, least), most))

    def read_region(self, x_l0px: int, y_l0px: int, level: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Pixels [height_px, width_px, 3] RGB; white where the slide has none. Raises UnreadableSlide; UnreachedSlide
        when the file is gone."""
        try:
            return self._handle.read(x_l0px, y_l0px, level, width_px, height_px)
        except UNDECODABLE as error:
            raise UnreadableSlide(f"{self.slide_id}: cannot decode at ({x_l0px}, {y_l0px}): {error}") from error

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """The whole slide, at most `max_px` wide or high: [h, w, 3] RGB, black where it cannot be decoded."""
        return self.overview(max_px)[0]

    def overview(self, max_px: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A thumbnail, and which of its pixels [h, w] cannot be decoded."""
        scale = max(1.0, max(self.size_l0px) / max_px)
        fitting = (i for i, d in enumerate(self.level_downsamples) if i > 0 and d <= scale * 1.01)
        level = next((i for i in sorted(fitting, reverse=True) if self._shows_level_0(i)), 0)
        block = max(1, int(BLOCK_PX * self.level_downsamples[level] / scale))
        width, height = (math.ceil(side / scale) for side in self.size_l0px)
        rgb, unreadable = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), bool)
        for y in range(0, height, block):
            for x in range(0, width, block):
                window = np.s_[y : min(y + block, height), x : min(x + block, width)]
                self._paint(rgb[window], unreadable[window], x * scale, y * scale, level, scale)
        return rgb, unreadable

    def _shows_level_0(self, level: int, side_px: int = 16) -> bool:
        """Whether a level has level 0's colours at nine places: some files have damaged lower levels."""
        side_l0px = round(side_px * self.level_downsamples[level])
        for x in (self.size_l0px[0] * i // 4 for i in (1, 2, 3)):
            for y in (self.size_l0px[1] * i // 4 for i in (1, 2, 3)):
                try:
                    coarse = self.read_region(x, y, level, side_px, side_px).mean((0, 1))
                except UnreadableSlide:
                    return False
                try:
                    fine = self.read_region(x, y, 0, side_l0px, side_l0px).mean((0, 1))
                except UnreadableSlide:
                    continue
                if np.abs(coarse - fine).max() > COLOUR_TOLERANCE:
                    return False
        return True

    def _paint(
        self, rgb: NDArray[np.uint8], unreadable: NDArray[np.bool_], x: float, y: float, level: int, scale: float
    ) -> None:
        """Fill the part of an overview that begins at (x, y) l0px; if decoding fails, quarter by quarter."""
        height, width = unreadable.shape
        ratio = scale / self.level_downsamples[level]
        size_px = max(1, round(width * ratio)), max(1, round(height * ratio))
        try:
            source = self.read_region(round(x), round(y), level, *size_px)
            rgb[:] = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)
        except UnreadableSlide:
            if max(size_px) <= BLOCK_PX / 16 or min(height, width) == 1:
                unreadable[:] = True
                return
            for rows in (np.s_[: height // 2], np.s_[height // 2 :]):
                for cols in (np.s_[: width // 2], np.s_[width // 2 :]):
                    start_x, start_y = x + (cols.start or 0) * scale, y + (rows.start or 0) * scale
                    self._paint(rgb[rows, cols], unreadable[rows, cols], start_x, start_y, level, scale)


def _bounds(properties: Mapping[str, str], size: tuple[int, int]) -> tuple[int, int, int, int]:
    x, y = (int(properties.get(f"openslide.bounds-{axis}", 0)) for axis in "xy")
    width = int(properties.get("openslide.bounds-width", size[0] - x))
    height = int(properties.get("openslide.bounds-height", size[1] - y))
    return x, y, width, height


def _fingerprint(path: Path, properties: Mapping[str, str], edge_bytes: int = 1 << 20) -> str:
    """Digest of OpenSlide's hash and of the size and both ends of each file: equal for copies, fast for gigabytes."""
    total = hashlib.sha256(properties.get("openslide.quickhash-1", "").encode())
    for file in dicom_files(path) if path.is_dir() else [path]:
        size = file.stat().st_size
        total.update(str(size).encode())
        with file.open("rb") as content:
            total.update(content.read(edge_bytes))
            content.seek(max(0, size - edge_bytes))
            total.update(content.read(edge_bytes))
    return total.hexdigest()
