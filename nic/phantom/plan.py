"""The plan of a slide: which tissues lie where, as masks of 4 um a pixel, and the places of single cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nic.phantom.fields import RENDER_MPP, Points, smooth_noise

PLAN_PX = 8
"""Side in drawn px (4 um) of a pixel of a region's mask."""
PLAN_MPP = PLAN_PX * RENDER_MPP
Mask = NDArray[np.bool_]
CELL_UM = 64.0
CELL_PLAN = round(CELL_UM / PLAN_MPP)
"""Plan pixels along a cell of 64 um."""


@dataclass(frozen=True)
class Layer:
    """A tissue and its mask, bool [plan rows, plan cols].

    centre: (row, col) on the plan that the tissue's fibres run around; None where they run along x.
    """

    material: str
    mask: NDArray[np.bool_]
    centre: tuple[int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """What a slide shows. Later layers cover earlier ones; the rest is glass.

    scattered: places [P, 3], in px at RENDER_MPP, of extra nuclei by kind. whole_cells: those of mitoses and pyknoses.
    nucleus_size: factor on the axes of carcinoma nuclei.
    """

    layers: Sequence[Layer]
    scattered: Mapping[str, Points] = field(default_factory=dict)
    whole_cells: Mapping[str, Points] = field(default_factory=dict)
    nucleus_size: float = 1.0

    @property
    def shape_px(self) -> tuple[int, int]:
        rows, cols = self.layers[0].mask.shape
        return rows * PLAN_PX, cols * PLAN_PX


def section_outline(rng: np.random.Generator, side: int) -> Mask:
    """One piece of tissue on glass, [side, side]: a rounded square with an uneven edge."""
    y, x = np.abs(np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j])
    bumps = 0.05 * smooth_noise(rng, (side, side), 0.09 * side)
    fray = 0.008 * smooth_noise(rng, (side, side), 3.0)
    inside = (x**3.2 + y**3.2) ** (1 / 3.2) + bumps + fray < 0.93
    return np.asarray(np.pad(inside[1:-1, 1:-1], 1))


def patches(rng: np.random.Generator, within: Mask, share: float, size_um: float) -> Mask:
    """Irregular patches of about size_um that cover that share of `within`."""
    if share <= 0 or not within.any():
        return np.zeros_like(within)
    noise = smooth_noise(rng, (within.shape[0], within.shape[1]), size_um / PLAN_MPP / 3)
    noise += 0.4 * smooth_noise(rng, (within.shape[0], within.shape[1]), size_um / PLAN_MPP / 12)
    return np.asarray(within & (noise > np.quantile(noise[within], 1 - share)))


def area_mm2(mask: Mask) -> float:
    return float(mask.sum() * (PLAN_MPP / 1000) ** 2)


def places(rng: np.random.Generator, within: Mask, per_mm2: float) -> Points:
    """Poisson places inside the mask, in px at RENDER_MPP, each with a random angle."""
    n = int(rng.poisson(per_mm2 * area_mm2(within)))
    row, col = np.divmod(rng.choice(np.flatnonzero(within), size=n), within.shape[1])
    x, y = (np.stack([col, row]) + rng.random((2, n))) * PLAN_PX
    return np.stack([x, y, rng.uniform(0, np.pi, n)], axis=1).astype(np.float32)


def by_cell(mask: Mask) -> NDArray[np.float32]:
    """Share of each 64 um cell that the mask covers, [rows, cols]."""
    rows, cols = mask.shape[0] // CELL_PLAN, mask.shape[1] // CELL_PLAN
    cells = mask[: rows * CELL_PLAN, : cols * CELL_PLAN].reshape(rows, CELL_PLAN, cols, CELL_PLAN)
    return np.asarray(cells.mean(axis=(1, 3)), dtype=np.float32)
