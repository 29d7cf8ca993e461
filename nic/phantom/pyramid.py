"""Slides as scanners leave them: a pyramid of JPEG tiles in one TIFF."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

TILE_PX = 256
UM_PER_CM = 10_000


def write_pyramid(path: Path, image: NDArray[np.uint8], mpp: float, jpeg: int, smallest_px: int = 512) -> None:
    """Write RGB [h, w, 3] with levels halved by area until a side is below smallest_px; at least three levels.

    OpenSlide reads the resolution back as `mpp`. The file appears whole or not at all.
    """
    partial = path.with_name(f".{path.name}.partial")
    with tifffile.TiffWriter(partial) as tiff:
        level = 0
        while level < 3 or min(image.shape[:2]) >= smallest_px:
            per_cm = UM_PER_CM / (mpp * 2**level)
            tiff.write(
                _jpeg_tiles(image, jpeg),
                shape=image.shape,
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=1 if level else 0,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                software=False,
                metadata=None,
            )
            size = (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            level += 1
    partial.replace(path)


def _jpeg_tiles(image: NDArray[np.uint8], quality: int) -> Iterator[bytes]:
    """Row by row; tiles at the right and lower edge are filled up with the edge's colour."""
    height, width = image.shape[:2]
    padding = ((0, -height % TILE_PX), (0, -width % TILE_PX), (0, 0))
    padded = np.pad(image, padding, mode="edge")
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            tile = np.ascontiguousarray(padded[y : y + TILE_PX, x : x + TILE_PX])
            # tifffile would store RGB as if it were YCbCr, so the conversion happens here
            yield bytes(
                imagecodecs.jpeg8_encode(
                    tile, level=quality, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
                )
            )
