"""Slides for benchmarks: any size in seconds, because blocks of encoded JPEG tiles repeat."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

JPEG_PX, BLOCK_PX = 256, 4096
GLASS = 242


def made_slide(path: Path, side_px: int, factor: int, tissue: float = 1.0, mpp: float = 0.25) -> Path:
    """A square slide of blobs and grain that compress about as tissue does; levels smaller by `factor`.

    tissue: share of the blocks of 4,096 px that hold any; the others are glass.
    """
    rng = np.random.default_rng(0)
    coarse = rng.uniform(90, 230, (256, 256, 3)).astype(np.float32)
    coarse[..., 1] *= 0.7  # pink and violet rather than grey: the tissue mask looks at saturation
    block = cv2.resize(coarse, (BLOCK_PX, BLOCK_PX), interpolation=cv2.INTER_CUBIC)
    block = (block + rng.normal(0, 6, (BLOCK_PX, BLOCK_PX, 1))).clip(0, 255).astype(np.uint8)
    blocks = -(-side_px // BLOCK_PX)
    stained = rng.permutation(blocks**2).reshape(blocks, blocks) < round(tissue * blocks**2)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(5):
            downsample = factor**level
            level_px, block_px = side_px // downsample, BLOCK_PX // downsample
            if level > 0 and (level_px < 512 or block_px < JPEG_PX):
                break
            small = cv2.resize(block, (block_px, block_px), interpolation=cv2.INTER_AREA)
            per_cm = 10_000 / (mpp * downsample)
            tiff.write(
                _tiles(small, stained, -(-level_px // JPEG_PX)),
                shape=(level_px, level_px, 3),
                dtype=np.uint8,
                tile=(JPEG_PX, JPEG_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=1 if level else 0,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path


def _tiles(block: NDArray[np.uint8], stained: NDArray[np.bool_], count: int) -> Iterator[bytes]:
    """The JPEG tiles of a level, row by row; each distinct one is encoded once."""
    across = len(block) // JPEG_PX
    glass = _encoded(np.full((JPEG_PX, JPEG_PX, 3), GLASS, np.uint8))
    cuts = [(y * JPEG_PX, x * JPEG_PX) for y in range(across) for x in range(across)]
    encoded = [_encoded(np.ascontiguousarray(block[y : y + JPEG_PX, x : x + JPEG_PX])) for y, x in cuts]
    for row in range(count):
        for col in range(count):
            inside = encoded[row % across * across + col % across]
            yield inside if stained[row // across, col // across] else glass


def _encoded(tile: NDArray[np.uint8]) -> bytes:
    # tifffile would store RGB as if it were YCbCr, so the conversion happens here
    return bytes(imagecodecs.jpeg8_encode(tile, level=80, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"))
