"""How each sort of tissue is drawn: a periodic square of stain, and the places of its nuclei."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from nic.phantom.fields import (
    Field,
    Plane,
    Points,
    as_plane,
    cell_distances,
    fibres,
    jittered_lattice,
    scattered,
    smooth_noise,
    warped,
)

SIDE = 1024
"""Side of a material in px, and its period."""


@dataclass(frozen=True)
class Material:
    """Stain [SIDE, SIDE] in hundredths of optical density, without nuclei, and the nuclei's places by kind."""

    hematoxylin: Plane
    eosin: Plane
    nuclei: tuple[tuple[str, Points], ...]


def oriented(tissue: Material, rng: np.random.Generator, rotate: bool = True) -> Material:
    """The tissue rotated, mirrored and shifted at random, so that two slides never show the same square.

    rotate=False keeps its fibres along x.
    """
    quarters, mirror, shift = int(rng.integers(4)) * rotate, bool(rng.integers(2)), rng.integers(0, SIDE, 2)

    def plane(array: Plane) -> Plane:
        rotated = np.rot90(array[:, ::-1] if mirror else array, quarters)
        return np.roll(rotated, (shift[1], shift[0]), axis=(0, 1))

    def points(array: Points) -> Points:
        x, y, angle = array.T.astype(np.float64)
        if mirror:
            x, angle = SIDE - 1 - x, -angle
        for _ in range(quarters):
            x, y, angle = y, SIDE - 1 - x, angle - np.pi / 2
        return np.stack([(x + shift[0]) % SIDE, (y + shift[1]) % SIDE, angle % np.pi], axis=1).astype(np.float32)

    nuclei = tuple((kind, points(places)) for kind, places in tissue.nuclei)
    return replace(tissue, hematoxylin=plane(tissue.hematoxylin), eosin=plane(tissue.eosin), nuclei=nuclei)


def _grain(rng: np.random.Generator, scale_px: float, amount: float) -> Field:
    return 1 + amount * smooth_noise(rng, (SIDE, SIDE), scale_px)


def _at(plane: Field, points: Points) -> Field:
    """Values of the plane at the points."""
    return np.asarray(plane[points[:, 1].astype(int) % SIDE, points[:, 0].astype(int) % SIDE])


def sheet(
    rng: np.random.Generator,
    kind: str,
    cell_um: float,
    hematoxylin: float,
    eosin: float,
    border: float = 0.35,
    lumens_per_mm2: float = 0.0,
    clefts: float = 0.0,
    empty: float = 0.05,
) -> Material:
    """Cells side by side. border: paler lines between them. clefts: share of borders torn open (sinusoids).

    lumens_per_mm2: round openings that neighbouring nuclei line up around. empty: share of cells cut without nucleus.
    """
    points = jittered_lattice(rng, SIDE, 2 * cell_um, jitter=0.28)
    nearest, margin = cell_distances(points, SIDE)
    line = np.clip(1 - margin / 3.0, 0, 1)
    body = (1 - border * line) * _grain(rng, 1.2, 0.14) * _grain(rng, 14.0, 0.08)
    open_ = np.zeros((SIDE, SIDE), np.float32)
    if clefts:
        torn = np.clip(smooth_noise(rng, (SIDE, SIDE), 16.0, stretch=1.6) + 2 * clefts, 0, 1)
        open_ = torn * np.clip((5.0 - margin) / 2.5, 0, 1) * np.clip(nearest / cell_um - 0.4, 0, 1)
    if lumens_per_mm2:
        holes = scattered(rng, SIDE, lumens_per_mm2)
        distance, _ = cell_distances(holes, SIDE)
        distance = distance + 6 * smooth_noise(rng, (SIDE, SIDE), 10.0)
        open_ = np.maximum(open_, np.clip((26 - distance) / 3, 0, 1))
    keep = (_at(open_, points) < 0.2) & (rng.random(len(points)) > empty)
    return Material(
        as_plane(hematoxylin * body * (1 - open_)), as_plane(eosin * body * (1 - 0.94 * open_)), ((kind, points[keep]),)
    )


def strands(
    rng: np.random.Generator,
    hematoxylin: float,
    eosin: float,
    width_px: float,
    curl_px: float,
    contrast: float,
    clefts: float,
    kind: str,
    per_mm2: float,
    lymphocytes_per_mm2: float = 0.0,
) -> Material:
    """Fibres: contrast between strands, clefts as the share torn open, nuclei along them."""
    strands, direction = fibres(rng, SIDE, width_px, curl_px)
    fine, _ = fibres(rng, SIDE, 0.9, curl_px, stretch=8.0)
    body = np.clip(1 + contrast * strands + 0.14 * fine, 0.1, None) * _grain(rng, 40.0, 0.12) * _grain(rng, 0.8, 0.08)
    tear, _ = fibres(rng, SIDE, 1.3 * width_px, curl_px, stretch=9.0)
    gap = np.clip((np.quantile(tear, clefts) - tear) * 5, 0, 1) if clefts else np.zeros_like(tear)
    points = scattered(rng, SIDE, per_mm2)
    points[:, 2] = (_at(direction, points) + rng.normal(0, 0.12, len(points))) % np.pi
    nuclei = [(kind, points)]
    if lymphocytes_per_mm2:
        nuclei.append(("lymphocyte", scattered(rng, SIDE, lymphocytes_per_mm2)))
    return Material(as_plane(hematoxylin * body * (1 - gap)), as_plane(eosin * body * (1 - 0.93 * gap)), tuple(nuclei))


