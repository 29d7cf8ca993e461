"""Paints a plan: nuclei and cells on tissues, the stain of a laboratory, its scanner's pixels."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from nic.phantom.fields import RENDER_MPP, Field, Plane, Points, as_plane, smooth_noise
from nic.phantom.labs import Lab, colour_table
from nic.phantom.materials import SIDE, Material, oriented
from nic.phantom.nuclei import ANGLES, VARIANTS, blot, cell_stamps, nucleus_stamps
from nic.phantom.plan import PLAN_PX, Layer, Plan
from nic.phantom.tissues import material

_MARGIN = 64
"""px around the painted square; stamps at its border reach into them."""


def paint(plan: Plan, lab: Lab, rng: np.random.Generator, jitter: float = 0.06) -> NDArray[np.uint8]:
    """The plan as a laboratory stains and scans it: RGB [h, w, 3] at lab.mpp."""
    hematoxylin, eosin = stain_planes(plan, rng)
    return scan(hematoxylin, eosin, lab, rng, jitter)


def stain_planes(plan: Plan, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Hematoxylin and eosin [h, w] at RENDER_MPP, in hundredths of optical density."""
    height, width = plan.shape_px
    padded = (height + 2 * _MARGIN, width + 2 * _MARGIN)
    hematoxylin, eosin = np.zeros(padded, np.uint8), np.zeros(padded, np.uint8)
    inner = np.s_[_MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width]
    top = _top_layer(plan)
    ragged = _tiled(_ragged(), (height, width))
    goblets: list[tuple[str, Points]] = []
    stamps: list[tuple[str, Points]] = []
    for index, layer in enumerate(plan.layers):
        if not layer.mask.any():
            continue
        tissue = oriented(material(layer.material), rng, rotate=layer.centre is None)
        _fill(hematoxylin[inner], eosin[inner], layer, tissue, ragged)
        for kind, places in tissue.nuclei:
            kept = _nuclei_in(layer, places, top == index)
            (goblets if kind == "vacuole" else stamps).append((kind, kept))
    _vary_thickness(hematoxylin[inner], eosin[inner], rng)
    for kind, places in goblets:
        _blot_all(hematoxylin, eosin, kind, places, rng)
    for kind, places in [*stamps, *plan.scattered.items()]:
        size = plan.nucleus_size if "carcinoma" in kind or "metastasis" in kind else 1.0
        _stamp_all(hematoxylin, kind, size, places, rng)
    for kind, places in plan.whole_cells.items():
        _blot_all(hematoxylin, eosin, kind, places, rng)
    return hematoxylin[inner], eosin[inner]


def scan(hematoxylin: Plane, eosin: Plane, lab: Lab, rng: np.random.Generator, jitter: float) -> NDArray[np.uint8]:
    """Planes at RENDER_MPP -> RGB [h, w, 3] at lab.mpp, with the scanner's blur and noise."""
    shape = tuple(round(side * RENDER_MPP / lab.mpp) for side in hematoxylin.shape)
    grain = _tiled(_sensor_grain(), shape, rng.integers(0, SIDE, 2).tolist())
    table = colour_table(lab, rng, jitter)
    blur_px = lab.blur_px * float(rng.uniform(0.8, 1.25))
    planes = []
    for plane in (hematoxylin, eosin):
        at_scanner = plane
        if shape != plane.shape:
            method = cv2.INTER_LINEAR if lab.mpp < RENDER_MPP else cv2.INTER_AREA
            at_scanner = cv2.resize(plane, (shape[1], shape[0]), interpolation=method)
        soft = cv2.GaussianBlur(at_scanner, (5, 5), blur_px)
        planes.append(cv2.addWeighted(soft, 1.0, grain, lab.noise / 64, -2.0 * lab.noise))
    pairs = cv2.merge([planes[1], planes[0]]).view("<u2")[..., 0]
    colours = np.take(table, pairs).view(np.uint8).reshape(*pairs.shape, 4)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGBA2RGB), dtype=np.uint8)


def _top_layer(plan: Plan) -> NDArray[np.int16]:
    top = np.full(plan.layers[0].mask.shape, -1, np.int16)
    for index, layer in enumerate(plan.layers):
        top[layer.mask] = index
    return top


