"""The default: a small CNN whose every cell gets a score from its surroundings."""

import torch
from torch import nn
from torch.nn import functional

from nic.patients.crops import Batch
from nic.patients.networks import Bottleneck, PatientNetwork, patient_scores

SLOPE = 0.1


class GridCNN(PatientNetwork):
    """Additive head on a small CNN: every cell gets a score, and a patient's score is the mean over the valid cells.

    code_size: D. width: channels after the 1x1 bottleneck; a multiple of 16 fills the vector units of a CPU.
    dilations: of the 3x3 convolutions; a score sees 1 + 2 * sum(dilations) cells across. dropout: share of channels
    dropped after the bottleneck. Cells without a code are 0 before every convolution, so that glass, padding and the
    grid's edge are one thing. No layer mixes patients.
    """

    def __init__(
        self, code_size: int, width: int = 16, dilations: tuple[int, ...] = (1, 2, 2), dropout: float = 0.2
    ) -> None:
        super().__init__(code_size)
        self.bottleneck = Bottleneck(code_size, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in dilations)
        self.head = nn.Conv2d(width, 1, 1)

    def start_from(self, codes: torch.Tensor) -> None:
        """Standardise by training codes, [N, D], and begin the bottleneck at their leading principal components."""
        super().start_from(codes)
        self.bottleneck.start_from(codes, self.mean, self.deviation)

    def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """codes [S, D, H, W] float32, valid [S, 1, H, W] of 0 and 1 -> scores [S, H, W], 0 where not valid."""
        return self._scores(self.bottleneck.of_raw(codes, self.mean, self.deviation), valid)

    def training_scores(self, batch: Batch) -> torch.Tensor:
        """Scores of drawn patients, [batch.patients], without ever making their codes dense."""
        scores = self._scores(self.bottleneck.of_cells(batch, self.mean, self.deviation), batch.valid)
        return patient_scores(scores, batch.valid, batch.patient, batch.patients)

    def _scores(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """From the bottleneck's output [S, width, H, W]."""
        x = self.dropout(functional.leaky_relu(x, SLOPE)) * valid
        for convolution in self.convolutions:
            x = (x + functional.leaky_relu(convolution(x), SLOPE)) * valid
        scores: torch.Tensor = (self.head(x) * valid)[:, 0]
        return scores