def lymphoid(rng: np.random.Generator, spacing_um: float = 7.6) -> Material:
    """A sheet of lymphocytes with little between them."""
    points = jittered_lattice(rng, SIDE, 2 * spacing_um, jitter=0.45)
    crowd = smooth_noise(rng, (SIDE, SIDE), 30.0)
    points = points[_at(crowd, points) > -1.3]
    pale = _grain(rng, 3.0, 0.25)
    return Material(as_plane(26 * pale), as_plane(32 * pale), (("lymphocyte", points),))


def adipose(rng: np.random.Generator) -> Material:
    """Fat cells: empty discs in thin pink walls, a few nuclei pressed into the corners."""
    points = jittered_lattice(rng, SIDE, 128.0, jitter=0.3)
    nearest, margin = cell_distances(points, SIDE)
    wobble = 1.0 * smooth_noise(rng, (SIDE, SIDE), 6.0)
    wall = np.clip((4.5 + wobble - margin) / 2, 0, 1) * _grain(rng, 1.5, 0.2)
    corners = np.flatnonzero((margin < 2).ravel() & (nearest > 70).ravel())
    chosen = rng.choice(corners, size=min(40, len(corners)), replace=False)
    nuclei = np.stack([chosen % SIDE, chosen // SIDE, rng.uniform(0, np.pi, len(chosen))], axis=1).astype(np.float32)
    return Material(as_plane(12 * wall), as_plane(52 * wall), (("spindle", nuclei),))


def mucus(rng: np.random.Generator) -> Material:
    """Pale bluish streaks in pools of almost nothing."""
    streaks, _ = fibres(rng, SIDE, 3.0, 40.0)
    sheet, _ = fibres(rng, SIDE, 12.0, 40.0)
    veil = np.clip(14 + 9 * streaks + 10 * sheet, 0, None)
    return Material(as_plane(veil), as_plane(0.55 * veil), (("lymphocyte", scattered(rng, SIDE, 120)),))


def debris(rng: np.random.Generator) -> Material:
    """Necrosis: coarse pink crumbs, ghosts of cells and the dust of their nuclei."""
    crumbs = smooth_noise(rng, (SIDE, SIDE), 2.0) + 0.8 * smooth_noise(rng, (SIDE, SIDE), 7.0)
    body = np.clip(1 + 0.32 * crumbs, 0, None)
    torn = np.clip((smooth_noise(rng, (SIDE, SIDE), 9.0) - 1.35) * 4, 0, 1)
    dust = scattered(rng, SIDE, 5200)
    dust = dust[_at(smooth_noise(rng, (SIDE, SIDE), 24.0), dust) > -0.2]
    return Material(as_plane(22 * body * (1 - torn)), as_plane(78 * body * (1 - 0.9 * torn)), (("dust", dust),))


def glands(rng: np.random.Generator, spacing_um: float, gland_um: float, lumen_um: float, goblets: bool) -> Material:
    """Glands in loose tissue: a lumen, a layer of cells with their nuclei at its foot, pointing at the lumen."""
    centres = jittered_lattice(rng, SIDE, 2 * spacing_um, jitter=0.2)
    distance, _ = cell_distances(centres, SIDE)
    wave = smooth_noise(rng, (SIDE, SIDE), 16.0)
    distance = warped(distance, 5 * wave, 5 * smooth_noise(rng, (SIDE, SIDE), 16.0))
    inside = np.clip(2 * gland_um - distance, 0, 1)
    lumen = np.clip((2 * lumen_um - distance) / 2, 0, 1)
    loose, _ = fibres(rng, SIDE, 2.5, 25.0)
    grain = _grain(rng, 1.2, 0.15)
    brush = 1 + 0.6 * np.exp(-(((distance - 2 * lumen_um - 1) / 2.0) ** 2))
    cell_h, cell_e = (20.0, 34.0) if goblets else (34.0, 62.0)
    hematoxylin = inside * cell_h * grain * brush + (1 - inside) * np.clip(12 + 4 * loose, 0, None)
    eosin = inside * cell_e * grain * brush + (1 - inside) * np.clip(46 + 14 * loose, 0, None)
    nuclei = [("epithelium", _ring_points(distance, 2 * gland_um - 9, 11.0))]
    between = scattered(rng, SIDE, 2600)
    nuclei.append(("lymphocyte", between[_at(distance, between) > 2 * gland_um + 7]))
    if goblets:
        nuclei.append(("vacuole", _ring_points(distance, lumen_um + gland_um - 5, 22.0)))
    return Material(as_plane(hematoxylin * (1 - lumen)), as_plane(eosin * (1 - 0.95 * lumen)), tuple(nuclei))


def _ring_points(distance: Field, level_px: float, step_px: float) -> Points:
    """Points every step_px along the line where distance equals level_px, each with the angle across the line."""
    contours, _ = cv2.findContours((distance < level_px).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    lines = []
    for contour in contours:
        line = contour[:, 0, :].astype(np.float32)
        if len(line) < 12:
            continue
        ahead = np.roll(line, -6, axis=0) - np.roll(line, 6, axis=0)
        across = (np.arctan2(ahead[:, 1], ahead[:, 0]) + np.pi / 2) % np.pi
        # 8-connected contours run about 1.1 px a point
        lines.append(np.concatenate([line, across[:, None]], axis=1)[:: max(1, round(step_px / 1.1))])
    points = np.concatenate(lines) if lines else np.zeros((0, 3), np.float32)
    border = ((points[:, :2] < 3) | (points[:, :2] > SIDE - 4)).any(axis=1)
    return points[~border].astype(np.float32)
