"""Augmentation of batches of tiles, on the device that trains: what is drawn, how strongly, and in which order.

All numbers are drawn on the host and sent to the device: the number of changed tiles decides the sizes of what the
device computes, and a GPU would wait if it were asked for it. So the draws of a seed are the same on each device.
Each tile has parameters of its own. Its colours change by one matrix and one offset, in optical density for stains and
in RGB for tones: a few passes over the pixels, where a chain of single changes would take a dozen.

benchmarks/augmentation.py compares the cost with the encoder's own step, and with a chain of kornia's augmentations,
which takes many times as long and accepts no generator.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nic.errors import TaskError
from nic.training_device import sent


@dataclass(frozen=True)
class Strength:
    """How far each change may go, either way; draws are uniform where nothing else is stated.

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
NO_COLOUR = replace(HEAVY, hed=0, hue=0, saturation=0, contrast=0, brightness=0)
STRENGTHS = {"none": None, "light": LIGHT, "heavy": HEAVY, "no-colour": NO_COLOUR}
"""no-colour is heavy without changes of colour: what they add is measured against it."""
WARPED, BLURRED, NOISY = 0.5, 0.25, 0.5
"""Shares of tiles that are warped, blurred, made noisy; the network also sees sharp and straight ones."""
GRAINS = 8
"""Fields of noise that a batch shares: normal numbers are drawn one by one, while other work uses all cores."""
SYMMETRIES = 8
CONTROL = 5
"""Points on a side of the grid whose displacements bend a tile; those between are interpolated by cubics."""
# Ruifrok & Johnston 2001: optical density of haematoxylin, eosin and DAB, one stain a row.
HED = functional.normalize(torch.tensor([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]]))
LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
DARKEST = 1 / 255
"""Black has no optical density; it is treated as the darkest grey of eight bits."""
BLUR_RADIUS = 3


def augment(tiles: Tensor, strength: str, generator: torch.Generator) -> Tensor:
    """Tiles float [B, 3, px, px] in [0, 1], augmented each by itself. strength: of STRENGTHS.

    Heavy colour augmentation is one of the paper's findings; flips and quarter turns come with any strength but none.
    generator: on the CPU. Raises TaskError for an unknown strength.
    """
    if strength not in STRENGTHS:
        raise TaskError(f"augmentation {strength!r}, wanted one of {', '.join(STRENGTHS)}")
    chosen = STRENGTHS[strength]
    if chosen is None:
        return tiles
    with torch.autocast(tiles.device.type, enabled=False):  # bfloat16 has only 256 steps an octave of a colour
        tiles = displaced(tiles, chosen, generator)
        tiles = recoloured(tiles, chosen, generator)
        return softened(tiles, chosen, generator).clamp_(0, 1)


