"""How far a patient's codes lie from those the model was trained on. Needs numpy alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide


@dataclass(frozen=True)
class Familiarity:
    """Mean codes of the training patients as one normal distribution.

    mean: [D]. precision: [D, D], inverse covariance. threshold: Mahalanobis distance that 1 of 100 training patients
    exceeds, each measured by a distribution it was left out of.
    """

    mean: NDArray[np.float64]
    precision: NDArray[np.float64]
    threshold: float

    def score(self, slides: Sequence[CompressedSlide]) -> float:
        """Distance of the mean of all tiles' codes, in thresholds: above 1 the patient is unlike those of training."""
        tiles = sum(len(slide.codes) for slide in slides)
        total = sum(slide.codes.sum(0, dtype=np.float64) for slide in slides)
        return self.distance(total / tiles)

    def distance(self, mean: NDArray[np.float64]) -> float:
        """As `score`, of the mean of all tiles' codes, [D]."""
        away = mean - self.mean
        return float(np.sqrt(max(0.0, float(away @ self.precision @ away))) / self.threshold)

    def save(self, path: Path) -> None:
        np.savez(path, mean=self.mean, precision=self.precision, threshold=self.threshold)

    @classmethod
    def load(cls, path: Path) -> "Familiarity":
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["mean"], arrays["precision"], float(arrays["threshold"]))
