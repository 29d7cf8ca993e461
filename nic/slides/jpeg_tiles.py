"""The JPEG tiles of a TIFF level, each read raw and decoded once: OpenSlide's pixels at several times its speed."""

import math
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from nic.errors import UnreadableSlide
from nic.slides.opening import reaching
from nic.slides.tiff import FAULTS, is_complete, is_damaged


class JpegTiles:
    """One level of a TIFF whose tiles are JPEG, read without OpenSlide. For one thread."""

    def __init__(self, path: Path, size_px: tuple[int, int], window_px: tuple[float, float]) -> None:
        """size_px: (width, height) of the level. window_px: (width, height) of one read; the reader goes from top to
        bottom. The window's tiles and those of the next rows are kept decoded, because a row of grid cells rarely ends
        where a row of JPEG tiles does.

        Raises UnreadableSlide when no page is such a level.
        """
        self.path = path
        self._page = _jpeg_page(path, size_px)
        self._columns = math.ceil(self._page.imagewidth / self._page.tilewidth)
        self.count = len(self._page.databytecounts)
        with reaching(path.name):
            self._file = path.open("rb")
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        across = min(self._columns, math.ceil(window_px[0] / self._page.tilewidth) + 1)
        self._cache_size = across * (math.ceil(window_px[1] / self._page.tilelength) + 2)

    def close(self) -> None:
        self._file.close()

    def fullest(self, count: int) -> Iterator[tuple[int, int]]:
        """Centres (x, y) of the tiles of most bytes, which show most."""
        for index in np.argsort(self._page.databytecounts)[::-1][:count]:
            row, column = divmod(int(index), self._columns)
            yield int((column + 0.5) * self._page.tilewidth), int((row + 0.5) * self._page.tilelength)

    def read(self, x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Pixels [height_px, width_px, 3] RGB of the level; white beyond its edge.

        Raises UnreadableSlide when a tile is missing or may be damaged.
        """
        page = self._page
        region = np.empty((height_px, width_px, 3), np.uint8)
        right, bottom = min(x_px + width_px, page.imagewidth), min(y_px + height_px, page.imagelength)
        tops = range(y_px // page.tilelength * page.tilelength, bottom, page.tilelength)
        lefts = range(x_px // page.tilewidth * page.tilewidth, right, page.tilewidth)
        region[max(0, bottom - y_px) :] = 255
        region[:, max(0, right - x_px) :] = 255
        for top in tops:
            for left in lefts:
                y0, y1 = max(top, y_px), min(top + page.tilelength, bottom)
                x0, x1 = max(left, x_px), min(left + page.tilewidth, right)
                pixels = self._tile(top, left)[y0 - top : y1 - top, x0 - left : x1 - left]
                region[y0 - y_px : y1 - y_px, x0 - x_px : x1 - x_px] = pixels
        return region

    def _tile(self, top: int, left: int) -> NDArray[np.uint8]:
        """The tile at a place, [h, w, 3], from the cache or decoded. Raises UnreadableSlide."""
        index = top // self._page.tilelength * self._columns + left // self._page.tilewidth
        tile = self._cache.get(index)
        if tile is None:
            tile = self._cache[index] = self.decode(index)
            if len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(index)
        return tile

    def decode(self, index: int) -> NDArray[np.uint8]:
        """One tile, counted row by row: [h, w, 3]. Raises UnreadableSlide when it is missing or may be damaged."""
        page = self._page
        try:
            encoded = os.pread(self._file.fileno(), page.databytecounts[index], page.dataoffsets[index])
            if is_damaged(encoded, page.compression):
                raise UnreadableSlide(f"{self.path.name}: JPEG tile {index} is missing or may be damaged")
            segment = page.decode(encoded, index, jpegtables=page.jpegtables)[0]
        except UnreadableSlide:
            raise
        except (OSError, *FAULTS) as error:
            raise UnreadableSlide(f"{self.path.name}: JPEG tile {index} cannot be decoded: {error}") from error
        assert segment is not None  # only for an empty tile
        return np.asarray(segment[0])


def _jpeg_page(path: Path, size_px: tuple[int, int]) -> tifffile.TiffPage:
    try:
        with tifffile.TiffFile(path) as file:
            for page in file.pages:
                if (
                    isinstance(page, tifffile.TiffPage)
                    and (page.imagewidth, page.imagelength) == size_px
                    and page.is_tiled
                    and page.compression == tifffile.COMPRESSION.JPEG
                    and page.samplesperpixel == 3
                    and is_complete(page)
                ):
                    _ = page.decode, page.jpegtables  # cached by the page; they need the file open
                    return page
    except (OSError, *FAULTS) as error:
        raise UnreadableSlide(f"{path.name}: not a TIFF, or damaged: {error}") from error
    raise UnreadableSlide(f"{path.name}: no level of {size_px[0]} x {size_px[1]} px in JPEG tiles")