def displaced(tiles: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    """D4 variants of all tiles; some are also scaled and bent."""
    first = torch.randint(SYMMETRIES, (1,), generator=generator).numpy()[0]
    tiles = d4_mixed(tiles, int(first))
    some = _some(len(tiles), WARPED, generator)
    zoom = (strength.zoom * _uniform(len(some), generator)).exp()
    bend_px = strength.bend_px * torch.randn(len(some), 2, CONTROL, CONTROL, generator=generator)
    which, zoom, bend_px = (sent(drawn, tiles.device) for drawn in (some, zoom, bend_px))
    return tiles.index_copy_(0, which, warped(tiles.index_select(0, which), zoom, bend_px))


def recoloured(tiles: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    """Stains and tones of each tile changed, without moving anything."""
    stains, tones = drawn_colours(len(tiles), strength, generator)
    tiles = restained(tiles, *(sent(drawn, tiles.device) for drawn in stains))
    return toned(tiles, *(sent(drawn, tiles.device) for drawn in tones))


def drawn_colours(
    batch: int, strength: Strength, generator: torch.Generator
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """What changes the colours of each tile: arguments of `restained`, and of `toned`."""
    scale = 1 + strength.hed * _uniform((batch, 3), generator)
    shift = 0.1 * strength.hed * _uniform((batch, 3), generator)
    hue = strength.hue * _uniform(batch, generator)
    saturation = 1 + strength.saturation * _uniform(batch, generator)
    contrast = 1 + strength.contrast * _uniform(batch, generator)
    brightness = strength.brightness * _uniform(batch, generator)
    return (scale, shift), (hue, saturation, contrast, brightness)


def softened(tiles: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    """Some tiles blurred, some with noise, in place."""
    some = _some(len(tiles), BLURRED, generator)
    sigma_px = (strength.blur_px * torch.rand(len(some), generator=generator)).clamp_(min=0.1)
    which, sigma_px = (sent(drawn, tiles.device) for drawn in (some, sigma_px))
    tiles.index_copy_(0, which, gaussian_blurred(tiles.index_select(0, which), sigma_px))
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
    """Tiles uint8 [N, px, px, 3] augmented as in training, [copies, N, px, px, 3], for a picture."""
    pixels = torch.from_numpy(np.ascontiguousarray(tiles)).permute(0, 3, 1, 2).float() / 255
    random = torch.Generator().manual_seed(seed)
    changed = torch.stack([augment(pixels, strength, random) for _ in range(copies)])
    return (changed * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()


def d4_mixed(tiles: Tensor, first: int) -> Tensor:
    """The eight D4 variants: each eighth of a batch [B, C, px, px] becomes another one, the first eighth `first`.

    first: 0 to 7; numbered as the D4 variants of codes. Copied whole: sampling each tile by itself costs more.
    """
    changed = torch.empty_like(tiles)
    # Beyond 7 the numbers start again at 0: only their three lowest bits count.
    eighths = zip(tiles.tensor_split(SYMMETRIES), changed.tensor_split(SYMMETRIES), strict=True)
    for symmetry, (before, after) in enumerate(eighths, start=first):
        mirrored = before.flip([axis for axis, bit in ((2, 1), (3, 2)) if symmetry & bit])
        after.copy_(mirrored.mT if symmetry & 4 else mirrored)
    return changed


def warped(tiles: Tensor, zoom: Tensor, bend_px: Tensor) -> Tensor:
    """Tiles scaled about the centre and bent, each by itself, in one bilinear sampling; beyond the edge mirrored.

    tiles: float [B, C, px, px]. zoom: [B], above 1 enlarges. bend_px: [B, 2, CONTROL, CONTROL], how far from its place
    each pixel is fetched in x and in y, at points spread evenly from edge to edge. Without zoom and bend pixels are
    fetched from their centres, which keeps them as they are.
    """
    px = tiles.shape[-1]
    rows, straight = _warp_constants(px, tiles.device)
    fetched = rows @ (bend_px * (2 / px)) @ rows.T  # [B, 2, px, px] in units of half a tile
    fetched += straight / zoom[:, None, None, None]
    return functional.grid_sample(tiles, fetched.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)


@cache
def _warp_constants(px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Constants of a tile, made once for each device.

    [px, CONTROL]: weight of each control point at each pixel; applied to rows and columns it is bicubic. [2, px, px]:
    x and y of each pixel's centre, from -1 to 1 across the tile.
    """
    points = torch.eye(CONTROL)[None, None]
    rows = functional.interpolate(points, (px, CONTROL), mode="bicubic", align_corners=True)[0, 0]
    place = (torch.arange(px) + 0.5) * (2 / px) - 1
    straight = torch.stack([place.expand(px, px), place[:, None].expand(px, px)])
    return rows.to(device), straight.to(device)


def restained(tiles: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Stain v becomes v * scale + shift, in optical density (natural logarithm). scale, shift: [B, 3] for H, E, D.

    Tiles of which the mean lies outside (0.15, 0.85) are glass or ink and keep their colours. Source: METHOD of the
    lab, after Tellez et al. 2018.
    """
    mean = tiles.flatten(1).mean(1)
    glass = ((mean <= 0.15) | (mean >= 0.85))[:, None, None]
    change, offset = stain_change(scale, shift)
    *_, same = _stain_constants(tiles.device)
    change, offset = torch.where(glass, same, change), offset.masked_fill(glass, 0.0)
    log_light = tiles.clamp(DARKEST, 1).log_().flatten(2)  # [B, 3, px * px]
    return torch.baddbmm(offset, change, log_light).exp_().view(tiles.shape)


def stain_change(scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """What `restained` does to columns of RGB density: a matrix [B, 3, 3], and an offset [B, 3, 1]."""
    hed, separation, _ = _stain_constants(scale.device)
    return ((separation * scale[:, None]) @ hed).mT, -(shift[:, None] @ hed).mT


def toned(tiles: Tensor, hue: Tensor, saturation: Tensor, contrast: Tensor, brightness: Tensor) -> Tensor:
    """Hue turned, then saturation, contrast and brightness changed; all [B], none with 0, 1, 1, 0.

    hue: radians about the axis of greys. saturation: distance from the grey of the same luma, times this. contrast:
    distance from the tile's mean colour, times this. brightness: added.
    """
    colour = tone_change(hue, saturation)
    pixels = tiles.flatten(2)
    mean = colour @ pixels.mean(2, keepdim=True)
    contrast = contrast[:, None, None]
    return torch.baddbmm(mean * (1 - contrast) + brightness[:, None, None], colour * contrast, pixels).view(tiles.shape)


def tone_change(hue: Tensor, saturation: Tensor) -> Tensor:
    """What `toned` does to columns of RGB beside contrast and brightness: [B, 3, 3]."""
    grey, colourful = _grey_constants(hue.device)
    return (grey + saturation[:, None, None] * colourful) @ hue_turn(hue)


def hue_turn(angle: Tensor) -> Tensor:
    """[B] radians to rotations [B, 3, 3] of RGB about the grey axis; a third of a turn makes red green."""
    along, around, across = _hue_constants(angle.device)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return along + cos * around + sin * across


def gaussian_blurred(tiles: Tensor, sigma_px: Tensor) -> Tensor:
    """Gaussian blur, cut off at 3 px, the edge mirrored. sigma_px: [B], each its own: a band matrix on either side."""
    px = tiles.shape[-1]
    distance_squared, places = _blur_constants(px, tiles.device)
    weights = torch.softmax(-distance_squared / (2 * sigma_px[:, None] ** 2), 1)  # [B, 7]
    band = (weights @ places).view(-1, 1, px, px)
    return band @ tiles @ band.mT


# Constants, made once for each device: making them in every step would keep a GPU waiting for the host.


@cache
def _stain_constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """HED, its inverse, and the identity: [3, 3] each."""
    return HED.to(device), torch.linalg.inv(HED).to(device), torch.eye(3, device=device)


@cache
def _grey_constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """[3, 3] each: from RGB to the grey of the same luma, and to what distinguishes the colour from it."""
    grey = LUMA.expand(3, 3)
    return grey.to(device), (torch.eye(3) - grey).to(device)


@cache
def _hue_constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Rodrigues' three matrices of a rotation about the axis of greys, [3, 3] each: fixed, times cos, times sin."""
    along = torch.full((3, 3), 1 / 3)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return along.to(device), (torch.eye(3) - along).to(device), across.to(device)


@cache
def _blur_constants(px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Squared distances of a pixel's neighbours in a row, [7], and where each of them lies: [7, px * px] of 0 and 1."""
    reach = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)
    source = torch.arange(px)[:, None] + reach  # [px, 7]
    source = torch.where(source < 0, -1 - source, torch.where(source >= px, 2 * px - 1 - source, source))
    places = functional.one_hot(source, px).permute(1, 0, 2).flatten(1).float()
    return (reach**2).to(device), places.to(device)
