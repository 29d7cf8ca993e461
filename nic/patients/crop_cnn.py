"""The lab's published family: a deep CNN that classifies one large crop, applied at crops spaced over the tissue."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nic.patients.crops import Batch, PatientCells, draw_crops
from nic.patients.networks import PatientNetwork

SLOPE = 0.2
HALVINGS = 6
CROPS_AT_ONCE = 16


class CropCNN(PatientNetwork):
    """Separable 3x3 convolutions without padding, of stride 2 `halvings` times, then twice of stride 1, to one place.

    Six halvings make the published crop (383 cells are seen, 400 were cut); fewer fit smaller slides. In training one
    crop is drawn from each slide, tissue far from the edge being likelier its centre. A map has one score for each
    block of 2 ** halvings cells: that of the crop around the block's centre. Batch normalisation forgets faster than
    the lab's 0.99, which wants thousands of steps.
    """

    def __init__(
        self, code_size: int, halvings: int = HALVINGS, width: int = 128, dropout: float = 0.2, outputs: int = 1
    ) -> None:
        super().__init__(code_size)
        strides = (2,) * halvings + (1, 1)
        inputs = (code_size, *(width for _ in strides[1:]))
        layers = [_separable(size, width, stride, dropout) for size, stride in zip(inputs, strides, strict=True)]
        dense = (nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.LeakyReLU(SLOPE))
        self.trunk = nn.Sequential(*layers, *dense)
        self.head = nn.Conv2d(width, outputs, 1)
        self.block_cells = 1 << halvings
        self.crop_cells = field_of(halvings)

    def forward(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """codes [S, D, H, W] float32, valid [S, 1, H, W] of 0 and 1 -> scores [S, C, H, W], 0 where not valid."""
        before = self.crop_cells // 2 - self.block_cells // 2
        after = self.crop_cells - 1 - before
        padded = functional.pad(self._standard(codes, valid), (before, after, before, after))
        blocks = functional.interpolate(self.head(self.trunk(padded)), scale_factor=float(self.block_cells))
        scores: torch.Tensor = blocks[:, :, : codes.shape[2], : codes.shape[3]] * valid
        return scores

    def drawn(self, patient: PatientCells, rng: np.random.Generator) -> PatientCells:
        """One crop of every slide, whatever its size."""
        return draw_crops(patient, self.crop_cells, rng, whole=0)

    def chunks(self, patients: Sequence[PatientCells]) -> list[slice]:
        """Equal runs: batch normalisation cannot take a patient alone."""
        edges = np.linspace(0, len(patients), -(-len(patients) // CROPS_AT_ONCE) + 1).round().astype(int)
        return [slice(int(start), int(stop)) for start, stop in pairwise(edges)]

    def training_scores(self, batch: Batch) -> torch.Tensor:
        """Mean scores of the crops of each patient: [batch.patients, C]."""
        short = [self.crop_cells - size for size in batch.codes.shape[2:]]
        crops = functional.pad(self._standard(batch.codes, batch.valid), (0, short[1], 0, short[0]))
        scores = self.head(self.trunk(crops))[:, :, 0, 0].float()
        total: torch.Tensor = scores.new_zeros(batch.patients, scores.shape[1]).index_add(0, batch.patient, scores)
        return total.div(torch.bincount(batch.patient, minlength=batch.patients)[:, None])

    def _standard(self, codes: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Standardised codes, the background 0."""
        return (codes - self.mean[:, None, None]) / self.deviation[:, None, None] * valid


def halvings_for(patients: Sequence[PatientCells]) -> int:
    """The fewest halvings with which a crop holds the median slide, at most the published six."""
    sides = [max(slide.shape) for patient in patients for slide in patient.slides]
    return next((n for n in range(1, HALVINGS) if field_of(n) >= np.median(sides)), HALVINGS)


def field_of(halvings: int) -> int:
    """Cells across that one place of the output sees."""
    return 6 * (1 << halvings) - 1


def _separable(inputs: int, outputs: int, stride: int, dropout: float) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, groups=inputs, bias=False)
    pointwise = nn.Conv2d(inputs, outputs, 1)
    nn.init.kaiming_uniform_(depthwise.weight, SLOPE)
    nn.init.kaiming_uniform_(pointwise.weight, SLOPE)
    return nn.Sequential(depthwise, pointwise, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE), nn.Dropout2d(dropout))
