"""Networks from a grid of codes to a map of scores whose mean is the prediction."""

import torch
from torch import nn
from torch.nn import functional

SLOPE = 0.1


class GridCNN(nn.Module):
    """Additive head on a small CNN: every cell gets a score, and a patient's score is the mean over the valid cells.

    code_size: D. width: channels after the 1x1 bottleneck; a multiple of 16 fills the vector units of a CPU.
    dilations: of the 3x3 convolutions; a score sees 1 + 2 * sum(dilations) cells across. dropout: share of channels
    dropped after the bottleneck. Cells without a code are 0 before every convolution, so that glass, padding and the
    grid's edge are one thing. No layer mixes patients.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self, code_size: int, width: int = 16, dilations: tuple[int, ...] = (1, 2, 2), dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(code_size))
        self.register_buffer("deviation", torch.ones(code_size))
        self.bottleneck = nn.Conv2d(code_size, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in dilations)
        self.head = nn.Conv2d(width, 1, 1)

    def start_from(self, codes: torch.Tensor) -> None:
        """Standardise by training codes, [N, D], and begin the bottleneck at their leading principal components.

        With few patients, labels alone do not find the directions in which tissues differ; the codes show them. The
        components keep their relative sizes: whitening would blow up the noise in the weak ones.
        """
        deviation, mean = torch.std_mean(codes.float(), dim=0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))  # a constant dimension stays 0
        standard = (codes.float() - self.mean) / self.deviation
        variance, direction = torch.linalg.eigh(standard.T @ standard / len(standard))  # ascending
        width = min(self.bottleneck.out_channels, len(variance))
        leading = direction[:, -width:] * 2 / variance[-1].sqrt()
        assert self.bottleneck.bias is not None
        with torch.no_grad():
            self.bottleneck.weight[:width] = leading.T[:, :, None, None]
            self.bottleneck.bias.zero_()

    def rescale(self, factor: float, offset: float) -> None:
        """Let every score s become factor * s + offset."""
        assert self.head.bias is not None
        with torch.no_grad():
            self.head.weight.mul_(factor)
            self.head.bias.mul_(factor).add_(offset)

    def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """codes [S, D, H, W] float32, valid [S, 1, H, W] of 0 and 1 -> scores [S, H, W], 0 where not valid."""
        # The standardising is folded into the weights: over the codes themselves it would cost more than the layer.
        assert self.bottleneck.bias is not None
        weight = self.bottleneck.weight / self.deviation[:, None, None]
        bias = self.bottleneck.bias - weight[:, :, 0, 0] @ self.mean
        x = functional.leaky_relu(functional.conv2d(codes, weight, bias), SLOPE)
        x = self.dropout(x) * valid
        for convolution in self.convolutions:
            x = (x + functional.leaky_relu(convolution(x), SLOPE)) * valid
        scores: torch.Tensor = (self.head(x) * valid)[:, 0]
        return scores


def patient_scores(scores: torch.Tensor, valid: torch.Tensor, patient: torch.Tensor, patients: int) -> torch.Tensor:
    """Mean score over the valid cells of all slides of each patient: [patients].

    scores [S, H, W]; valid [S, 1, H, W]; patient [S] int64, whose the slide is.
    """
    total = scores.new_zeros(patients).index_add(0, patient, scores.sum(dim=(1, 2)))
    cells = scores.new_zeros(patients).index_add(0, patient, valid.sum(dim=(1, 2, 3)))
    return total / cells
