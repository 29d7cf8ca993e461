"""The published encoder: four strided convolutions and a linear code; its decoder, and encoders that learn nothing.

Source: Tellez et al. 2019, 2020.
"""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

CODE_SIZE, CHANNELS, TILE_PX = 128, 128, 64
LAST_PX = 3
"""Side of the last convolution's output."""


class TileEncoder(nn.Module):
    """Tiles float [B, 3, 64, 64] in [-1, 1] to codes float [B, 128].

    4 x [convolution 3x3, stride 2, valid, 128 -> LeakyReLU 0.2 -> BatchNorm]: 31, 15, 7, 3 px; then 1152 -> 128.
    The published networks keep 0.8 of a running mean a step, which torch writes as momentum 0.2.
    """

    code_size: ClassVar[int] = CODE_SIZE

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for channels in (3, CHANNELS, CHANNELS, CHANNELS):
            blocks += [nn.Conv2d(channels, CHANNELS, 3, stride=2), *_activated()]
        self.features = nn.Sequential(*blocks)  # [B, 128, 3, 3]
        self.code = nn.Linear(CHANNELS * LAST_PX * LAST_PX, CODE_SIZE)

    def forward(self, tiles: Tensor) -> Tensor:
        codes: Tensor = self.code(self.features(tiles).flatten(1))
        return codes


class TileDecoder(nn.Module):
    """Codes float [B, 128] to tiles float [B, 3, 64, 64] in [-1, 1]: the encoder reversed.

    128 -> 1152, then 4 x [LeakyReLU 0.2 -> BatchNorm -> transposed convolution 3x3, stride 2]: 7, 15, 31, 64 px; tanh.
    The published decoder is not known; this one mirrors the encoder.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(CODE_SIZE, CHANNELS * LAST_PX * LAST_PX)
        blocks: list[nn.Module] = _activated()
        for _ in range(3):
            blocks += [nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, stride=2), *_activated()]
        self.layers = nn.Sequential(*blocks, nn.ConvTranspose2d(CHANNELS, 3, 3, stride=2, output_padding=1), nn.Tanh())

    def forward(self, codes: Tensor) -> Tensor:
        tiles: Tensor = self.layers(self.start(codes).unflatten(1, (CHANNELS, LAST_PX, LAST_PX)))
        return tiles


class MeanRgb(nn.Module):
    """A reference that learns nothing: tiles float [B, 3, 64, 64] in [-1, 1] to their mean colour, float [B, 3]."""

    code_size: ClassVar[int] = 3

    def forward(self, tiles: Tensor) -> Tensor:
        return tiles.mean((2, 3))


def random_encoder(seed: int) -> TileEncoder:
    """A reference that learns nothing: the encoder as training with this seed begins."""
    torch.manual_seed(seed)
    return TileEncoder()


def _activated() -> list[nn.Module]:
    return [nn.LeakyReLU(0.2), nn.BatchNorm2d(CHANNELS, eps=1e-3, momentum=0.2)]


def scaled(tiles: Tensor) -> Tensor:
    """Tiles uint8 [B, px, px, 3] to float [B, 3, px, px] in [-1, 1]."""
    return tiles.permute(0, 3, 1, 2).float() / 127.5 - 1


def task_heads(classes: Iterable[int]) -> nn.ModuleList:
    """One linear head on the code for each task, in their order. classes: how many each task has."""
    return nn.ModuleList([nn.Linear(CODE_SIZE, count) for count in classes])
