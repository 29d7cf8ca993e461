"""Multiple-instance learning without attention: every tile has a score, and a slide has their mean or their maximum."""

import torch
from torch import nn
from torch.nn import functional

from nic.patients.networks import SLOPE, Bottleneck, ThroughBottleneck


class MeanMIL(ThroughBottleneck):
    """A slide's score is the mean of its tiles' scores. The map shows the tiles' scores.

    width: channels of a tile after the bottleneck. dropout: share of channels dropped after it. outputs: C, scores of
    a tile. Slides of one patient weigh as many cells as they have. No tile sees another.
    """

    def __init__(self, code_size: int, width: int = 32, dropout: float = 0.2, outputs: int = 1) -> None:
        super().__init__(code_size)
        self.bottleneck = Bottleneck(code_size, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(width, outputs, 1)

    def scores(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """From the bottleneck's output [S, width, H, W]."""
        scores: torch.Tensor = self.head(self.dropout(functional.leaky_relu(x, SLOPE))) * valid
        return scores


class MaxMIL(MeanMIL):
    """A slide's score is the highest of its tiles' scores, of several classes that of each class by itself.

    The map shows cells * score at the tile with the highest score and 0 elsewhere; tiles of equal scores share it. Its
    mean is the slide's score; slides of one patient weigh as many cells as they have. Scores of several classes are
    counted from their mean.
    """

    def scores(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """From the bottleneck's output [S, width, H, W]."""
        tiles = super().scores(x, valid)
        top = tiles.masked_fill(valid == 0, -torch.inf).amax(dim=(2, 3), keepdim=True)
        at_top = (tiles == top) * valid
        share = at_top / at_top.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        maps = tiles * share * valid.sum(dim=(2, 3), keepdim=True)
        return maps if maps.shape[1] == 1 else maps - maps.mean(dim=1, keepdim=True)

    def centre(self) -> None:
        """Nothing is left to do: `scores` counts those of the classes from their mean.

        An offset of a tile's scores would move the maxima of the classes, which may lie at different tiles, unequally.
        """
