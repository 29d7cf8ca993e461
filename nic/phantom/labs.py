"""Laboratories: how each stains and scans. Colour is Beer-Lambert, by one table for all pairs of stain amounts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Lab:
    """A stainer and a scanner.

    hematoxylin, eosin: optical density of red, green, blue per unit of stain. gain: amount of each stain taken up.
    white: what the scanner reads on glass. blur_px, noise: of the optics and the sensor, at the scanner's mpp.
    """

    name: str
    mpp: float
    hematoxylin: Vector
    eosin: Vector
    gain: tuple[float, float] = (1.0, 1.0)
    white: Vector = (244.0, 243.0, 244.0)
    blur_px: float = 0.6
    noise: float = 3.0
    jpeg: int = 85


TRAIN_LABS = (
    Lab("aspen", 0.5, (0.66, 0.70, 0.29), (0.10, 0.86, 0.48)),
    Lab("birch", 0.5, (0.60, 0.74, 0.33), (0.16, 0.84, 0.38), (1.1, 0.9), (240.0, 238.0, 242.0), 0.8, 4.0, 80),
    Lab("cedar", 0.25, (0.70, 0.66, 0.24), (0.07, 0.88, 0.55), (0.9, 1.1), (246.0, 245.0, 243.0), 0.5, 2.5, 80),
)
EXTERNAL_LABS = (
    Lab("dogwood", 0.4545, (0.62, 0.68, 0.38), (0.09, 0.82, 0.57), (1.15, 1.0), (241.0, 240.0, 236.0), 0.9, 4.0, 80),
    Lab("elm", 0.503, (0.72, 0.66, 0.22), (0.18, 0.87, 0.34), (0.9, 0.95), (247.0, 246.0, 248.0), 0.5, 3.0, 88),
    Lab("fir", 0.2425, (0.64, 0.72, 0.26), (0.12, 0.90, 0.42), (1.0, 1.15), (243.0, 240.0, 240.0), 0.7, 3.0, 80),
)
TILE_LABS = (
    Lab("gorse", 0.5, (0.65, 0.70, 0.30), (0.08, 0.88, 0.46)),
    Lab("heath", 0.5, (0.56, 0.76, 0.32), (0.20, 0.84, 0.30), (1.2, 0.85), (238.0, 236.0, 240.0), 0.9, 4.0),
    Lab("ivy", 0.5, (0.74, 0.62, 0.22), (0.05, 0.86, 0.58), (0.85, 1.2), (247.0, 246.0, 244.0), 0.5, 2.0),
    Lab("juniper", 0.5, (0.60, 0.66, 0.44), (0.12, 0.78, 0.62), (1.0, 1.1), (242.0, 238.0, 232.0), 0.7, 5.0),
    Lab("kelp", 0.5, (0.68, 0.70, 0.18), (0.22, 0.88, 0.40), (0.8, 0.8), (245.0, 245.0, 247.0), 1.1, 3.0),
    Lab("laurel", 0.5, (0.62, 0.74, 0.26), (0.10, 0.92, 0.34), (1.3, 1.0), (243.0, 243.0, 240.0), 0.6, 3.5),
)
LABS = {lab.name: lab for lab in (*TRAIN_LABS, *EXTERNAL_LABS, *TILE_LABS)}


def colour_table(lab: Lab, rng: np.random.Generator, jitter: float = 0.06) -> NDArray[np.uint32]:
    """RGBA of every pair of stain amounts, [65536] at index 256 * hematoxylin + eosin; one draw of the lab's day.

    jitter: deviation of stain vectors and, doubled, of the amounts taken up.
    """
    vectors = np.array([lab.hematoxylin, lab.eosin]) * (1 + jitter * rng.standard_normal((2, 3)))
    gain = np.array(lab.gain) * np.exp(2 * jitter * rng.standard_normal(2))
    white = np.clip(np.array(lab.white) + rng.normal(0, 1.5, 3), 0, 255)
    amount = np.arange(256) / 100
    density_h = amount[:, None, None] * gain[0] * vectors[0]
    density_e = amount[None, :, None] * gain[1] * vectors[1]
    colours = np.full((256, 256, 4), 255, np.uint8)
    colours[..., :3] = np.round(white * np.exp(-density_h - density_e))
    return colours.view(np.uint32).reshape(-1)
