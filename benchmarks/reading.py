"""How near reading comes to plain JPEG decoding: ours, OpenSlide tile by tile, and the decoder alone, in one run.

    python -m benchmarks.reading [slide] [--threads 2]

Without a slide two of 20,480 px square at 0.25 um/px are made, all of it tissue: levels x2 as generic TIFFs have them,
and x4 as Aperio's.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.made_slide import made_slide
from benchmarks.timing import seconds
from nic.slides.jpeg_tiles import JpegTiles
from nic.slides.reader import TileBatch, TileReader
from nic.slides.slide import Slide, SlideSource
from nic.slides.tiling import TileGrid


def batches(slide: Slide, grid: TileGrid, threads: int) -> Iterator[TileBatch]:
    rows, cols = (axis.ravel() for axis in np.indices((grid.rows, grid.cols)))
    with TileReader(slide, grid, 0.5, threads) as reader:
        yield from reader.batches(rows, cols)


def ours(slide: Slide, grid: TileGrid, threads: int) -> None:
    """Every tile once, handed over in batches and thrown away, as an encoder does."""
    assert sum(len(batch) for batch in batches(slide, grid, threads)) == grid.rows * grid.cols


def by_tile(slide: Slide, grid: TileGrid, threads: int) -> NDArray[np.uint8]:
    """What a plain loader does: one read_region a tile, then a resize to the tile's size."""
    reader = TileReader(slide, grid, 0.5)
    side = math.ceil(grid.side_l0px / reader.downsample)

    def tile(cell: tuple[int, int]) -> NDArray[np.uint8]:
        region = slide.read_region(*grid.tile_origin_l0px(*cell), reader.level, side, side)
        return np.asarray(cv2.resize(region, (grid.tile_px, grid.tile_px), interpolation=cv2.INTER_AREA))

    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(tile, np.ndindex(grid.rows, grid.cols))))


def decoder(slide: Slide, level: int, threads: int) -> None:
    """Every JPEG tile of the level once, thrown away."""
    jpeg = JpegTiles(slide.path, slide.level_sizes_px[level], (0, 0))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda i: jpeg.decode(i).shape, range(jpeg.count)))
    jpeg.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("slide", type=Path, nargs="?", help="a slide in JPEG tiles, with tissue throughout")
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = (made_slide(Path(folder) / f"made-x{factor}.tif", 20_480, factor) for factor in (2, 4))
        for path in [given.slide] if given.slide else made:
            with Slide.open(SlideSource(path.stem, path)) as slide:
                compare(slide, given.threads)


def compare(slide: Slide, threads: int) -> None:
    grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0)
    level = TileReader(slide, grid, 0.5).level
    fast = seconds(lambda: decoder(slide, level, threads), lambda: ours(slide, grid, threads), repeats=9)
    slow = seconds(lambda: ours(slide, grid, threads), lambda: by_tile(slide, grid, threads), repeats=3)
    (alone, reading), plain = np.median(fast, 0), np.median(slow[:, 1])
    reference = by_tile(slide, grid, threads).reshape(grid.rows, grid.cols, grid.tile_px, grid.tile_px, 3)
    found = batches(slide, grid, threads)
    difference = max(np.abs(batch.tiles.astype(int) - reference[batch.row, batch.col]).max() for batch in found)
    tiles = grid.rows * grid.cols
    print(f"{slide.slide_id}: {tiles} tiles of 64 um, level {level}, {threads} threads")
    print(f"  JPEG decoder alone      {alone:7.2f} s")
    print(f"  ours                    {reading:7.2f} s  {tiles / reading:8.0f} tiles/s")
    print(f"  OpenSlide tile by tile  {plain:7.2f} s  {tiles / plain:8.0f} tiles/s")
    to_decoder, to_plain = np.median(fast[:, 0] / fast[:, 1]), np.median(slow[:, 1] / slow[:, 0])
    print(f"ours / decoder {to_decoder:.2f}, ours / OpenSlide by tile {to_plain:.1f}")
    print(f"greatest difference of a pixel: {difference}")


if __name__ == "__main__":
    main()
