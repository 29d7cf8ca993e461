"""Gated attention over a bag of tiles: what is known without knowing where a tile lies."""

import torch
from torch import nn
from torch.nn import functional

from nic.patients.gated_attention import GatedAttention
from nic.patients.networks import SLOPE, Bottleneck, ThroughBottleneck


class AttentionMIL(ThroughBottleneck):
    """A slide's score is the attention-weighted mean of its tiles' scores: the usual form, the head being linear.

    width: channels of a tile after the bottleneck. hidden: of the gated attention. outputs: C, scores of a cell; the
    attention is the same for all. The map shows cells * attention * score, whose mean is the slide's score; slides of
    one patient weigh as many cells as they have. All layers are 1x1: no tile sees another.
    """

    def __init__(
        self, code_size: int, width: int = 32, hidden: int = 32, dropout: float = 0.2, outputs: int = 1
    ) -> None:
        super().__init__(code_size)
        self.bottleneck = Bottleneck(code_size, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.attention = GatedAttention(width, hidden)
        self.head = nn.Conv2d(width, outputs, 1)

    def scores(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """From the bottleneck's output [S, width, H, W]."""
        x = self.dropout(functional.leaky_relu(x, SLOPE))
        share = self.attention(x, valid)
        scores: torch.Tensor = self.head(x) * share * valid.sum(dim=(2, 3), keepdim=True)
        return scores
