"""Batched colour, sharpness and noise on tiles float [B, 3, px, px] in [0, 1], each tile by parameters of its own.

Colours change by one matrix and one offset a tile, in optical density for stains and in RGB for tones: a few passes
over the pixels, where a chain of single changes would take a dozen.
"""

import math

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
    hed = HED.to(tiles)
    mean = tiles.flatten(1).mean(1)
    tissue = ((mean > 0.15) & (mean < 0.85))[:, None, None]
    change = ((torch.linalg.inv(hed) * scale[:, None]) @ hed).mT  # [B, 3, 3], acting on columns of RGB density
    change = torch.where(tissue, change, torch.eye(3, device=tiles.device))
    offset = torch.where(tissue, -(shift[:, None] @ hed).mT, 0.0)
    log_light = tiles.clamp(DARKEST, 1).log_().flatten(2)  # [B, 3, px * px]
    return torch.baddbmm(offset, change, log_light).exp_().view(tiles.shape)


def toned(tiles: Tensor, hue: Tensor, saturation: Tensor, contrast: Tensor, brightness: Tensor) -> Tensor:
    """Hue turned, then saturation, contrast and brightness changed; all [B], none with 0, 1, 1, 0.

    hue: radians about the axis of greys. saturation: distance from the grey of the same luma, times this. contrast:
    distance from the tile's mean colour, times this. brightness: added.
    """
    eye = torch.eye(3, device=tiles.device)
    grey = LUMA.to(tiles).expand(3, 3)
    colour = (grey + saturation[:, None, None] * (eye - grey)) @ hue_turn(hue)  # [B, 3, 3]
    pixels = tiles.flatten(2)
    mean = colour @ pixels.mean(2, keepdim=True)
    contrast = contrast[:, None, None]
    return torch.baddbmm(mean * (1 - contrast) + brightness[:, None, None], colour * contrast, pixels).view(tiles.shape)


def hue_turn(angle: Tensor) -> Tensor:
    """[B] radians to rotations [B, 3, 3] of RGB about the grey axis; a third of a turn makes red green."""
    along = torch.full((3, 3), 1 / 3, device=angle.device)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) / math.sqrt(3)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return along + cos * (torch.eye(3, device=angle.device) - along) + sin * across


def blurred(tiles: Tensor, sigma_px: Tensor) -> Tensor:
    """Gaussian blur, cut off at 3 px, the edge mirrored. sigma_px: [B], each its own: a band matrix on either side."""
    px = tiles.shape[-1]
    reach = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=tiles.device)
    weights = torch.softmax(-(reach**2) / (2 * sigma_px[:, None] ** 2), 1)  # [B, 7]
    source = torch.arange(px, device=tiles.device)[:, None] + reach  # [px, 7]
    source = torch.where(source < 0, -1 - source, torch.where(source >= px, 2 * px - 1 - source, source))
    places = functional.one_hot(source, px).permute(1, 0, 2).flatten(1).to(weights)  # [7, px * px]
    band = (weights @ places).view(-1, 1, px, px)
    return band @ tiles @ band.mT
