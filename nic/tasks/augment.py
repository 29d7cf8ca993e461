"""Augmentation of batches of tiles, on the device that trains: what is drawn, how strongly, and in which order.

All is drawn on the host and sent to the device: which tiles are changed decides the sizes of what the device computes,
and a GPU that were asked for them would stand still. So the draws of a seed are the same on each device.

benchmarks/augmentation.py shows what it costs beside the encoder's own step, and beside a chain of kornia's single
augmentations, which take many times as long and no generator of one's own.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nic.errors import TaskError
from nic.tasks.colour import blurred, restained, toned
from nic.tasks.geometry import CONTROL, SYMMETRIES, moved, turned
from nic.training_device import sent


@dataclass(frozen=True)
class Strength:
    """How far each change may go; changes are uniform between the two ends unless it says otherwise.

    zoom: natural logarithm of the largest scale, either way. bend_px: standard deviation of the displacements. hed:
    largest relative change of a stain, and ten times the largest absolute one. hue: radians. saturation, contrast:
    largest relative change. brightness: largest change. blur_px, noise: largest standard deviation.
    """

    zoom: float
    bend_px: float
    hed: float
    hue: float
    saturation: float
    contrast: float
    brightness: float
    blur_px: float
    noise: float


LIGHT = Strength(
    zoom=0.05,
    bend_px=0.3,
    hed=0.05,
    hue=0.03,
    saturation=0.05,
    contrast=0.1,
    brightness=0.05,
    blur_px=0.5,
    noise=0.01,
)
HEAVY = Strength(
    zoom=0.2,
    bend_px=1.0,
    hed=0.25,
    hue=0.1,
    saturation=0.2,
    contrast=0.2,
    brightness=0.1,
    blur_px=1.0,
    noise=0.03,
)
STRENGTHS = {"none": None, "light": LIGHT, "heavy": HEAVY}
WARPED, BLURRED, NOISY = 0.5, 0.25, 0.5
"""Shares of tiles that are warped, blurred, made noisy: the network shall see sharp and straight ones too."""
GRAINS = 8
"""Fields of noise that a batch shares: normal numbers come one after another, the rest of the work on all cores."""


def augment(tiles: Tensor, strength: str, generator: torch.Generator) -> Tensor:
    """Tiles float [B, 3, px, px] in [0, 1], augmented each by itself. strength: none, light or heavy.

    Heavy colour augmentation is one of the paper's findings; flips and quarter turns come with any strength but none.
    generator: on the CPU. Raises TaskError for an unknown strength.
    """
    if strength not in STRENGTHS:
        raise TaskError(f"augmentation {strength!r}, wanted one of {', '.join(STRENGTHS)}")
    chosen = STRENGTHS[strength]
    if chosen is None:
        return tiles
    with torch.autocast(tiles.device.type, enabled=False):  # colours in bfloat16 would be of 256 steps an octave
        tiles = displaced(tiles, chosen, generator)
        tiles = recoloured(tiles, chosen, generator)
        return softened(tiles, chosen, generator).clamp_(0, 1)


def displaced(tiles: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    """Flips, quarter turns, and some tiles scaled and bent."""
    first = torch.randint(SYMMETRIES, (1,), generator=generator).numpy()[0]
    tiles = turned(tiles, int(first))
    some = _some(len(tiles), WARPED, generator)
    zoom = (strength.zoom * _uniform(len(some), generator)).exp()
    bend_px = strength.bend_px * torch.randn(len(some), 2, CONTROL, CONTROL, generator=generator)
    which, zoom, bend_px = (sent(drawn, tiles.device) for drawn in (some, zoom, bend_px))
    return tiles.index_copy_(0, which, moved(tiles.index_select(0, which), zoom, bend_px))


def recoloured(tiles: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    """Stains and tones of each tile changed; where things lie stays as it is."""
    batch = len(tiles)
    scale = 1 + strength.hed * _uniform((batch, 3), generator)
    shift = 0.1 * strength.hed * _uniform((batch, 3), generator)
    hue = strength.hue * _uniform(batch, generator)
    saturation = 1 + strength.saturation * _uniform(batch, generator)
    contrast = 1 + strength.contrast * _uniform(batch, generator)
    brightness = strength.brightness * _uniform(batch, generator)
    stains = (sent(drawn, tiles.device) for drawn in (scale, shift))
    tones = (sent(drawn, tiles.device) for drawn in (hue, saturation, contrast, brightness))
    return toned(restained(tiles, *stains), *tones)


def softened(tiles: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    """Some tiles blurred, some with noise, in place."""
    some = _some(len(tiles), BLURRED, generator)
    sigma_px = (strength.blur_px * torch.rand(len(some), generator=generator)).clamp_(min=0.1)
    which, sigma_px = (sent(drawn, tiles.device) for drawn in (some, sigma_px))
    tiles.index_copy_(0, which, blurred(tiles.index_select(0, which), sigma_px))
    some = _some(len(tiles), NOISY, generator)
    grain = torch.randn(GRAINS, *tiles.shape[1:], generator=generator)
    amount = strength.noise * torch.rand(len(some), 1, 1, 1, generator=generator)
    of_each = torch.randint(GRAINS, (len(some),), generator=generator)
    which, grain, amount, of_each = (sent(drawn, tiles.device) for drawn in (some, grain, amount, of_each))
    return tiles.index_add_(0, which, grain.index_select(0, of_each).mul_(amount))


def _some(batch: int, share: float, generator: torch.Generator) -> Tensor:
    """Indices of the tiles that are chosen, each by its own draw."""
    return torch.from_numpy(np.flatnonzero(torch.rand(batch, generator=generator).numpy() < share))


def _uniform(shape: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=generator) - 1


def examples(tiles: NDArray[np.uint8], strength: str, copies: int, seed: int) -> NDArray[np.uint8]:
    """Tiles uint8 [N, px, px, 3] as training sees them, [copies, N, px, px, 3]: to be looked at."""
    pixels = torch.from_numpy(np.ascontiguousarray(tiles)).permute(0, 3, 1, 2).float() / 255
    random = torch.Generator().manual_seed(seed)
    changed = torch.stack([augment(pixels, strength, random) for _ in range(copies)])
    return (changed * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
