"""A small CNN whose every cell gets a score from its surroundings."""

import torch
from torch import nn
from torch.nn import functional

from nic.patients.networks import SLOPE, Bottleneck, ThroughBottleneck


class GridCNN(ThroughBottleneck):
    """Additive head on a small CNN: every cell gets a score, and a patient's score is the mean over the valid cells.

    code_size: D. width: channels after the 1x1 bottleneck; a multiple of 16 fills the vector units of a CPU.
    dilations: of the 3x3 convolutions; a score sees 1 + 2 * sum(dilations) cells across. dropout: share of channels
    dropped after the bottleneck. outputs: C, scores of a cell. Cells without a code are 0 before every convolution, so
    that glass, padding and the grid's edge are one thing. No layer mixes patients.
    """

    def __init__(
        self,
        code_size: int,
        width: int = 16,
        dilations: tuple[int, ...] = (1, 2, 2),
        dropout: float = 0.2,
        outputs: int = 1,
    ) -> None:
        super().__init__(code_size)
        self.bottleneck = Bottleneck(code_size, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in dilations)
        self.head = nn.Conv2d(width, outputs, 1)

    def scores(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """From the bottleneck's output [S, width, H, W]."""
        x = self.dropout(functional.leaky_relu(x, SLOPE)) * valid
        for convolution in self.convolutions:
            x = (x + functional.leaky_relu(convolution(x), SLOPE)) * valid
        scores: torch.Tensor = self.head(x) * valid
        return scores
