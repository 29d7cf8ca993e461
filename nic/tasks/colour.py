"""Batched colour, sharpness and noise on tiles float [B, 3, px, px] in [0, 1], each tile by parameters of its own.

Colours change by one matrix and one offset a tile, in optical density for stains and in RGB for tones: a few passes
over the pixels, where a chain of single changes would take a dozen.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

# Ruifrok & Johnston 2001: optical density of haematoxylin, eosin and DAB, one stain a row.
HED = functional.normalize(torch.tensor([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]]))
LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
DARKEST = 1 / 255
"""Black has no optical density; it is taken for the darkest grey of eight bits."""
BLUR_RADIUS = 3


def restained(tiles: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Stain v becomes v * scale + shift, in optical density (natural logarithm). scale, shift: [B, 3] for H, E, D.

    Tiles of which the mean lies outside (0.15, 0.85) are glass or ink and keep their colours. Source: METHOD of the
    lab, after Tellez et al. 2018.
    """
    hed, separation, same = _stains(tiles.device)
    mean = tiles.flatten(1).mean(1)
    glass = ((mean <= 0.15) | (mean >= 0.85))[:, None, None]
    change = ((separation * scale[:, None]) @ hed).mT  # [B, 3, 3], acting on columns of RGB density
    change = torch.where(glass, same, change)
    offset = -(shift[:, None] @ hed).mT.masked_fill(glass, 0.0)
    log_light = tiles.clamp(DARKEST, 1).log_().flatten(2)  # [B, 3, px * px]
    return torch.baddbmm(offset, change, log_light).exp_().view(tiles.shape)


def toned(tiles: Tensor, hue: Tensor, saturation: Tensor, contrast: Tensor, brightness: Tensor) -> Tensor:
    """Hue turned, then saturation, contrast and brightness changed; all [B], none with 0, 1, 1, 0.

    hue: radians about the axis of greys. saturation: distance from the grey of the same luma, times this. contrast:
    distance from the tile's mean colour, times this. brightness: added.
    """
    grey, colourful = _greys(tiles.device)
    colour = (grey + saturation[:, None, None] * colourful) @ hue_turn(hue)  # [B, 3, 3]
    pixels = tiles.flatten(2)
    mean = colour @ pixels.mean(2, keepdim=True)
    contrast = contrast[:, None, None]
    return torch.baddbmm(mean * (1 - contrast) + brightness[:, None, None], colour * contrast, pixels).view(tiles.shape)


def hue_turn(angle: Tensor) -> Tensor:
    """[B] radians to rotations [B, 3, 3] of RGB about the grey axis; a third of a turn makes red green."""
    along, around, across = _turning(angle.device)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return along + cos * around + sin * across


def blurred(tiles: Tensor, sigma_px: Tensor) -> Tensor:
    """Gaussian blur, cut off at 3 px, the edge mirrored. sigma_px: [B], each its own: a band matrix on either side."""
    px = tiles.shape[-1]
    distance_squared, places = _neighbours(px, tiles.device)
    weights = torch.softmax(-distance_squared / (2 * sigma_px[:, None] ** 2), 1)  # [B, 7]
    band = (weights @ places).view(-1, 1, px, px)
    return band @ tiles @ band.mT


# Constants, made once for each device: making them in every step would keep a GPU waiting for the host.


@cache
def _stains(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """HED, its inverse, and the identity: [3, 3] each."""
    return HED.to(device), torch.linalg.inv(HED).to(device), torch.eye(3, device=device)


@cache
def _greys(device: torch.device) -> tuple[Tensor, Tensor]:
    """[3, 3] each: from RGB to the grey of the same luma, and to what distinguishes the colour from it."""
    grey = LUMA.expand(3, 3)
    return grey.to(device), (torch.eye(3) - grey).to(device)


@cache
def _turning(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Rodrigues' three matrices of a rotation about the axis of greys, [3, 3] each: fixed, times cos, times sin."""
    along = torch.full((3, 3), 1 / 3)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return along.to(device), (torch.eye(3) - along).to(device), across.to(device)


@cache
def _neighbours(px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Squared distances of a pixel's neighbours in a row, [7], and where each of them lies: [7, px * px] of 0 and 1."""
    reach = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)
    source = torch.arange(px)[:, None] + reach  # [px, 7]
    source = torch.where(source < 0, -1 - source, torch.where(source >= px, 2 * px - 1 - source, source))
    places = functional.one_hot(source, px).permute(1, 0, 2).flatten(1).float()
    return (reach**2).to(device), places.to(device)
