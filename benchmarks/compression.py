"""Compressing slides from end to end: ours, a plain loader with torch eager, and the parts alone, in one run.

    python -m benchmarks.compression [--side 20480] [--factor 4] [--rounds 3]
    python -m benchmarks.compression --memory

The plain loader is of the usual kind: tissue by Otsu's threshold on a thumbnail, one read_region a tile in worker
processes, PIL, a DataLoader, torch eager, an HDF5 of the codes. It is given ours' cells, so that both encode the same.
Ours is a cohort of a slide for each core, by processes that have started; `started anew` is one slide by processes that
start within, as the plain loader's do. A GPU encodes where there is one, in f16 beside f32; else OpenVINO does, beside
ONNX Runtime.
The least that the machine allows is each JPEG tile decoded once and the encoder's multiplications as one large gemm,
on all cores and nothing beside: what is left of plain / ours after that is not to be had in f32.
--memory prints the peak of all processes together, and of the one reader that took most, for squares of 10,000 to
140,000 px, and for an encoder of 512 px tiles on squares of 65,536 px. The whole is the sum of proportional set sizes
(PSS: shared pages count once), looked at ten times a second; a reader's is the kernel's own peak (VmHWM).
"""

import argparse
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import cv2
import h5py
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.encoding import DEVICE, FLOP_A_TILE, SIDE, exported, faster
from benchmarks.made_slide import made_slide
from benchmarks.pool import Pool
from benchmarks.timing import seconds
from nic.compression.compress_cohort import compress_cohort
from nic.compression.compress_slide import compress_slide
from nic.encoder.loading import load_encoder
from nic.encoder.network import TileEncoder
from nic.encoder.spec import Encoder
from nic.slides.grid import TileGrid
from nic.slides.jpeg_tiles import JpegTiles
from nic.slides.reader import TileReader
from nic.slides.slide import Slide, SlideSource
from nic.threads import cores

