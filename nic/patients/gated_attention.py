"""Gated attention: how much each tile counts in the score of its slide."""

import torch
from torch import nn


class GatedAttention(nn.Module):
    """Weights of cells by their features. Source: Ilse, Tomczak, Welling, ICML 2018, eq. 9.

    width: channels of a cell. hidden: of the two layers whose product is weighed.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.content = nn.Conv2d(width, hidden, 1)
        self.gate = nn.Conv2d(width, hidden, 1)
        self.logit = nn.Conv2d(hidden, 1, 1)

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """x [S, width, H, W], valid [S, 1, H, W] of 0 and 1 -> shares [S, 1, H, W], which add up to 1 in each slide.

        Where a cell is not valid, its share is 0 and x may be anything.
        """
        logit = self.logit(torch.tanh(self.content(x)) * torch.sigmoid(self.gate(x)))
        # Absent cells take part in the maximum alone, which cancels.
        weight = torch.exp(logit - logit.amax(dim=(2, 3), keepdim=True)) * valid
        share: torch.Tensor = weight / weight.sum(dim=(2, 3), keepdim=True).clamp(min=1e-30)
        return share
