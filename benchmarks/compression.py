"""Compressing a slide from end to end: ours, a plain loader with torch eager, and the parts alone, in one run.

    python -m benchmarks.compression [--side 20480] [--memory]

The plain loader is of the usual kind: tissue by Otsu's threshold on a thumbnail, one read_region a tile in worker
processes, PIL, a DataLoader, torch eager, an HDF5 of the codes. It is given ours' cells, so that both encode the same.
A slide goes to each core; the plain loader has them all for one. A GPU encodes where there is one, in f16 beside f32;
else OpenVINO does, beside ONNX Runtime.
The least that the machine allows is each JPEG tile decoded once and the encoder's multiplications as one large gemm,
on all cores and nothing beside: what is left of plain / ours after that is not to be had in f32.
--memory prints the peak of a process that compresses squares of 10,000 to 100,000 px instead.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.encoding import DEVICE, FLOP_A_TILE, SIDE, exported, faster
from benchmarks.made_slide import made_slide
from benchmarks.timing import seconds
from nic.compression.compress import compress_slide
from nic.compression.engines import compress_cohort
from nic.encoder.network import TileEncoder
from nic.encoder.onnx import OnnxEncoder
from nic.encoder.spec import Encoder
from nic.slides.jpeg_tiles import JpegTiles
from nic.slides.reader import TileReader
from nic.slides.slide import Slide, SlideSource
from nic.slides.tiling import TileGrid
from nic.threads import cores

PLAIN_THUMBNAIL_PX = 1024
SIDES_PX = 10_000, 30_000, 60_000, 100_000
PEAK = """
import re, sys
from pathlib import Path
from nic.compression.compress import compress_slide
from nic.encoder.onnx import OnnxEncoder
from nic.slides.slide import SlideSource
slide = compress_slide(SlideSource("made", Path(sys.argv[1])), OnnxEncoder(Path(sys.argv[2])))
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())  # ru_maxrss would be the parent's
print(len(slide.codes), int(peak[1]) // 1024)
"""


class PlainTiles(Dataset[torch.Tensor]):
    """A tile a time through OpenSlide, opened in each worker."""

    def __init__(self, path: Path, cells: NDArray[np.intp], grid: TileGrid) -> None:
        self.path, self.cells, self.grid = path, cells, grid
        self.slide: Slide | None = None

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int) -> torch.Tensor:
        self.slide = self.slide or Slide.open(SlideSource("made", self.path))
        x, y = self.grid.tile_origin_l0px(*self.cells[index])
        side = round(self.grid.side_l0px)
        image = Image.fromarray(self.slide.read_region(x, y, 0, side, side)).resize((64, 64), Image.Resampling.BOX)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def plain(path: Path, cells: NDArray[np.intp], grid: TileGrid, network: TileEncoder, out: Path) -> None:
    with Slide.open(SlideSource("made", path)) as slide:
        saturation = cv2.cvtColor(slide.thumbnail(PLAIN_THUMBNAIL_PX), cv2.COLOR_RGB2HSV)[..., 1]
    cv2.threshold(cv2.medianBlur(saturation, 7), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    with torch.no_grad():
        loader = DataLoader(PlainTiles(path, cells, grid), batch_size=64, num_workers=cores())
        codes = torch.cat([network(tiles.to(DEVICE)).cpu() for tiles in loader]).numpy()
    with h5py.File(out, "w") as file:
        file["features"], file["coords"] = codes, [grid.tile_origin_l0px(*cell) for cell in cells]


def decode(jpeg: JpegTiles, tiles: NDArray[np.intp]) -> None:
    """Each of some JPEG tiles once, thrown away."""
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda tile: jpeg.decode(int(tile)).shape, tiles))


def multiply(count: int) -> None:
    """As much as encoding `count` tiles multiplies, in the shape that gemm likes best."""
    left, right = torch.rand(SIDE, SIDE, device=DEVICE), torch.rand(SIDE, SIDE, device=DEVICE)
    for _ in range(round(count * FLOP_A_TILE / (2 * SIDE**3))):
        product = torch.mm(left, right)
    product[0, 0].cpu()  # waits for all


def read(slide: Slide, cells: NDArray[np.intp], grid: TileGrid) -> None:
    with TileReader(slide, grid, 0.5) as reader:
        for _ in reader.batches(cells[:, 0], cells[:, 1]):
            pass


def encode(encoder: OnnxEncoder, count: int) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), np.uint8)
    for _ in range(-(-count // 64)):
        encoder.encode(tiles)


def on_each_core(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(cores()) as pool:
        for done in [pool.submit(work) for _ in range(cores())]:
            done.result()


def compare(folder: Path, side_px: int) -> None:
    path = made_slide(folder / "made.tif", side_px, factor=4, tissue=0.4)
    graph = exported(folder)
    sources, encoder, fast = [SlideSource(f"s{n}", path) for n in range(cores())], OnnxEncoder(graph), faster(graph)
    network, done = TileEncoder().eval().to(DEVICE), compress_slide(sources[0], encoder)
    cells = np.stack([done.row, done.col], 1).astype(np.intp)

    def ours(by: Encoder, slides: list[SlideSource] = sources) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            compress_cohort(slides, by, Path(out))

    with Slide.open(sources[0]) as slide, TileReader(slide, done.grid, 0.5) as reader:
        jpeg = JpegTiles(path, slide.level_sizes_px[reader.level], (0, 0))
        under = cells @ [done.grid.cols, 1]  # made so that each cell is one JPEG tile of level 0
        taken = seconds(
            lambda: ours(encoder),
            lambda: on_each_core(lambda: read(slide, cells, done.grid)),
            lambda: on_each_core(lambda: encode(encoder, len(cells))),
            lambda: plain(path, cells, done.grid, network, folder / "plain.h5"),
            lambda: ours(fast),
            lambda: decode(jpeg, under),
            lambda: multiply(len(cells)),
            lambda: ours(encoder, sources[:1]),
            repeats=3,
        )
        jpeg.close()
    taken[:, [0, 1, 2, 4]] /= cores()  # seconds a slide
    names = (
        *("ours", "reading alone", "encoding alone", "plain loader, torch eager", f"ours, {fast.name}"),
        *("JPEG decoder alone", "gemm f32 alone", "ours, all cores to one slide"),
    )
    print(f"{side_px} px square at 0.25 um/px, levels x4, {len(cells)} tiles, {cores()} cores, {encoder.providers[0]}")
    for name, median in zip(names, np.median(taken, 0), strict=True):
        print(f"  {name:30} {median:7.2f} s a slide  {len(cells) / median:7.0f} tiles/s")
    to_plain, fast_to_plain = np.median(taken[:, 3] / taken[:, 0]), np.median(taken[:, 3] / taken[:, 4])
    to_sum = np.median(taken[:, 0] / (taken[:, 1] + taken[:, 2]))
    least = np.median(taken[:, 3] / (taken[:, 5] + taken[:, 6]))
    print(f"plain / ours {to_plain:.1f}, plain / ours by {fast.name} {fast_to_plain:.1f}")
    if DEVICE == "cpu":  # a GPU multiplies beside the decoder
        print(f"plain / (JPEG decoder alone + gemm f32 alone) {least:.1f}: the most that f32 can reach here")
    print(f"all cores to one slide / a slide to each core {np.median(taken[:, 7] / taken[:, 0]):.2f}")
    decoded = [np.median(taken[:, 5] / taken[:, way]) for way in (0, 4)]
    print(f"ours / JPEG decoder alone: f32 {decoded[0]:.2f}, {fast.name} {decoded[1]:.2f}")
    print(f"ours / (reading alone + encoding alone) {to_sum:.2f}")


def peak(folder: Path) -> None:
    graph = exported(folder)
    for side_px in SIDES_PX:
        path = made_slide(folder / f"{side_px}.tif", side_px, factor=4, tissue=0.4)
        command = [sys.executable, "-c", PEAK, str(path), str(graph)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        print(f"{side_px} px square: {found[0]} tiles, peak {found[1]} MB", flush=True)
        path.unlink()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--side", type=int, default=20_480, help="px of the square")
    arguments.add_argument("--memory", action="store_true", help="peak memory instead of time")
    given = arguments.parse_args()
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as folder:
        if given.memory:
            peak(Path(folder))
        else:
            compare(Path(folder), given.side)


if __name__ == "__main__":
    main()
