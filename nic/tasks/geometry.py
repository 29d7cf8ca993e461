"""Batched geometry on tiles."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

SYMMETRIES = 8
CONTROL = 5
"""Points a side whose displacements bend a tile; those between are interpolated by cubics."""


def turned(tiles: Tensor, first: int) -> Tensor:
    """Flips and quarter turns: each eighth of a batch [B, C, px, px] by another of the eight, the first by `first`.

    first: 0 to 7; numbered as in nic.slides.d4. Copied whole: sampling each tile by itself costs more.
    """
    changed = torch.empty_like(tiles)
    # Beyond 7 the numbers go on from 0: only their three lowest bits are looked at.
    eighths = zip(tiles.tensor_split(SYMMETRIES), changed.tensor_split(SYMMETRIES), strict=True)
    for symmetry, (before, after) in enumerate(eighths, start=first):
        mirrored = before.flip([axis for axis, bit in ((2, 1), (3, 2)) if symmetry & bit])
        after.copy_(mirrored.mT if symmetry & 4 else mirrored)
    return changed


def moved(tiles: Tensor, zoom: Tensor, bend_px: Tensor) -> Tensor:
    """Tiles scaled about the centre and bent, each by itself, in one bilinear sampling; beyond the edge mirrored.

    tiles: float [B, C, px, px]. zoom: [B], above 1 enlarges. bend_px: [B, 2, CONTROL, CONTROL], how far from its place
    each pixel is fetched in x and in y, at points spread evenly from edge to edge. Without zoom and bend pixels are
    fetched from their centres, which keeps them as they are.
    """
    px = tiles.shape[-1]
    rows, straight = _pixels(px, tiles.device)
    fetched = rows @ (bend_px * (2 / px)) @ rows.T  # [B, 2, px, px] in units of half a tile
    fetched += straight / zoom[:, None, None, None]
    return functional.grid_sample(tiles, fetched.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)


@cache
def _pixels(px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Constants of a tile, made once for each device.

    [px, CONTROL]: weight of each control point at each pixel; applied to rows and columns it is bicubic. [2, px, px]:
    x and y of each pixel's centre, from -1 to 1 across the tile.
    """
    points = torch.eye(CONTROL)[None, None]
    rows = functional.interpolate(points, (px, CONTROL), mode="bicubic", align_corners=True)[0, 0]
    place = (torch.arange(px) + 0.5) * (2 / px) - 1
    straight = torch.stack([place.expand(px, px), place[:, None].expand(px, px)])
    return rows.to(device), straight.to(device)
