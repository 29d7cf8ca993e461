"""Random fields: what the phantom's textures and regions are made of."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial import cKDTree

RENDER_MPP = 0.5
"""um/px at which everything is drawn before a lab's scanner resamples it."""

Field = NDArray[np.float32]
Plane = NDArray[np.uint8]
Points = NDArray[np.float32]
"""[P, 3]: x_px, y_px, angle in radians."""


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float, stretch: float = 1.0) -> Field:
    """Periodic Gaussian noise [h, w] of mean 0 and deviation 1; stretch > 1 draws it out along x."""
    white = rng.standard_normal(shape, dtype=np.float32)
    fy = np.fft.fftfreq(shape[0]).astype(np.float32)[:, None] * scale_px
    fx = np.fft.rfftfreq(shape[1]).astype(np.float32)[None, :] * scale_px * stretch
    spectrum = fft.rfft2(white) * np.exp(-2 * np.pi**2 * (fx**2 + fy**2))
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=shape).astype(np.float32)
    return np.asarray(field / field.std(), dtype=np.float32)


def warped(field: Field, dx: Field, dy: Field) -> Field:
    """The field [S, S] looked up dx, dy px aside; periodic."""
    side = field.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    out = cv2.remap(field, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(out, dtype=np.float32)


def fibres(
    rng: np.random.Generator, side: int, width_px: float, curl_px: float, stretch: float = 14.0
) -> tuple[Field, Field]:
    """Wavy strands along x: strength [side, side] (deviation 1) and their direction in radians."""
    bend = smooth_noise(rng, (side, side), 60.0) * curl_px + smooth_noise(rng, (side, side), 14.0) * 0.1 * curl_px
    strands = smooth_noise(rng, (side, side), width_px, stretch=stretch)
    strands = warped(strands, np.zeros_like(bend), bend)
    return strands, np.asarray(-np.arctan(np.gradient(bend, axis=1)), dtype=np.float32)


def jittered_lattice(rng: np.random.Generator, side: int, spacing_px: float, jitter: float = 0.38) -> Points:
    """Points about spacing_px apart on a periodic square, each with a random angle."""
    n = max(1, round(side / spacing_px))
    step = side / n
    y, x = np.mgrid[0:n, 0:n].astype(np.float32)
    x = x + 0.5 * (np.arange(n) % 2)[:, None]
    xy = np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5 + rng.uniform(-jitter, jitter, (n * n, 2))
    angle = rng.uniform(0, np.pi, (n * n, 1))
    return np.asarray(np.concatenate([(xy * step) % side, angle], axis=1), dtype=np.float32)


def scattered(rng: np.random.Generator, side: int, per_mm2: float) -> Points:
    """Points of a homogeneous Poisson process on a square, each with a random angle."""
    n = int(rng.poisson(per_mm2 * (side * RENDER_MPP / 1000) ** 2))
    return np.asarray(rng.random((n, 3)) * np.array([side, side, np.pi]), dtype=np.float32)


def cell_distances(points: Points, side: int) -> tuple[Field, Field]:
    """Distance in px of every pixel to its nearest point and how much farther the second one is; periodic.

    Looked up on every second pixel: between cell borders both are smooth.
    """
    tree = cKDTree(points[:, :2] % side, boxsize=np.full(2, side))
    y, x = np.mgrid[0:side:2, 0:side:2]
    distance, _ = tree.query(np.stack([x, y], axis=-1).reshape(-1, 2), k=2)
    planes = np.asarray(distance, dtype=np.float32).reshape(side // 2, side // 2, 2)
    nearest, second = (cv2.resize(np.ascontiguousarray(planes[..., i]), (side, side)) for i in (0, 1))
    return np.asarray(nearest, dtype=np.float32), np.asarray(second - nearest, dtype=np.float32)


def as_plane(field: NDArray[Any]) -> Plane:
    """Stain in hundredths of optical density, cut to what a byte holds."""
    return np.asarray(np.clip(field, 0, 255), dtype=np.uint8)
