"""Nuclei and whole cells as small stamps of stain. Each is drawn once and used many times."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.phantom.fields import RENDER_MPP, Field, Plane, as_plane, smooth_noise

ANGLES = 16
VARIANTS = 12
CHROMATIN_EOSIN = 85.0
"""Eosin of the densest chromatin; it turns blue into black."""


@dataclass(frozen=True)
class Nucleus:
    """How one kind of nucleus looks.

    length_um, width_um: mean axes; spread: relative deviation of both. dark: hematoxylin in hundredths of optical
    density. bumpy: waviness of the outline. clumps: contrast of the chromatin. rim: extra dark at the membrane.
    """

    length_um: float
    width_um: float
    dark: float
    spread: float = 0.12
    bumpy: float = 0.05
    clumps: float = 0.15
    rim: float = 0.1
    nucleolus: float = 0.0


NUCLEI = {
    "breast carcinoma": Nucleus(10.5, 8.5, 88, 0.16, 0.03, 0.22, 0.4, 0.5),
    "liver metastasis": Nucleus(12.5, 7.0, 130, 0.16, 0.035, 0.24, 0.25, 0.25),
    "colon carcinoma": Nucleus(13.5, 6.5, 135, 0.18, 0.04, 0.26, 0.25, 0.3),
    "node carcinoma": Nucleus(12.0, 9.5, 110, 0.2, 0.035, 0.25, 0.35, 0.55),
    "other carcinoma": Nucleus(11.5, 9.0, 95, 0.18, 0.035, 0.25, 0.35, 0.4),
    "hepatocyte": Nucleus(7.6, 7.2, 95, 0.1, 0.012, 0.18, 0.4, 0.6),
    "epithelium": Nucleus(9.5, 5.0, 130, 0.1, 0.025, 0.15, 0.15),
    "lymphocyte": Nucleus(6.6, 6.1, 165, 0.09, 0.02, 0.25, 0.0),
    "spindle": Nucleus(14.0, 2.9, 120, 0.25, 0.05, 0.12, 0.0),
    "smooth muscle": Nucleus(19.0, 3.3, 105, 0.18, 0.03, 0.1, 0.0),
    "dust": Nucleus(2.6, 2.2, 150, 0.35, 0.12, 0.1, 0.0),
}


@dataclass(frozen=True)
class CellStamp:
    """A cell that covers what lies below it: planes [s, s] of stain, and its opacity, 0-255."""

    hematoxylin: Plane
    eosin: Plane
    opacity: Plane


@lru_cache(maxsize=64)
def nucleus_stamps(kind: str, size: float = 1.0) -> tuple[tuple[Plane, ...], ...]:
    """Stamps [ANGLES][VARIANTS] of a kind of nucleus, its axes times `size`; the same at every call."""
    nucleus = NUCLEI[kind]
    nucleus = replace(nucleus, length_um=nucleus.length_um * size, width_um=nucleus.width_um * size)
    rng = np.random.default_rng([sum(kind.encode()), round(size * 1000)])
    return tuple(
        tuple(_nucleus(rng, nucleus, np.pi * (angle + rng.uniform(-0.5, 0.5)) / ANGLES) for _ in range(VARIANTS))
        for angle in range(ANGLES)
    )


def _polar(side: int, angle: float) -> tuple[Field, Field]:
    """Coordinates along and across `angle` of a square of side px, from its centre."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) - (side - 1) / 2
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _nucleus(rng: np.random.Generator, nucleus: Nucleus, angle: float) -> Plane:
    spread = np.exp(nucleus.spread * rng.standard_normal(2))
    half = np.array([nucleus.length_um, nucleus.width_um]) * spread / RENDER_MPP / 2
    side = int(2 * half.max() * 1.25) + 5
    along, across = _polar(side, angle)
    theta = np.arctan2(across, along)
    outline = np.ones_like(theta)
    for wave in (2, 3, 4, 5):
        outline += nucleus.bumpy * rng.standard_normal() * np.cos(wave * theta + rng.uniform(0, 2 * np.pi))
    radius = np.hypot(along / half[0], across / half[1]) / outline
    inside = np.clip((1 - radius) * half.min() * 0.9 + 0.5, 0, 1)
    stain = 1 + nucleus.clumps * smooth_noise(rng, (side, side), 1.4)
    stain += nucleus.rim * np.exp(-(((radius - 0.9) / 0.16) ** 2)) - 0.5 * nucleus.rim
    if nucleus.nucleolus:
        at = rng.uniform(-0.35, 0.35, 2) * half
        stain += nucleus.nucleolus * np.exp(-((along - at[0]) ** 2 + (across - at[1]) ** 2) / 3.0)
    return as_plane(nucleus.dark * np.exp(0.12 * rng.standard_normal()) * stain * inside)


