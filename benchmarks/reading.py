"""How near reading comes to plain JPEG decoding: one reader, reading processes, OpenSlide by tile, in one run.

    python -m benchmarks.reading [slide] [--processes 2] [--rounds 5] [--side 12288]

Without a slide four squares are made, all of it tissue: levels x2 as generic TIFFs have them and x4 as Aperio's, at
0.25 um/px, where a tile is a whole number of pixels, and at 0.2425, where it is not, as on most scanners. Processes
have started before anything is measured. The decoder and one reader run on one thread, and are compared by processor
time, which others on the machine disturb least; the processes by wall time too.
`cut_tiles` is what averaging costs: from strips that are read, to tiles.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.made_slide import made_slide
from nic.compression.tile_jobs import CELLS_AT_A_TIME, ReadTiles
from nic.slides.grid import TileGrid
from nic.slides.jobs import TileShape
from nic.slides.jpeg_tiles import JpegTiles
from nic.slides.reader import TileBatch, TileReader, cut_tiles, in_bands
from nic.slides.slide import Slide, SlideSource
from nic.slides.subprocess_reader import SubprocessReader

SHAPE = TileShape(64, 1.0, 0.5)
STRIP_CELLS = 64


def batches(slide: Slide, grid: TileGrid) -> Iterator[TileBatch]:
    rows, cols = (axis.ravel() for axis in np.indices((grid.rows, grid.cols)))
    with TileReader(slide, grid, SHAPE.read_mpp) as reader:
        yield from reader.batches(rows, cols, SHAPE.together)


def one_reader(slide: Slide, grid: TileGrid) -> None:
    """Every tile once, thrown away."""
    assert sum(map(len, batches(slide, grid))) == grid.rows * grid.cols


def by_processes(reading: SubprocessReader, source: SlideSource, slide: Slide, grid: TileGrid) -> None:
    """Every tile once, through shared memory, thrown away."""
    rows, cols = (axis.ravel() for axis in np.indices((grid.rows, grid.cols)))
    order = in_bands(rows, cols)
    row, col = rows[order].astype(np.int32), cols[order].astype(np.int32)
    parts = [np.s_[start : start + CELLS_AT_A_TIME] for start in range(0, len(row), CELLS_AT_A_TIME)]
    jobs = [ReadTiles(source, SHAPE, slide.fingerprint, row[part], col[part], False) for part in parts]
    with closing(reading.stream(jobs)) as stream:
        assert sum(len(batch.row) for batch in stream) == len(row)


def by_tile(slide: Slide, grid: TileGrid) -> NDArray[np.uint8]:
    """What a plain loader does: one read_region a tile, then a resize to the tile's size."""
    with TileReader(slide, grid, SHAPE.read_mpp) as reader:
        level, side = reader.level, math.ceil(grid.side_l0px / reader.downsample)

    def tile(cell: tuple[int, ...]) -> NDArray[np.uint8]:
        region = slide.read_region(*grid.tile_origin_l0px(*cell), level, side, side)
        return np.asarray(cv2.resize(region, (grid.tile_px, grid.tile_px), interpolation=cv2.INTER_AREA))

    return np.stack([tile(cell) for cell in np.ndindex(grid.rows, grid.cols)])


def decoder(slide: Slide, level: int) -> None:
    """Every JPEG tile of the level once, thrown away."""
    jpeg = JpegTiles(slide.path, slide.level_sizes_px[level], (0, 0))
    for index in range(jpeg.count):
        jpeg.decode(index)
    jpeg.close()


