"""Batched geometry on tiles, each tile by parameters of its own."""

import torch
from torch import Tensor
from torch.nn import functional

SYMMETRIES = torch.tensor([[[a, 0.0], [0, b]] for a in (1, -1) for b in (1, -1)])
SYMMETRIES = torch.cat([SYMMETRIES, SYMMETRIES.flip(1)])
"""The eight symmetries of the square, [8, 2, 2], acting on (x, y); the first is none."""
CONTROL = 5
"""Points a side whose displacements bend a tile; those between are interpolated by cubics."""


def moved(tiles: Tensor, symmetry: Tensor, zoom: Tensor, bend_px: Tensor) -> Tensor:
    """Flipped, turned, scaled about the centre and bent, in one bilinear sampling; beyond the edge it is mirrored.

    tiles: float [B, C, px, px]. symmetry: int64 [B] in 0 ... 7, a row of SYMMETRIES. zoom: [B], above 1 enlarges.
    bend_px: [B, 2, CONTROL, CONTROL], how far from its place each pixel is fetched in x and in y, at points spread
    evenly from edge to edge. Without zoom and bend pixels are fetched from their centres, which keeps them as they are.
    """
    px = tiles.shape[-1]
    rows = _cubic(px).to(tiles)
    bend = rows @ bend_px @ rows.T * (2 / px)  # [B, 2, px, px] in units of half a tile
    place = (torch.arange(px, device=tiles.device) + 0.5) * (2 / px) - 1
    straight = torch.stack([place.expand(px, px), place[:, None].expand(px, px)]).flatten(1)  # [2, px * px]
    turn = SYMMETRIES.to(tiles)[symmetry] / zoom[:, None, None]
    fetched = torch.baddbmm(bend.flatten(2), turn, straight.expand(len(tiles), -1, -1)).view(bend.shape)
    return functional.grid_sample(tiles, fetched.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)


def _cubic(px: int) -> Tensor:
    """[px, CONTROL]: weight of each control point at each pixel; applied to rows and columns it is bicubic."""
    points = torch.eye(CONTROL)[None, None]
    return functional.interpolate(points, (px, CONTROL), mode="bicubic", align_corners=True)[0, 0]