PLAIN_THUMBNAIL_PX = 1024
SIDES_PX = 10_000, 30_000, 60_000, 100_000, 140_000
WIDE_PX, LARGE_TILE_PX = 65_536, 512
READER_MB = 640
"""That a process which reads JPEG tiles of at most 512 px stays below, however large slide and tiles are: most is taken
while the tissue is looked for on the overview, which ends at 4,096 px."""
COMPRESS = """
import sys
from pathlib import Path
from benchmarks.pool import FreeEncoder
from nic.compression.compress_cohort import compress_cohort
from nic.encoder.loading import load_encoder
from nic.encoder.spec import EncoderSpec
from nic.slides.slide import SlideSource
slide, graph, out = map(Path, sys.argv[1:4])
tile_px = int(sys.argv[4])
large = EncoderSpec(8, tile_px, 0.5, 0.5, "made", ())
encoder = load_encoder(graph) if tile_px == 64 else FreeEncoder(large, 4)
print(compress_cohort([SlideSource("made", slide)], encoder, out))
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


def decode(path: Path, size_px: tuple[int, int], tiles: NDArray[np.intp]) -> None:
    """Each of some JPEG tiles once, thrown away."""
    jpeg = JpegTiles(path, size_px, (0, 0))
    for tile in tiles:
        jpeg.decode(int(tile))
    jpeg.close()


def multiply(count: int) -> None:
    """As much as encoding `count` tiles multiplies, in the shape that gemm likes best."""
    left, right = torch.rand(SIDE, SIDE, device=DEVICE), torch.rand(SIDE, SIDE, device=DEVICE)
    for _ in range(round(count * FLOP_A_TILE / (2 * SIDE**3))):
        product = torch.mm(left, right)
    product[0, 0].cpu()  # waits for all


def encode(encoder: Encoder, count: int) -> None:
    """`count` tiles by a thread for each core."""
    tiles = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), np.uint8)
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(encoder.encode, [tiles] * -(-count // 64)))


def compare(folder: Path, side_px: int, factor: int, rounds: int) -> None:
    path = made_slide(folder / "made.tif", side_px, factor, tissue=0.4)
    graph = exported(folder)
    sources, encoder, fast = [SlideSource(f"s{n}", path) for n in range(cores())], load_encoder(graph), faster(graph)
    network, done = TileEncoder().eval().to(DEVICE), compress_slide(sources[0], encoder)
    cells = np.stack([done.row, done.col], 1).astype(np.intp)
    with Slide.open(sources[0]) as slide, TileReader(slide, done.grid, 0.5) as reader:
        level, size_px = reader.level, slide.level_sizes_px[reader.level]
        ratio = slide.level_downsamples[level]
        across = -(-size_px[0] // 256)
        corners = np.unique(np.floor(cells * done.grid.side_l0px / ratio / 256).astype(np.intp), axis=0)
        under = np.array_split(corners @ [across, 1], cores())  # JPEG tiles of the level that the cells lie in

    def anew() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            compress_cohort(sources[:1], encoder, Path(out))

    pool = Pool(sorted(os.sched_getaffinity(0)), sources, encoder)
    with ProcessPoolExecutor(cores(), multiprocessing.get_context("spawn")) as decoders:

        def decode_all() -> None:
            for part in [decoders.submit(decode, path, size_px, part) for part in under]:
                part.result()

        decode_all()  # all have started
        ways = {
            "ours": lambda: pool.compress(sources, encoder),
            "reading alone": pool.read,
            "encoding alone": lambda: encode(encoder, len(sources) * len(cells)),
            "plain loader, torch eager": lambda: plain(path, cells, done.grid, network, folder / "plain.h5"),
            f"ours, {fast.name}": lambda: pool.compress(sources, fast),
            "JPEG decoder alone": decode_all,
            "gemm f32 alone": lambda: multiply(len(cells)),
            "ours, all cores to one slide": lambda: pool.compress(sources[:1], encoder),
            "ours, one slide, started anew": anew,
        }
        taken = seconds(*ways.values(), repeats=rounds)
    pool.close()
    taken[:, [0, 1, 2, 4]] /= len(sources)  # seconds a slide
    print(
        f"{side_px} px square at 0.25 um/px, levels x{factor}, {len(cells)} tiles, {cores()} cores, "
        f"{encoder.device_note}, load {os.getloadavg()[0]:.1f}"
    )
    for name, median in zip(ways, np.median(taken, 0), strict=True):
        print(f"  {name:30} {median:7.2f} s a slide  {len(cells) / median:7.0f} tiles/s")
    of = {name: taken[:, place] for place, name in enumerate(ways)}
    parts = of["reading alone"] + of["encoding alone"]
    least = of["JPEG decoder alone"] + of["gemm f32 alone"]
    mine, plains, quick = of["ours"], of["plain loader, torch eager"], of[f"ours, {fast.name}"]
    print(f"plain / ours {np.median(plains / mine):.1f}, plain / ours by {fast.name} {np.median(plains / quick):.1f}")
    print(f"plain / ours started anew {np.median(plains / of['ours, one slide, started anew']):.1f}")
    if DEVICE == "cpu":  # a GPU multiplies beside the decoder
        print(f"plain / (JPEG decoder alone + gemm f32 alone) {np.median(plains / least):.1f}: the most f32 can reach")
    one = of["ours, all cores to one slide"]
    print(f"all cores to one slide / a slide to each core {np.median(one / mine):.2f}")
    print(f"JPEG decoder alone / reading alone {np.median(of['JPEG decoder alone'] / of['reading alone']):.2f}")
    print(f"ours / (reading alone + encoding alone) {np.median(mine / parts):.2f}")


def peaks(command: Sequence[str]) -> tuple[float, float]:
    """MB of all processes of a command together, and of the reader that took most."""
    whole = reader = 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tree = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0.0
        for each in [tree, *tree.children(recursive=True)]:
            try:
                total += each.memory_full_info().pss / 1e6
                if "nic.slides.reading_process" in each.cmdline():
                    status = Path(f"/proc/{each.pid}/status").read_text()
                    found = re.search(r"VmHWM:\s+(\d+)", status)
                    reader = max(reader, int(found[1]) * 1024 / 1e6 if found else 0.0)
            except (psutil.Error, OSError):  # it has ended
                continue
        whole = max(whole, total)
        time.sleep(0.1)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return whole, reader


def memory(folder: Path, tissue: float, sides_px: Sequence[int]) -> None:
    graph = exported(folder)
    made = [(side_px, 4, 64, 0.25) for side_px in sides_px]
    made += [(WIDE_PX, factor, LARGE_TILE_PX, mpp) for factor, mpp in ((2, 0.25), (4, 0.25), (4, 0.2425))]
    print(f"{cores()} cores, as many readers; {tissue:.0%} of each square is tissue")
    for side_px, factor, tile_px, mpp in made:
        path = made_slide(folder / "made.tif", side_px, factor, tissue, mpp)
        with tempfile.TemporaryDirectory(dir=folder) as out:
            command = [sys.executable, "-c", COMPRESS, str(path), str(graph), out, str(tile_px)]
            whole, reader = peaks(command)
            with h5py.File(Path(out) / "made.h5") as file:
                count = len(file["features"])
        below = "below" if reader < READER_MB else "ABOVE"
        print(
            f"{side_px} px square at {mpp} um/px, levels x{factor}, {count} tiles of {tile_px} px: all processes "
            f"{whole:.0f} MB, largest reader {reader:.0f} MB, {below} {READER_MB}",
            flush=True,
        )
        path.unlink()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--side", type=int, default=20_480, help="px of the square")
    arguments.add_argument("--factor", type=int, default=4, help="by which its levels shrink")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--memory", action="store_true", help="peak memory instead of time")
    arguments.add_argument("--tissue", type=float, default=0.1, help="share of tissue, with --memory")
    arguments.add_argument("--sides", type=int, nargs="+", default=SIDES_PX, help="px of squares, with --memory")
    given = arguments.parse_args()
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as folder:
        if given.memory:
            memory(Path(folder), given.tissue, given.sides)
        else:
            compare(Path(folder), given.side, given.factor, given.rounds)


if __name__ == "__main__":
    main()
