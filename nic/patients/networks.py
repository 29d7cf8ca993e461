"""What the patient networks have in common: codes of a slide in, a score for every cell out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from nic.patients.crops import Batch, PatientCells, draw_crops, runs_of

CROP_CELLS = 400
"""Side of a crop in training; slides up to this size are shown whole. 25.6 mm at 64 um a cell."""
SLOPE = 0.1
"""Of the leaky ReLU in networks that begin with a bottleneck."""
ExtraLoss = Callable[[torch.Tensor], torch.Tensor]
"""From each patient's own loss, [patients] without a graph, a sum over these patients that is added to the loss."""


class PatientNetwork(nn.Module, ABC):
    """A network that shows where its answer comes from, whatever is inside.

    A patient's score is the mean of the map over the cells of all slides, in training and where it is served. There are
    C scores and maps: one for each of several classes, else a single one. mean, deviation: [D] of the training codes.
    head: the last linear layer, of C outputs. block_cells: side of the squares of cells that have one score in common.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    head: nn.Conv2d | nn.Linear
    block_cells: int = 1

    def __init__(self, code_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(code_size))
        self.register_buffer("deviation", torch.ones(code_size))

    @abstractmethod
    def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """codes [S, D, H, W] float32, valid [S, 1, H, W] of 0 and 1 -> scores [S, C, H, W], 0 where not valid."""

    def start_from(self, codes: torch.Tensor) -> None:
        """Standardise by training codes, [N, D]; a dimension that never varies stays 0."""
        deviation, mean = torch.std_mean(codes.float(), dim=0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def rescale(self, factor: float, offset: float) -> None:
        """Let every score s become factor * s + offset."""
        assert self.head.bias is not None
        with torch.no_grad():
            self.head.weight.mul_(factor)
            self.head.bias.mul_(factor).add_(offset)

    def centre(self) -> None:
        """Let the C scores of every cell have the mean 0, by one offset for all: a softmax of them does not change."""
        assert self.head.bias is not None
        with torch.no_grad():
            self.head.weight.sub_(self.head.weight.mean(0, keepdim=True))
            self.head.bias.sub_(self.head.bias.mean())

    def drawn(self, patient: PatientCells, rng: np.random.Generator) -> PatientCells:
        """The patient as one training step sees him: one D4 variant of the slides, large slides as crops."""
        return draw_crops(patient, CROP_CELLS, rng, whole=CROP_CELLS)

    def chunks(self, patients: Sequence[PatientCells]) -> list[slice]:
        """Runs of patients that go through training together; they bound its memory."""
        return runs_of([patient.cells_within(CROP_CELLS) for patient in patients])

    def training_scores(self, batch: Batch) -> torch.Tensor:
        """Scores of drawn patients: [batch.patients, C]."""
        return patient_scores(self(batch.codes, batch.valid), batch.valid, batch.patient, batch.patients)

    def training_pass(self, batch: Batch) -> tuple[torch.Tensor, ExtraLoss | None]:
        """The same scores, and what the network adds to the loss; None where it adds nothing."""
        return self.training_scores(batch), None


class Bottleneck(nn.Conv2d):
    """1x1 convolution from codes to a few channels, with the standardising folded into its weights."""

    def start_from(self, codes: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Begin at the leading principal components of training codes, [N, D].

        With few patients, labels alone do not find the directions in which tissues differ; the codes show them. The
        components keep their relative sizes: whitening would blow up the noise in the weak ones.
        """
        standard = (codes.float() - mean) / deviation
        variance, direction = torch.linalg.eigh(standard.T @ standard / len(standard))  # ascending
        width = min(self.out_channels, len(variance))
        leading = direction[:, -width:] * 2 / variance[-1].sqrt()
        assert self.bias is not None
        with torch.no_grad():
            self.weight[:width] = leading.T[:, :, None, None]
            self.bias.zero_()

    def of_raw(self, codes: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        """Raw codes [S, D, H, W] -> [S, width, H, W]; to standardise them first would cost more than the layer."""
        weight, bias = self._folded(mean, deviation)
        return nn.functional.conv2d(codes, weight[:, :, None, None], bias)

    def of_cells(self, batch: Batch, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        """The same of a batch, at the cells that have a code alone; 0 elsewhere, where `of_raw` has the bias."""
        weight, bias = self._folded(mean, deviation)
        return batch.dense(nn.functional.linear(batch.cells.to(weight.dtype), weight, bias))

    def _folded(self, mean: torch.Tensor, deviation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [width, D] and bias [width] for raw codes."""
        assert self.bias is not None
        weight = self.weight[:, :, 0, 0] / deviation
        return weight, self.bias - weight @ mean


class ThroughBottleneck(PatientNetwork):
    """A network that begins with a bottleneck, so that training never makes codes dense. Its `__init__` sets one."""

    bottleneck: Bottleneck

    @abstractmethod
    def scores(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """From the bottleneck's output [S, width, H, W] to [S, C, H, W], 0 where not valid; there x may be anything."""

    def start_from(self, codes: torch.Tensor) -> None:
        """Standardise by training codes, [N, D], and begin the bottleneck at their leading principal components."""
        super().start_from(codes)
        self.bottleneck.start_from(codes, self.mean, self.deviation)

    def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """codes [S, D, H, W] float32, valid [S, 1, H, W] of 0 and 1 -> scores [S, C, H, W], 0 where not valid."""
        return self.scores(self.bottleneck.of_raw(codes, self.mean, self.deviation), valid)

    def training_scores(self, batch: Batch) -> torch.Tensor:
        """Scores of drawn patients: [batch.patients, C]."""
        scores = self.scores(self.bottleneck.of_cells(batch, self.mean, self.deviation), batch.valid)
        return patient_scores(scores, batch.valid, batch.patient, batch.patients)


def count_weights(network: PatientNetwork) -> int:
    """How many numbers training fits."""
    return sum(parameter.numel() for parameter in network.parameters())


def patient_scores(scores: torch.Tensor, valid: torch.Tensor, patient: torch.Tensor, patients: int) -> torch.Tensor:
    """Mean scores over the valid cells of all slides of each patient: [patients, C].

    scores [S, C, H, W]; valid [S, 1, H, W]; patient [S] int64, whose the slide is.
    """
    scores = scores.to(valid.dtype)  # a sum of thousands of cells is not for half precision
    total = scores.new_zeros(patients, scores.shape[1]).index_add(0, patient, scores.sum(dim=(2, 3)))
    cells = scores.new_zeros(patients).index_add(0, patient, valid.sum(dim=(1, 2, 3)))
    return total / cells[:, None]
