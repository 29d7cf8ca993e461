"""Networks from a grid of codes to a map of scores whose mean is the prediction."""

import torch
from torch import nn
from torch.nn import functional


class GridCNN(nn.Module):
    """Additive head on a small CNN: every cell gets a score, and a patient's score is the mean over the valid cells.

    code_size: D. width: channels after the 1x1 bottleneck. dilations: of the 3x3 convolutions; a score sees
    1 + 2 * sum(dilations) cells across. dropout: of whole channels after the bottleneck. Cells without a code are 0
    before every layer, so glass, padding and the grid's edge are one thing; no layer mixes patients.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self, code_size: int, width: int = 24, dilations: tuple[int, ...] = (1, 2, 2), dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(code_size, 1, 1))
        self.register_buffer("deviation", torch.ones(code_size, 1, 1))
        self.bottleneck = nn.Conv2d(code_size, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in dilations)
        self.head = nn.Conv2d(width, 1, 1)

    def standardise_by(self, codes: torch.Tensor) -> None:
        """Take mean and deviation of training codes, [N, D]; constant dimensions are left as they are."""
        deviation, mean = torch.std_mean(codes.float(), dim=0)
        self.mean.copy_(mean[:, None, None])
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0)[:, None, None])

    def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """codes [S, D, H, W] float32, valid [S, 1, H, W] of 0 and 1 -> scores [S, H, W]; 0 where not valid."""
        x = (codes - self.mean) / self.deviation * valid
        x = self.dropout(functional.leaky_relu(self.bottleneck(x), 0.1)) * valid
        for convolution in self.convolutions:
            x = (x + functional.leaky_relu(convolution(x), 0.1)) * valid
        scores: torch.Tensor = (self.head(x) * valid)[:, 0]
        return scores


def patient_scores(scores: torch.Tensor, valid: torch.Tensor, patient: torch.Tensor, patients: int) -> torch.Tensor:
    """Mean score over the valid cells of all slides of each patient: [patients].

    scores [S, H, W]; valid [S, 1, H, W]; patient [S] int64, whose the slide is.
    """
    total = scores.new_zeros(patients).index_add(0, patient, scores.sum(dim=(1, 2)))
    cells = scores.new_zeros(patients).index_add(0, patient, valid.sum(dim=(1, 2, 3)))
    return total / cells
