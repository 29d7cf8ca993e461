"""Memory and time of a gradient by streaming, against the gradient of the whole image at once.

    python -m benchmarks.streaming [--sides 768 1536 3072] [--tile 512] [--times 3]

The network is the streaming CNN of nic.comparators; images are noise. Each is measured in a process of its own: the
most memory it holds beyond what it held before, the image included (VmHWM), and the least time of some repetitions. The
whole image goes through the same network with autograd alone. Gradients are compared, too.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from nic.comparators.streaming_cnn import StreamingCNN


@dataclass(frozen=True)
class Measured:
    """mib: most memory beyond that before. seconds: of a gradient. gradient: of all weights, [n]."""

    mib: float
    seconds: float
    gradient: np.ndarray


def measure(side: int, tile_px: int, times: int) -> Measured:
    """One gradient of an image of side x side px, by tiles; of the whole image where tile_px is 0."""
    torch.manual_seed(0)
    network, field = StreamingCNN(), StreamingCNN().field
    cells = side // field.stride_px
    beyond = field.margin_px
    image = functional.pad(torch.rand(3, side, side), (beyond, field.size_px) * 2)

    def window(top: int, left: int, height: int, width: int) -> torch.Tensor:
        return image[:, beyond + top : beyond + top + height, beyond + left : beyond + left + width]

    def gradient() -> None:
        network.zero_grad()
        if tile_px:
            scores = network.scores(window, np.ones((cells, cells), bool), tile_px)
        else:
            length = field.pixels(cells)
            scores = network.head(network.features(window(-beyond, -beyond, length, length)[None]))[0]
        scores.mean().backward()

    seconds, held = [], resident_mib("VmRSS")
    for _ in range(times):
        start = time.perf_counter()
        gradient()
        seconds.append(time.perf_counter() - start)
    every = torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])
    return Measured(resident_mib("VmHWM") - held, min(seconds), every.numpy())


def resident_mib(name: str) -> float:
    """A figure of the process's memory, as the kernel names it."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024


def in_new_process(side: int, tile_px: int, times: int) -> Measured:
    """Memory of a process depends on what it did before."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, side, tile_px, times).result()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sides", type=int, nargs="+", default=[768, 1536, 3072], help="px of the images")
    arguments.add_argument("--tile", type=int, default=512, help="px of a tile, without its margin")
    arguments.add_argument("--times", type=int, default=3, help="how often a gradient is computed")
    given = arguments.parse_args()
    print(f"{'side':>6} {'whole':>21} {'by tiles':>21} {'memory':>8} {'time':>6} {'largest difference':>19}")
    for side in given.sides:
        whole, tiles = (in_new_process(side, tile_px, given.times) for tile_px in (0, given.tile))
        difference = np.abs(whole.gradient - tiles.gradient).max() / np.abs(whole.gradient).max()
        print(
            f"{side:>6} {whole.mib:>9.0f} MiB {whole.seconds:>6.2f} s {tiles.mib:>9.0f} MiB {tiles.seconds:>6.2f} s "
            f"{tiles.mib / whole.mib:>8.2f} {tiles.seconds / whole.seconds:>6.2f} {difference:>19.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
