"""TIFFs that OpenSlide cannot read: plain ones are read by tifffile, of others it says what is wrong."""

import math
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, SAMPLEFORMAT, TiffPage

FAULTS = (
    *(tifffile.TiffFileError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError),
    *(struct.error, ArithmeticError, AssertionError),
)
"""What tifffile and its codecs raise for a damaged file, whose tags may be of any type and lead anywhere."""
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
CODECS = {
    *(COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS),
    *(COMPRESSION.ZSTD, COMPRESSION.LZMA, COMPRESSION.WEBP, COMPRESSION.JPEGXL, COMPRESSION.JPEG),
}
"""Their decoded pixels are the picture's RGB."""
UNITS = {2: "inch", 3: "centimeter"}
SIDE_STEP = 16
"""The TIFF standard demands that sides of tiles are multiples of it. OpenSlide cannot read others."""
END_OF_IMAGE = b"\xff\xd9"
HOLE = bytes(48)
"""Zeros that a failed disk or a broken copy leaves inside a file."""


class CannotDecode(Exception):
    """A tile of a TIFF is damaged."""


class TiffSlide:
    """A tiled TIFF of 8-bit RGB as OpenSlide would show it; threads may share it. Sizes are (width, height) in px."""

    def __init__(self, path: Path) -> None:
        """Raises one of FAULTS, or CannotDecode, when it is not such a TIFF."""
        with tifffile.TiffFile(path) as file:
            self._pages = list(_levels(file))
            first = self._pages[0]
            self.properties = _properties(first)
        self.level_dimensions = tuple((page.imagewidth, page.imagelength) for page in self._pages)
        self.dimensions = self.level_dimensions[0]
        self.level_downsamples = tuple(
            (self.dimensions[0] / width + self.dimensions[1] / height) / 2 for width, height in self.level_dimensions
        )
        self._file = path.open("rb")
        self._decoded(first, int(np.argmax(first.databytecounts)))  # raises if the codec is missing

    def close(self) -> None:
        self._file.close()

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """RGBA [height, width, 4], transparent beyond the edge. location: (x, y) in level-0 px. Raises CannotDecode."""
        page, (width, height) = self._pages[level], size
        left, top = (round(at / self.level_downsamples[level]) for at in location)
        region = np.zeros((height, width, 4), np.uint8)
        right, bottom = min(left + width, page.imagewidth), min(top + height, page.imagelength)
        for row in range(max(0, top) // page.tilelength, math.ceil(bottom / page.tilelength)):
            for col in range(max(0, left) // page.tilewidth, math.ceil(right / page.tilewidth)):
                y, x = row * page.tilelength, col * page.tilewidth
                y0, y1, x0, x1 = (
                    max(top, y),
                    min(bottom, y + page.tilelength),
                    max(left, x),
                    min(right, x + page.tilewidth),
                )
                tile = self._decoded(page, row * math.ceil(page.imagewidth / page.tilewidth) + col)
                if tile is not None and y0 < y1 and x0 < x1:
                    window = region[y0 - top : y1 - top, x0 - left : x1 - left]
                    window[..., :3], window[..., 3] = tile[y0 - y : y1 - y, x0 - x : x1 - x], 255
        return region

    def _decoded(self, page: TiffPage, index: int) -> NDArray[np.uint8] | None:
        """A tile [h, w, 3]; None if the file has none there. Raises CannotDecode."""
        count = page.databytecounts[index]
        if not count:
            return None
        try:
            encoded = os.pread(self._file.fileno(), count, page.dataoffsets[index])
            if len(encoded) < count or is_damaged(encoded, page.compression):
                raise CannotDecode(f"tile {index} is cut off or overwritten")
            tile = page.decode(encoded, index, jpegtables=page.jpegtables)[0]
        except (OSError, *FAULTS) as error:
            raise CannotDecode(f"tile {index}: {error}") from error
        return None if tile is None else np.asarray(tile[0])


def is_damaged(encoded: bytes, compression: int) -> bool:
    """Whether a JPEG is cut off or overwritten; its decoder would silently fill what is missing with grey."""
    return compression == COMPRESSION.JPEG and (END_OF_IMAGE not in encoded[-4:] or HOLE in encoded)


def fault(path: Path) -> str:
    """Why a TIFF is not a slide in the colours of a stain, or why OpenSlide cannot read it; empty if nothing is wrong.

    Raises one of FAULTS when it is damaged.
    """
    with tifffile.TiffFile(path) as file:
        first = _first(file)
        bits, form, samples = first.bitspersample, first.sampleformat, first.samplesperpixel
        depth = max(bits) if isinstance(bits, tuple) else bits
        if not first.is_tiled:
            return "its pixels lie in strips, wanted tiles"
        if form != SAMPLEFORMAT.UINT or depth not in (8, 16):
            kind = {SAMPLEFORMAT.UINT: "whole numbers", SAMPLEFORMAT.INT: "signed numbers"}.get(form, "floats")
            return f"its pixels are {kind} of {depth} bit, wanted colours of 8 bit"
        if (channels := _channels(file)) > 1:
            return f"it has {channels} grey channels, as fluorescence has, wanted the colours of a stain"
        if samples not in (1, 3, 4):
            return f"its pixels have {samples} channels, wanted the three of a stain's colours"
    return ""


def has_odd_tiles(path: Path) -> bool:
    """Whether the sides of its tiles are not multiples of 16. Raises one of FAULTS when it is damaged."""
    with tifffile.TiffFile(path) as file:
        first = _first(file)
        return bool(first.tilewidth % SIDE_STEP or first.tilelength % SIDE_STEP)


def codec_name(number: int) -> str:
    """A text such as `WEBP (compression 50001)`."""
    known = number in COMPRESSION.__members__.values()
    return f"{COMPRESSION(number).name} (compression {number})" if known else f"compression {number}"


def _first(file: tifffile.TiffFile) -> TiffPage:
    return file.pages[0].aspage()


def _channels(file: tifffile.TiffFile) -> int:
    """How many grey pictures of level 0's size it has."""
    pages = [page for page in file.pages if isinstance(page, TiffPage)] if len(file.pages) < 1000 else []
    grey = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
    first = _first(file)
    size = first.imagewidth, first.imagelength
    return sum(p.photometric in grey and (p.imagewidth, p.imagelength) == size and p.is_tiled for p in pages)


def _levels(file: tifffile.TiffFile) -> Iterator[TiffPage]:
    """Level 0 and the smaller plain levels, largest first. They follow it, or are its sub-directories."""
    first = _first(file)
    if not _is_plain(first):
        raise ValueError("wanted tiles of 8-bit RGB")
    below = [*(first.pages or ()), *(page for page in file.pages if page.index and page.is_reduced)]
    smaller = (page.aspage() for page in below)
    shape = first.imagewidth / first.imagelength
    levels = [p for p in smaller if _is_plain(p) and abs(p.imagewidth / p.imagelength / shape - 1) < 0.05]
    for page in (first, *sorted(levels, key=lambda page: -page.imagewidth)):
        _ = page.decode, page.jpegtables  # cached by the page; they need the file open
        yield page


def _is_plain(page: TiffPage) -> bool:
    rgb = page.photometric == PHOTOMETRIC.RGB
    return bool(
        page.is_tiled
        and page.samplesperpixel == 3
        and page.bitspersample == 8
        and page.sampleformat == SAMPLEFORMAT.UINT
        and page.planarconfig == PLANARCONFIG.CONTIG
        and page.compression in CODECS
        and (rgb or (page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.JPEG))
        and is_complete(page)
    )


def is_complete(page: TiffPage) -> bool:
    """Whether the page lists as many tiles as its size needs; a damaged one may not."""
    needed = math.ceil(page.imagelength / page.tilelength) * math.ceil(page.imagewidth / page.tilewidth)
    return bool(len(page.dataoffsets) == len(page.databytecounts) == needed)


def _properties(page: TiffPage) -> dict[str, str]:
    """The resolution under OpenSlide's names: from the tags, and from Aperio's text in the description."""
    properties = {"tiff.ResolutionUnit": UNITS.get(int(page.tags.valueof(296, 2)), "none")}
    for axis, tag in (("X", 282), ("Y", 283)):
        count, per = page.tags.valueof(tag, (0, 1))
        properties[f"tiff.{axis}Resolution"] = str(count / per if per else 0)
    if page.description.startswith("Aperio"):
        stated = dict(re.findall(r"\|\s*(\w+)\s*=\s*([^|]+?)\s*(?=\||$)", page.description))
        names = {"openslide.mpp-x": "MPP", "openslide.mpp-y": "MPP", "openslide.objective-power": "AppMag"}
        properties |= {name: stated[theirs] for name, theirs in names.items() if theirs in stated}
    return properties
