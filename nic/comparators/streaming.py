"""Streaming: a stack of convolutions over an image of any size, forward and backward, in the memory of one tile.

A tile is read with the margin that its cells see, so that convolutions without padding give each cell of the output map
the same number as they would on the whole image. The forward pass keeps the map alone. The backward pass computes each
tile again, with a graph, and adds up the gradients of the weights. Nothing may depend on what lies outside a cell's
field: no padding inside the stack, no statistics of a tile (batch norm), no dropout. Source: Pinckaers, van Ginneken,
Litjens, "Streaming convolutional neural networks for end-to-end learning with multi-megapixel images", 2020.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nic.errors import EncoderError

Window = Callable[[int, int, int, int], Tensor]
"""(top, left, height, width) in px of the image, also beyond its edges -> float [C, height, width]. The same window has
the same pixels whenever it is asked for."""
ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.GELU)
"""Layers that see one pixel."""


@dataclass(frozen=True)
class ReceptiveField:
    """What a cell of a stack's output sees of the image.

    size_px: side of the square that it sees. stride_px: from one cell to the next; a cell stands for the square of this
    side in the middle of its field.
    """

    size_px: int
    stride_px: int

    @property
    def margin_px(self) -> int:
        """How far the field begins before the cell's own square."""
        return (self.size_px - self.stride_px) // 2

    def along(self, cells: slice) -> tuple[int, int]:
        """First pixel and number of pixels that neighbouring cells see."""
        return cells.start * self.stride_px - self.margin_px, self.pixels(cells.stop - cells.start)

    def pixels(self, cells: int) -> int:
        """How many pixels so many neighbouring cells see."""
        return (cells - 1) * self.stride_px + self.size_px


@dataclass(frozen=True)
class Tile:
    """Neighbouring cells of the map that are computed together."""

    rows: slice
    cols: slice


def receptive_field(features: nn.Sequential) -> ReceptiveField:
    """Of convolutions and poolings without padding, with layers between them that see one pixel.

    Raises EncoderError for any other layer: its result may depend on the tile.
    """
    size_px = stride_px = 1
    for layer in features:
        if isinstance(layer, ELEMENTWISE):
            continue
        kernel, stride = _kernel_and_stride(layer)
        size_px += (kernel - 1) * stride_px
        stride_px *= stride
    return ReceptiveField(size_px, stride_px)


def tiles_of(wanted: NDArray[np.bool_], field: ReceptiveField, tile_px: int) -> list[Tile]:
    """Tiles of about equal size that cover the cells that are wanted, bool [rows, cols].

    tile_px: most pixels along a tile, without its margin; a tile has at least one cell. A tile without a wanted cell is
    left out.
    """
    most = max(1, tile_px // field.stride_px)
    rows, cols = (_parts(cells, most) for cells in wanted.shape)
    return [Tile(r, c) for r in rows for c in cols if wanted[r, c].any()]


def stream(features: nn.Sequential, window: Window, wanted: NDArray[np.bool_], tile_px: int) -> Tensor:
    """The output map of an image, [D, rows, cols], with a graph to the weights of `features`.

    wanted: bool [rows, cols], at least one cell; cells of tiles without a wanted cell are 0. In memory are one tile,
    the map and its gradient. Gradients of the weights are those of the whole image but for the order of their sums.
    Raises EncoderError, see receptive_field.
    """
    field = receptive_field(features)
    device = next(features.parameters()).device

    def pixels(tile: Tile) -> Tensor:
        (top, height), (left, width) = field.along(tile.rows), field.along(tile.cols)
        return window(top, left, height, width).to(device)[None]

    image = _TiledImage(tiles_of(wanted, field, tile_px), pixels, wanted.shape)
    streamed: Tensor = _Streamed.apply(features, image, *features.parameters())  # type: ignore[no-untyped-call]
    return streamed


@dataclass(frozen=True)
class _TiledImage:
    """pixels: of a tile with its margin, [1, C, height, width]. shape: rows and columns of the map."""

    tiles: Sequence[Tile]
    pixels: Callable[[Tile], Tensor]
    shape: tuple[int, ...]


class _Streamed(torch.autograd.Function):
    """The weights are arguments of the function, so that autograd asks for their gradients."""

    @staticmethod
    def forward(ctx: Any, features: nn.Sequential, image: _TiledImage, *weights: Tensor) -> Tensor:
        ctx.features, ctx.image = features, image
        outputs = ((tile, features(image.pixels(tile))[0]) for tile in image.tiles)
        tile, cells = next(outputs)
        streamed: Tensor = cells.new_zeros(len(cells), *image.shape)
        streamed[:, tile.rows, tile.cols] = cells
        for tile, cells in outputs:
            streamed[:, tile.rows, tile.cols] = cells
        return streamed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights = list(ctx.features.parameters())
        sums = [torch.zeros_like(weight) for weight in weights]
        for tile in ctx.image.tiles:
            with torch.enable_grad():
                cells = ctx.features(ctx.image.pixels(tile))[0]
            of_tile = torch.autograd.grad(cells, weights, gradient[:, tile.rows, tile.cols])
            for total, part in zip(sums, of_tile, strict=True):
                total += part
        return None, None, *sums


def _kernel_and_stride(layer: nn.Module) -> tuple[int, int]:
    """Side of the square that the layer sees, in pixels of its input, and its stride."""
    match layer:
        case nn.Conv2d(kernel_size=kernel, stride=stride, padding=padding, dilation=dilation):
            whole = True
        case nn.MaxPool2d(kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil):
            whole = not ceil
        case nn.AvgPool2d(kernel_size=kernel, stride=stride, padding=padding, ceil_mode=ceil):
            dilation, whole = 1, not ceil
        case _:
            raise EncoderError(f"{layer}: cannot be streamed; wanted Conv2d, MaxPool2d, AvgPool2d or an activation")
    sides = [_pair(value) for value in (kernel, stride, dilation)]
    if not whole or _pair(padding) != (0, 0) or any(down != across for down, across in sides):
        raise EncoderError(f"{layer}: cannot be streamed; wanted squares, without padding and without ceil_mode")
    (size, _), (step, _), (apart, _) = sides
    return (size - 1) * apart + 1, step


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


def _parts(cells: int, most: int) -> list[slice]:
    """Runs of at most `most` of so many cells, their sizes equal or one apart."""
    ends = np.linspace(0, cells, -(-cells // most) + 1).round().astype(int)
    return [slice(int(start), int(stop)) for start, stop in pairwise(ends)]
