"""Geometry and colour augmentation of batches of tiles, on the device that trains."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nic.errors import TaskError

# Ruifrok & Johnston 2001: optical density of haematoxylin, eosin and DAB, one stain a row.
HED = torch.tensor([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
HED = HED / HED.norm(dim=1, keepdim=True)


@dataclass(frozen=True)
class Strength:
    """hed: largest relative and absolute change of a stain. contrast, brightness: largest change. noise: deviation."""

    hed: float
    contrast: float
    brightness: float
    noise: float


STRENGTHS = {
    "none": None,
    "light": Strength(hed=0.05, contrast=0.1, brightness=0.05, noise=0.01),
    "heavy": Strength(hed=0.25, contrast=0.2, brightness=0.1, noise=0.01),
}


def augment(tiles: Tensor, strength: str, generator: torch.Generator) -> Tensor:
    """Tiles float [B, 3, px, px] in [0, 1], augmented each by itself. strength: none, light or heavy.

    Heavy colour augmentation is one of the paper's findings; flips and quarter turns come with any strength but none.
    generator: on the tiles' device. Raises TaskError for an unknown strength.
    """
    if strength not in STRENGTHS:
        raise TaskError(f"augmentation {strength!r}, wanted one of {', '.join(STRENGTHS)}")
    chosen = STRENGTHS[strength]
    if chosen is None:
        return tiles
    tiles = turned(tiles, generator)
    tiles = stain_jittered(tiles, chosen.hed, generator)
    return _toned(tiles, chosen, generator).clamp(0, 1)


def turned(tiles: Tensor, generator: torch.Generator) -> Tensor:
    """Each tile by one of the eight symmetries of the square."""
    which = torch.randint(8, (len(tiles),), generator=generator, device=generator.device)
    result = torch.empty_like(tiles)
    for k in range(8):
        chosen = tiles[which == k]
        result[which == k] = torch.rot90(chosen.flip(3) if k >= 4 else chosen, k % 4, (2, 3))
    return result


def stain_jittered(tiles: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Stains changed to v * (1 + s) + b in optical density, s and b uniform in +-amount (b in tenths).

    Tiles of which the mean lies outside (0.15, 0.85) are glass or ink and stay as they are.
    """
    batch, hed = len(tiles), HED.to(tiles.device)
    scale = 1 + amount * _uniform((batch, 1, 3), generator)
    shift = amount * 0.1 * _uniform((batch, 1, 3), generator)
    # RGB -> stains, the change, stains -> RGB: one matrix and one offset a tile, instead of three passes over pixels.
    change = ((torch.linalg.inv(hed) * scale) @ hed).mT  # [B, 3, 3], acting on columns of RGB density
    log_light = torch.log(tiles.clamp(1 / 255, 1)).flatten(2)  # [B, 3, px * px]
    jittered = torch.baddbmm(-(shift @ hed).mT, change, log_light).exp().view(tiles.shape)
    mean = tiles.mean((1, 2, 3))
    tissue = ((mean > 0.15) & (mean < 0.85))[:, None, None, None]
    return torch.where(tissue, jittered, tiles)


def _toned(tiles: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    batch = len(tiles)
    contrast = 1 + strength.contrast * _uniform((batch, 1, 1, 1), generator)
    brightness = strength.brightness * _uniform((batch, 1, 1, 1), generator)
    mean = tiles.mean((2, 3), keepdim=True)
    noise = strength.noise * torch.randn(tiles.shape, generator=generator, device=generator.device)
    return (tiles - mean) * contrast + mean + brightness + noise


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=generator, device=generator.device) - 1
