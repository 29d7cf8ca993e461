"""The cost of augmentation: ms for a batch in each stage, beside the encoder's own step and a chain of kornia's.

    OMP_NUM_THREADS=1 python -m benchmarks.augmentation

The last line is the share of the step that heavy augmentation takes.
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from kornia.augmentation import (
    AugmentationSequential,
    ColorJiggle,
    RandomAffine,
    RandomElasticTransform,
    RandomGaussianBlur,
    RandomGaussianNoise,
)

from nic.encoder.network import TILE_PX, TileEncoder
from nic.tasks.augment import HEAVY, augment, displaced, recoloured, softened

BATCH = 64


def milliseconds(work: Callable[[], object], repeats: int = 15) -> float:
    """Lower quartile, past two runs that warm up."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.quantile(times[2:], 0.25)) * 1e3


def kornia_chain() -> AugmentationSequential:
    """The same kinds of change with the same shares; without stains, which kornia does not jitter."""
    return AugmentationSequential(
        RandomAffine(0, scale=(math.exp(-HEAVY.zoom), math.exp(HEAVY.zoom)), padding_mode="reflection", p=0.5),
        RandomElasticTransform(p=0.5),
        ColorJiggle(HEAVY.brightness, HEAVY.contrast, HEAVY.saturation, HEAVY.hue / math.tau, p=1.0),
        RandomGaussianBlur((7, 7), (0.1, HEAVY.blur_px), p=0.25),
        RandomGaussianNoise(std=HEAVY.noise, p=0.5),
    )


def step(tiles: torch.Tensor) -> Callable[[], None]:
    """Forward, backward and optimizer of the encoder in bf16, as it trains."""
    encoder = TileEncoder().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(encoder.parameters())

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = encoder(tiles.contiguous(memory_format=torch.channels_last)).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    random = torch.Generator().manual_seed(0)
    tiles = torch.rand(BATCH, 3, TILE_PX, TILE_PX)
    chain = kornia_chain()
    bare = milliseconds(step(tiles))  # first: as in training, the allocator then keeps its memory
    stages: dict[str, Callable[[], object]] = {
        "flip, turn, scale, bend": lambda: displaced(tiles, HEAVY, random),
        "stains and tones": lambda: recoloured(tiles, HEAVY, random),
        "blur and noise": lambda: softened(tiles.clone(), HEAVY, random),
        "all of heavy": lambda: augment(tiles, "heavy", random),
        "a chain of kornia's": lambda: chain(tiles),
    }
    times = {name: milliseconds(work) for name, work in stages.items()}
    for name, ms in {**times, "the encoder's step": bare}.items():
        print(f"{name:24s} {ms:7.2f} ms a batch of {BATCH} tiles")
    print(f"heavy augmentation takes {times['all of heavy'] / bare:.1%} of a step")


if __name__ == "__main__":
    main()