def cut(slide: Slide, grid: TileGrid, level: int) -> Callable[[], None]:
    """Cuts one strip of random pixels into tiles, as often as there are tiles in the slide."""
    side = grid.side_l0px / slide.level_downsamples[level]
    left = np.array([grid.tile_origin_l0px(0, col)[0] for col in range(STRIP_CELLS)])
    left = left / slide.level_downsamples[level]
    width, height = math.ceil(left[-1] + side), math.ceil(side)
    strip = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)

    def work() -> None:
        for _ in range(-(-grid.rows * grid.cols // STRIP_CELLS)):
            cut_tiles(strip, left, 0.0, side, grid.tile_px)

    return work


def readers_s(reading: SubprocessReader) -> float:
    times = [psutil.Process(process.pid).cpu_times() for process in reading.running if process]
    return sum(each.user + each.system for each in times)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("slide", type=Path, nargs="?", help="a slide in JPEG tiles, with tissue throughout")
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--side", type=int, default=12_288, help="px of a made square")
    given = arguments.parse_args()
    cv2.setNumThreads(1)  # as in a reading process
    with tempfile.TemporaryDirectory() as folder:
        made = (
            made_slide(Path(folder) / f"made-x{factor}-{mpp}.tif", given.side, factor, mpp=mpp)
            for mpp in (0.25, 0.2425)
            for factor in (2, 4)
        )
        with SubprocessReader(given.processes, modules=["nic.compression.tile_jobs"]) as reading:
            for path in [given.slide] if given.slide else made:
                source = SlideSource(path.stem, path)
                with Slide.open(source) as slide:
                    compare(source, slide, reading, given.rounds)


def compare(source: SlideSource, slide: Slide, reading: SubprocessReader, rounds: int) -> None:
    grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, SHAPE.tile_px, SHAPE.tile_mpp)
    with TileReader(slide, grid, SHAPE.read_mpp) as reader:
        level = reader.level
    ways: dict[str, Callable[[], object]] = {
        "JPEG decoder alone": lambda: decoder(slide, level),
        "one reader": lambda: one_reader(slide, grid),
        f"{reading.count} reading processes": lambda: by_processes(reading, source, slide, grid),
        "cut_tiles alone": cut(slide, grid, level),
        "OpenSlide tile by tile": lambda: by_tile(slide, grid),
    }
    by_processes(reading, source, slide, grid)
    taken = np.empty((rounds, len(ways), 2))  # wall, processor
    for turn in range(rounds):
        for place, work in enumerate(ways.values()):
            wall, cpu = time.perf_counter(), time.process_time() + readers_s(reading)
            work()
            taken[turn, place] = time.perf_counter() - wall, time.process_time() + readers_s(reading) - cpu
    tiles = grid.rows * grid.cols
    whole = (grid.side_l0px / slide.level_downsamples[level] / grid.tile_px).is_integer()
    print(f"{slide.slide_id}: {tiles} tiles of 64 um, level {level}, {'whole' if whole else 'fractions of'} pixels")
    for name, (wall, cpu) in zip(ways, np.median(taken, 0), strict=True):
        print(
            f"  {name:24} {wall:7.2f} s  {tiles / wall:8.0f} tiles/s  {cpu / tiles * 1e6:6.0f} us of processor a tile"
        )
    wall, cpu = taken[..., 0], taken[..., 1]
    if not whole:
        print("pixels differ from OpenSlide's resize, which takes whole pixels")
    else:
        reference = by_tile(slide, grid).reshape(grid.rows, grid.cols, grid.tile_px, grid.tile_px, 3)
        difference = max(
            np.abs(batch.tiles.astype(int) - reference[batch.row, batch.col]).max() for batch in batches(slide, grid)
        )
        print(f"greatest difference of a pixel to OpenSlide: {difference}")
    print(
        f"processor time: decoder / one reader {np.median(cpu[:, 0] / cpu[:, 1]):.2f}, decoder / processes "
        f"{np.median(cpu[:, 0] / cpu[:, 2]):.2f}, OpenSlide / one reader {np.median(cpu[:, 4] / cpu[:, 1]):.1f}"
    )
    print(f"wall time: one reader / {reading.count} processes {np.median(wall[:, 1] / wall[:, 2]):.2f}", flush=True)


if __name__ == "__main__":
    main()
