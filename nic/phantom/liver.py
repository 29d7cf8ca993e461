"""Slides of the liver cohort: tumour nests, liver nodules and rings of collagen. Their arrangement decides the label.

Every slide has as many nodules and as many rings as nests. Shapes and rings are drawn in the same way on all slides;
only what the rings surround differs. So neither a tile nor an average over tiles shows the growth pattern.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nic.errors import StudyError
from nic.phantom.plan import CELL_PLAN, PLAN_MPP, Layer, Mask, Plan, places, section_outline

GAP_UM = (70.0, 80.0)
"""Loose tissue between a nest and its ring: wider than a tile, so that no tile shows both edges."""
RING_UM = 60.0
CLEAR_UM = 76.0
"""Least distance between what belongs to different objects."""

TRIES = 200

MITOSES_PER_MM2 = 15.0
"""In the tumour of every slide; as many pyknoses as mitoses."""

WAVES, WAVE = 3, 0.065
"""Waves along an object's outline and the most each adds to its radius."""


@dataclass(frozen=True)
class LiverSlide:
    """cells: side in cells of 64 um. count: of nests, of nodules and of rings each.

    encapsulated: how many rings lie around tumour nests; the others lie around nodules. radius_um: mean of the objects.
    lymphocytes_per_mm2 is of loose tissue.
    """

    slide_id: str
    site: str
    cells: int
    count: int
    encapsulated: int
    radius_um: float
    lymphocytes_per_mm2: float
    nucleus_size: float


@dataclass(frozen=True)
class LiverLayout:
    """Masks on the plan, [side, side], one an object; ring_centres (row, col) in plan pixels."""

    section: Mask
    nests: tuple[Mask, ...]
    nodules: tuple[Mask, ...]
    rings: tuple[Mask, ...]
    ring_centres: tuple[tuple[int, int], ...]


def liver_layout(slide: LiverSlide, rng: np.random.Generator) -> LiverLayout:
    """Place the slide's objects, again and again until all have room.

    Raises StudyError when the slide is too small for them.
    """
    for _ in range(TRIES):
        layout = _try_layout(slide, section_outline(rng, slide.cells * CELL_PLAN), rng)
        if layout is not None:
            return layout
    raise StudyError(
        f"{slide.slide_id}: {slide.cells} cells have no room for {slide.count} nests, nodules and rings of "
        f"{slide.radius_um:.0f} um ({TRIES} tries); give it more cells"
    )


def liver_plan(slide: LiverSlide, layout: LiverLayout, rng: np.random.Generator) -> Plan:
    nests, nodules, rings = (np.logical_or.reduce(masks) for masks in (layout.nests, layout.nodules, layout.rings))
    loose = layout.section & ~nests & ~nodules & ~rings
    around = zip(layout.rings, layout.ring_centres, strict=True)
    return Plan(
        layers=(
            Layer("loose", layout.section),
            *(Layer("capsule", ring, centre) for ring, centre in around),
            Layer("hepatocytes", nodules),
            Layer("liver tumour", nests),
        ),
        scattered={"lymphocyte": places(rng, loose, slide.lymphocytes_per_mm2)},
        whole_cells={"pyknosis": places(rng, nests, MITOSES_PER_MM2), "mitosis": places(rng, nests, MITOSES_PER_MM2)},
        nucleus_size=slide.nucleus_size,
    )


def _try_layout(slide: LiverSlide, section: Mask, rng: np.random.Generator) -> LiverLayout | None:
    """Place the ringed objects first, since they need most room; None when an object has no room."""
    room_um = cv2.distanceTransform(section.astype(np.uint8), cv2.DIST_L2, 5) * PLAN_MPP
    masks: dict[str, list[Mask]] = {"nest": [], "nodule": [], "ring": []}
    centres: list[tuple[int, int]] = []
    for name, ringed in _order(slide, rng):
        radius_um = slide.radius_um * rng.uniform(0.88, 1.12)
        gap_um = rng.uniform(*GAP_UM)
        reach_um = (1 + WAVES * WAVE) * radius_um + (gap_um + RING_UM if ringed else 0) + CLEAR_UM / 2
        free = np.flatnonzero(room_um > reach_um)
        if not len(free):
            return None
        row, col = divmod(int(rng.choice(free)), section.shape[1])
        y, x = np.ogrid[: section.shape[0], : section.shape[1]]
        room_um = np.minimum(room_um, np.sqrt((y - row) ** 2 + (x - col) ** 2) * PLAN_MPP - reach_um)
        blob = _blob(rng, radius_um, int(reach_um / PLAN_MPP))
        masks[name].append(_set_down(blob, row, col, section))
        if ringed:
            masks["ring"].append(_set_down(_ring(blob, gap_um), row, col, section))
            centres.append((row, col))
    return LiverLayout(section, tuple(masks["nest"]), tuple(masks["nodule"]), tuple(masks["ring"]), tuple(centres))


def _order(slide: LiverSlide, rng: np.random.Generator) -> list[tuple[str, bool]]:
    """(what, has a ring) of all objects, the ringed ones first."""
    ringed = ["nest"] * slide.encapsulated + ["nodule"] * (slide.count - slide.encapsulated)
    bare = ["nodule"] * slide.encapsulated + ["nest"] * (slide.count - slide.encapsulated)
    first = [(str(name), True) for name in rng.permutation(ringed)]
    return first + [(str(name), False) for name in rng.permutation(bare)]


def _blob(rng: np.random.Generator, radius_um: float, half: int) -> Mask:
    """A round object with a wavy outline in the middle of a square of 2 * half + 1 plan pixels."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    angle = np.arctan2(y, x)
    radius = np.ones_like(angle)
    for wave in range(2, 2 + WAVES):
        radius += rng.uniform(-WAVE, WAVE) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(x, y) * PLAN_MPP < radius_um * radius)


def _ring(blob: Mask, gap_um: float) -> Mask:
    distance_um = cv2.distanceTransform((~blob).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * PLAN_MPP
    return np.asarray((distance_um > gap_um) & (distance_um <= gap_um + RING_UM))


def _set_down(piece: Mask, row: int, col: int, section: Mask) -> Mask:
    """The square piece, centred at (row, col) of a mask as large as the section."""
    half = piece.shape[0] // 2
    mask = np.zeros_like(section)
    mask[row - half : row + half + 1, col - half : col + half + 1] = piece
    return mask