def _fill(hematoxylin: Plane, eosin: Plane, layer: Layer, tissue: Material, ragged: Plane) -> None:
    """Copy the tissue into the planes where the layer lies, with an uneven edge instead of steps."""
    rows, cols = np.flatnonzero(layer.mask.any(axis=1)), np.flatnonzero(layer.mask.any(axis=0))
    y0, x0 = max(rows[0] - 1, 0), max(cols[0] - 1, 0)
    soft = cv2.blur(layer.mask[y0 : rows[-1] + 2, x0 : cols[-1] + 2].astype(np.uint8) * 255, (3, 3))
    height, width = soft.shape[0] * PLAN_PX, soft.shape[1] * PLAN_PX
    corner = (int(y0) * PLAN_PX, int(x0) * PLAN_PX)
    box = np.s_[corner[0] : corner[0] + height, corner[1] : corner[1] + width]
    covered = cv2.compare(cv2.resize(soft, (width, height)), ragged[box], cv2.CMP_GT)
    if layer.centre is None:
        sources = [_tiled(plane, (height, width), corner) for plane in (tissue.hematoxylin, tissue.eosin)]
    else:
        arc, radius = _polar(layer, corner, (height, width))
        sources = [
            cv2.remap(plane, arc, radius, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            for plane in (tissue.hematoxylin, tissue.eosin)
        ]
    for source, plane in zip(sources, (hematoxylin, eosin), strict=True):
        cv2.copyTo(source, covered, plane[box])


def _times_around(layer: Layer) -> int:
    """How many times a material fits around the layer's centre; a whole number, so that there is no seam."""
    assert layer.centre is not None
    rows, cols = np.nonzero(layer.mask)
    radius_px = PLAN_PX * np.hypot(rows - layer.centre[0], cols - layer.centre[1]).mean()
    return max(1, round(float(2 * np.pi * radius_px / SIDE)))


def _polar(layer: Layer, corner: tuple[int, int], shape: tuple[int, int]) -> tuple[Field, Field]:
    """Where in a material each pixel of the box [h, w] at corner (y, x) is looked up: arc and radius, both in px."""
    assert layer.centre is not None
    y, x = (np.arange(n) + start - PLAN_PX * at for n, start, at in zip(shape, corner, layer.centre, strict=True))
    dy, dx = np.meshgrid(y, x, indexing="ij")
    radius, angle = cv2.cartToPolar(dx.astype(np.float32), dy.astype(np.float32))
    arc = angle * np.float32(_times_around(layer) * SIDE / (2 * np.pi))
    return np.asarray(arc, dtype=np.float32), np.asarray(radius, dtype=np.float32)


def _nuclei_in(layer: Layer, places: Points, visible: NDArray[np.bool_]) -> Points:
    """The places of a material's nuclei where the layer is visible on the plan."""
    if layer.centre is None:
        return _where(_repeated(places, visible.shape), visible)
    times = _times_around(layer)
    strip = _repeated(places, (SIDE // PLAN_PX, times * SIDE // PLAN_PX))
    around = strip[:, 0] * (2 * np.pi / (times * SIDE))
    x = layer.centre[1] * PLAN_PX + strip[:, 1] * np.cos(around)
    y = layer.centre[0] * PLAN_PX + strip[:, 1] * np.sin(around)
    rotated = np.stack([x, y, (strip[:, 2] + around + np.pi / 2) % np.pi], axis=1).astype(np.float32)
    return _where(rotated, visible)


def _tiled(plane: Plane, shape: tuple[int, ...], corner: Sequence[int] = (0, 0)) -> Plane:
    """A window [h, w] of the endlessly repeated plane, its upper left corner at (y, x)."""
    y, x = (at % side for at, side in zip(corner, plane.shape, strict=True))
    times = (-(-(shape[0] + y) // plane.shape[0]), -(-(shape[1] + x) // plane.shape[1]))
    return np.ascontiguousarray(np.tile(plane, times)[y : y + shape[0], x : x + shape[1]])


def _repeated(places: Points, shape: tuple[int, ...]) -> Points:
    """The places of a periodic material, repeated over a plan of that shape."""
    ny, nx = (-(-n * PLAN_PX // SIDE) for n in shape)
    offsets = np.array([(x * SIDE, y * SIDE, 0) for y in range(ny) for x in range(nx)], np.float32)
    return np.asarray((places[None] + offsets[:, None]).reshape(-1, 3))


def _where(places: Points, visible: NDArray[np.bool_]) -> Points:
    """The places whose pixel of the plan is True."""
    col, row = np.floor(places[:, :2] / PLAN_PX).astype(int).T
    inside = (col >= 0) & (row >= 0) & (col < visible.shape[1]) & (row < visible.shape[0])
    inside[inside] = visible[row[inside], col[inside]]
    return np.asarray(places[inside])


def _vary_thickness(hematoxylin: Plane, eosin: Plane, rng: np.random.Generator) -> None:
    """Vary the thickness of the section: both stains together, by some tenths over some 100 um."""
    height, width = hematoxylin.shape
    coarse = smooth_noise(rng, (height // 32 + 1, width // 32 + 1), 7.0)
    gain = cv2.resize(as_plane(128 * (1 + 0.1 * coarse)), (width, height))
    for plane in (hematoxylin, eosin):
        cv2.multiply(plane, gain, dst=plane, scale=1 / 128)


def _stamp_all(hematoxylin: Plane, kind: str, size: float, places: Points, rng: np.random.Generator) -> None:
    """Darken the plane by one nucleus at each place, at the place's angle."""
    library = nucleus_stamps(kind, round(size * 20) / 20)
    angles = np.round(places[:, 2] / np.pi * ANGLES).astype(int) % ANGLES
    variants = rng.integers(0, VARIANTS, len(places))
    columns = (places[:, 0].astype(int), places[:, 1].astype(int), angles, variants)
    for x, y, angle, variant in zip(*(column.tolist() for column in columns), strict=True):
        stamp = library[angle][variant]
        height, width = stamp.shape
        top, left = y + _MARGIN - height // 2, x + _MARGIN - width // 2
        below = hematoxylin[top : top + height, left : left + width]
        np.maximum(below, stamp, out=below)


def _blot_all(hematoxylin: Plane, eosin: Plane, kind: str, places: Points, rng: np.random.Generator) -> None:
    library = cell_stamps(kind)
    for (x, y, _), which in zip(places, rng.integers(0, len(library), len(places)), strict=True):
        stamp = library[which]
        half = stamp.opacity.shape[0] // 2
        blot(hematoxylin, eosin, stamp, int(x) + _MARGIN - half, int(y) + _MARGIN - half)


@lru_cache(maxsize=1)
def _ragged() -> Plane:
    """Thresholds around one half that make the edge between two tissues uneven."""
    rng = np.random.default_rng(17)
    return as_plane(128 + 28 * smooth_noise(rng, (SIDE, SIDE), 7.0) + 9 * smooth_noise(rng, (SIDE, SIDE), 1.5))


@lru_cache(maxsize=1)
def _sensor_grain() -> Plane:
    return as_plane(128 + 32 * smooth_noise(np.random.default_rng(19), (SIDE, SIDE), 0.55))
