"""Gated attention over a bag of tiles: what is known without knowing where a tile lies."""

import torch
from torch import nn
from torch.nn import functional

from nic.patients.networks import Bottleneck, ThroughBottleneck

SLOPE = 0.1


class AttentionMIL(ThroughBottleneck):
    """A slide's score is the attention-weighted mean of its tiles' scores: the usual form, the head being linear.

    width: channels of a tile after the bottleneck. hidden: of the gated attention. outputs: C, scores of a cell; the
    attention is the same for all. The map shows cells * attention * score, whose mean is the slide's score; slides of
    one patient weigh as many cells as they have. All layers are 1x1: no tile sees another. Source: Ilse, Tomczak,
    Welling, ICML 2018, eq. 9.
    """

    def __init__(
        self, code_size: int, width: int = 32, hidden: int = 32, dropout: float = 0.2, outputs: int = 1
    ) -> None:
        super().__init__(code_size)
        self.bottleneck = Bottleneck(code_size, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.content = nn.Conv2d(width, hidden, 1)
        self.gate = nn.Conv2d(width, hidden, 1)
        self.attention = nn.Conv2d(hidden, 1, 1)
        self.head = nn.Conv2d(width, outputs, 1)

    def scores(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """From the bottleneck's output [S, width, H, W]."""
        x = self.dropout(functional.leaky_relu(x, SLOPE))
        logit = self.attention(torch.tanh(self.content(x)) * torch.sigmoid(self.gate(x)))
        # Absent cells take part in the maximum alone, which cancels.
        weight = torch.exp(logit - logit.amax(dim=(2, 3), keepdim=True)) * valid
        share = weight / weight.sum(dim=(2, 3), keepdim=True).clamp(min=1e-30)
        scores: torch.Tensor = self.head(x) * share * valid.sum(dim=(2, 3), keepdim=True)
        return scores
