"""The default: gated attention over tiles, by what a tile shows and what lies around it."""

import torch
from torch import nn
from torch.nn import functional

from nic.patients.gated_attention import GatedAttention
from nic.patients.networks import SLOPE, Bottleneck, ThroughBottleneck


class ContextMIL(ThroughBottleneck):
    """A slide's score is the attention-weighted mean of its cells' scores; a cell has features of tile and context.

    width: channels of a tile after the bottleneck. context: how many of these the convolutions see; their output are
    the features of the context. dilations: of the 3x3 convolutions; the context reaches sum(dilations) cells to each
    side. hidden: of the gated attention. dropout: share of channels dropped after the bottleneck. outputs: C, scores of
    a cell; the attention is the same for all. The map shows cells * attention * score, whose mean is the slide's score;
    slides of one patient weigh as many cells as they have. No layer mixes patients.
    """

    def __init__(
        self,
        code_size: int,
        width: int = 32,
        context: int = 8,
        dilations: tuple[int, ...] = (1, 2, 2),
        hidden: int = 32,
        dropout: float = 0.2,
        outputs: int = 1,
    ) -> None:
        super().__init__(code_size)
        self.bottleneck = Bottleneck(code_size, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        # The bottleneck begins at principal components in ascending order, as eigh gives them: the leading ones are
        # last. A code of fewer numbers than channels has that many components, in the first channels.
        leading_end = max(min(width, code_size), context)
        self.leading = slice(leading_end - context, leading_end)
        self.convolutions = nn.ModuleList(nn.Conv2d(context, context, 3, padding=d, dilation=d) for d in dilations)
        self.attention = GatedAttention(width + context, hidden)
        self.head = nn.Conv2d(width + context, outputs, 1)

    def scores(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """From the bottleneck's output [S, width, H, W]."""
        x = self.dropout(functional.leaky_relu(x, SLOPE))
        around = x[:, self.leading] * valid
        for convolution in self.convolutions:
            around = (around + functional.leaky_relu(convolution(around), SLOPE)) * valid
        both = torch.cat([x, around], dim=1)
        share = self.attention(both, valid)
        scores: torch.Tensor = self.head(both) * share * valid.sum(dim=(2, 3), keepdim=True)
        return scores