@lru_cache(maxsize=4)
def cell_stamps(kind: Literal["mitosis", "pyknosis", "vacuole"], seed: int = 0) -> tuple[CellStamp, ...]:
    """Different cells of a kind; the same ones at every call with one seed."""
    rng = np.random.default_rng([sum(kind.encode()), seed])
    draw = {"mitosis": _mitosis, "pyknosis": _pyknosis, "vacuole": _vacuole}[kind]
    return tuple(draw(rng) for _ in range(240))


def _mitosis(rng: np.random.Generator) -> CellStamp:
    """Dark clumped chromatin without a membrane in a rounded, cleared cell: plate, two plates, or a ragged ring."""
    side = 46
    along, across = _polar(side, rng.uniform(0, np.pi))
    ragged = smooth_noise(rng, (side, side), 1.3)
    phase = rng.choice(["plate", "plates", "clump"], p=[0.45, 0.25, 0.3])
    long_px, thick_px = rng.uniform(8.5, 11.5), rng.uniform(3.6, 4.8)
    if phase == "plate":
        body = 1 - np.hypot(along / long_px, across / thick_px)
    elif phase == "plates":
        gap_px = rng.uniform(5.5, 8.5)
        curved = np.abs(across) - gap_px + 0.02 * along**2
        body = 1 - np.hypot(along / (0.85 * long_px), curved / (0.75 * thick_px))
    else:
        body = 1 - np.hypot(along / (0.85 * long_px), across / (0.7 * long_px))
        body = np.minimum(body, 0.55 - 0.3 * ragged)
    chromatin = np.clip((body + 0.22 * ragged) * 4.0, 0, 1)
    cell_px = rng.uniform(15.5, 19.0)
    cell = np.clip((1 - np.hypot(along / cell_px, across / cell_px)) * 3.5, 0, 1)
    pale = 1 + 0.1 * smooth_noise(rng, (side, side), 1.5)
    hematoxylin = np.maximum(rng.uniform(8, 18) * pale, rng.uniform(200, 245) * chromatin)
    eosin = np.maximum(rng.uniform(28, 44) * pale, CHROMATIN_EOSIN * chromatin)
    return CellStamp(as_plane(hematoxylin), as_plane(eosin), as_plane(255 * cell))


def _pyknosis(rng: np.random.Generator) -> CellStamp:
    """A dying cell, the look-alike: smooth round dark balls in a shrunken, glassy pink body with a cleft around it."""
    side = 44
    along, across = _polar(side, rng.uniform(0, np.pi))
    balls = np.zeros((side, side), np.float32)
    for i in range(rng.choice([1, 1, 2, 3, 4])):
        radius = rng.uniform(4.6, 6.4) if i == 0 else rng.uniform(1.8, 3.6)
        x, y = rng.uniform(-1.5, 1.5, 2) if i == 0 else rng.uniform(-7.5, 7.5, 2)
        balls = np.maximum(balls, np.clip(radius - np.hypot(along - x, across - y) + 0.5, 0, 1))
    wide, high = rng.uniform(9.0, 12.5, 2)
    radius = np.hypot(along / wide, across / high)
    body = np.clip((1 - radius) * 8 + 0.5, 0, 1)
    cleft = np.clip((1.25 - radius) * 8, 0, 1)
    hematoxylin = np.maximum(25 * body + 6, rng.uniform(200, 245) * balls)
    eosin = rng.uniform(95, 135) * body + 8
    return CellStamp(as_plane(hematoxylin), as_plane(eosin), as_plane(255 * cleft))


def _vacuole(rng: np.random.Generator) -> CellStamp:
    """A goblet of pale bluish mucin."""
    side = 40
    along, across = _polar(side, rng.uniform(0, np.pi))
    radius = np.hypot(along / rng.uniform(9, 14), across / rng.uniform(7, 11))
    inside = np.clip((1 - radius) * 6 + 0.5, 0, 1)
    veil = 1 + 0.35 * smooth_noise(rng, (side, side), 1.5) + 0.8 * np.exp(-(((radius - 0.95) / 0.1) ** 2))
    return CellStamp(as_plane(rng.uniform(18, 32) * veil), as_plane(10 * veil), as_plane(255 * inside))


def blot(hematoxylin: Plane, eosin: Plane, stamp: CellStamp, x: int, y: int) -> None:
    """Put a cell onto the planes, in place, its top-left corner at (x, y)."""
    side = stamp.opacity.shape[0]
    here = (slice(y, y + side), slice(x, x + side))
    opacity = stamp.opacity.astype(np.float32) / 255
    for plane, over in ((hematoxylin, stamp.hematoxylin), (eosin, stamp.eosin)):
        below: NDArray[np.float32] = plane[here].astype(np.float32)
        plane[here] = cv2.convertScaleAbs(below + (over - below) * opacity)
