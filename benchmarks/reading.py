"""How near reading comes to plain JPEG decoding: ours, OpenSlide tile by tile, and the decoder alone, in one run.

    python -m benchmarks.reading [slide] [--threads 2]

Without a slide two of 20,480 px square at 0.25 um/px are made, all of it tissue: levels x2 as generic TIFFs have them,
and x4 as Aperio's.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.phantom.pyramid import write_pyramid
from nic.slides.jpeg_tiles import JpegTiles
from nic.slides.reader import TileReader
from nic.slides.slide import Slide, SlideSource
from nic.slides.tiling import TileGrid


def made_slide(folder: Path, factor: int, repeats: int = 5) -> Path:
    """Blobs and grain that compress about as tissue does, in blocks of 4,096 px."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(90, 230, (256, 256, 3)).astype(np.float32)
    block = cv2.resize(coarse, (4096, 4096), interpolation=cv2.INTER_CUBIC)
    block += rng.normal(0, 6, (4096, 4096, 1)).astype(np.float32)
    image = np.tile(block.clip(0, 255).astype(np.uint8), (repeats, repeats, 1))
    path = folder / f"made-x{factor}.tif"
    write_pyramid(path, image, mpp=0.25, jpeg=80, factor=factor)
    return path


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def ours(slide: Slide, grid: TileGrid, threads: int) -> NDArray[np.uint8]:
    rows, cols = (axis.ravel() for axis in np.indices((grid.rows, grid.cols)))
    tiles = np.empty((grid.rows, grid.cols, grid.tile_px, grid.tile_px, 3), np.uint8)
    with TileReader(slide, grid, 0.5) as reader:
        for batch in reader.batches(rows, cols, threads=threads):
            tiles[batch.row, batch.col] = batch.tiles
    return tiles.reshape(-1, *tiles.shape[2:])


def by_tile(slide: Slide, grid: TileGrid, threads: int) -> NDArray[np.uint8]:
    """What a plain loader does: one read_region a tile, then a resize to the tile's size."""
    reader = TileReader(slide, grid, 0.5)
    side = math.ceil(grid.side_l0px / reader.downsample)

    def tile(cell: tuple[int, int]) -> NDArray[np.uint8]:
        region = slide.read_region(*grid.cell_origin_l0px(*cell), reader.level, side, side)
        return np.asarray(cv2.resize(region, (grid.tile_px, grid.tile_px), interpolation=cv2.INTER_AREA))

    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(tile, np.ndindex(grid.rows, grid.cols))))


def decoder(slide: Slide, level: int, threads: int) -> None:
    """Every JPEG tile of the level once, thrown away."""
    jpeg = JpegTiles(slide.path, slide.level_sizes_px[level], 0)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda i: jpeg.decode(i).shape, range(jpeg.count)))
    jpeg.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("slide", type=Path, nargs="?", help="a slide in JPEG tiles, with tissue throughout")
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in [given.slide] if given.slide else [made_slide(Path(folder), factor) for factor in (2, 4)]:
            with Slide.open(SlideSource(path.stem, path)) as slide:
                compare(slide, given.threads)


def compare(slide: Slide, threads: int) -> None:
    grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0)
    level = TileReader(slide, grid, 0.5).level
    alone = seconds(lambda: decoder(slide, level, threads))
    reading = seconds(lambda: ours(slide, grid, threads))
    plain = seconds(lambda: by_tile(slide, grid, threads), repeats=1)
    difference = np.abs(ours(slide, grid, threads).astype(int) - by_tile(slide, grid, threads)).max()
    tiles = grid.rows * grid.cols
    print(f"{slide.slide_id}: {tiles} tiles of 64 um, level {level}, {threads} threads")
    print(f"  JPEG decoder alone      {alone:7.2f} s")
    print(f"  ours                    {reading:7.2f} s  {tiles / reading:8.0f} tiles/s")
    print(f"  OpenSlide tile by tile  {plain:7.2f} s  {tiles / plain:8.0f} tiles/s")
    print(f"ours / decoder {alone / reading:.2f}, ours / OpenSlide by tile {plain / reading:.1f}")
    print(f"greatest difference of a pixel: {difference}")


if __name__ == "__main__":
    main()
