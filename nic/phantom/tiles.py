"""The tile tasks of the phantom: labelled tiles of synthetic organs and laboratories that are in no cohort."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from nic.phantom.fields import Points
from nic.phantom.labs import TILE_LABS, Lab
from nic.phantom.painting import paint
from nic.phantom.plan import PLAN_PX, Layer, Plan, patches

TILE_PX = 128
TILE_MPP = 0.5
SOURCES = 18
"""Synthetic slides that a task's tiles are cut from; the laboratories alternate."""
STAIN_JITTER = 0.09
"""Wider than the cohorts' 0.06: the encoder should meet more colours than it will need."""
_PITCH = TILE_PX // PLAN_PX + 2
"""Plan pixels from tile to tile; one more on each side, for the uneven edges of the neighbours."""


@dataclass(frozen=True)
class Spot:
    """What one tile shows: a tissue, a second one over a share of it, and a number of whole cells by kind."""

    base: str | None
    over: str | None = None
    share: float = 0.0
    whole_cells: dict[str, int] = field(default_factory=dict)


Draw = Callable[[np.random.Generator], Spot]


@dataclass(frozen=True)
class TaskRecipe:
    """classes: by name, in the order of the labels, the function that draws a tile of the class."""

    name: str
    description: str
    classes: dict[str, Draw]


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return str(rng.choice(names))


def _mitosis(rng: np.random.Generator) -> Spot:
    over, share = ("colon stroma", rng.uniform(0, 0.35)) if rng.random() < 0.3 else (None, 0.0)
    return Spot("other tumour", over, share, {"pyknosis": int(rng.random() < 0.3), "mitosis": 1})


def _no_mitosis(rng: np.random.Generator) -> Spot:
    if rng.random() < 0.3:
        return Spot(_pick(rng, ["colon stroma", "node", "debris", "colon mucosa", "adipose", "node sinus"]))
    over, share = ("colon stroma", rng.uniform(0, 0.35)) if rng.random() < 0.3 else (None, 0.0)
    return Spot("other tumour", over, share, {"pyknosis": int(rng.choice([0, 1, 1, 2]))})


def _metastasis(rng: np.random.Generator) -> Spot:
    return Spot(_pick(rng, ["node", "node", "node sinus"]), "node metastasis", rng.uniform(0.35, 1.0))


def _no_metastasis(rng: np.random.Generator) -> Spot:
    other = _pick(rng, ["node sinus", "adipose", "colon stroma"])
    return Spot("node", other, float(rng.choice([0.0, rng.uniform(0, 1), 1.0], p=[0.4, 0.4, 0.2])))


def _epithelium(rng: np.random.Generator) -> Spot:
    return Spot("prostate stroma", "prostate glands", rng.uniform(0.6, 1.0))


def _no_epithelium(rng: np.random.Generator) -> Spot:
    names = ["prostate stroma", "prostate stroma", "muscle", "adipose", "node", "node sinus"]
    return Spot(_pick(rng, names), _pick(rng, names), rng.uniform(0, 0.6))


def _only(name: str | None) -> Draw:
    return lambda _: Spot(name)


_RECIPES = (
    TaskRecipe(
        "mitosis",
        "A mitotic figure in the central half of the tile, or none; half of the others hold pyknotic look-alikes.",
        {"other": _no_mitosis, "mitosis": _mitosis},
    ),
    TaskRecipe("metastasis", "Carcinoma in a lymph node.", {"normal": _no_metastasis, "metastasis": _metastasis}),
    TaskRecipe(
        "epithelium",
        "Glands of the prostate, or what lies between.",
        {"other": _no_epithelium, "epithelium": _epithelium},
    ),
    TaskRecipe(
        "tissue",
        "Nine tissue types of the colon.",
        {
            "adipose": _only("adipose"),
            "background": _only(None),
            "debris": _only("debris"),
            "lymphocytes": _only("node"),
            "mucus": _only("mucus"),
            "muscle": _only("muscle"),
            "normal mucosa": _only("colon mucosa"),
            "stroma": _only("colon stroma"),
            "tumour": _only("colon tumour"),
        },
    ),
)
RECIPES = {recipe.name: recipe for recipe in _RECIPES}


def write_tile_task(name: str, folder: Path, tiles: int, seed: int) -> None:
    """Draw about `tiles` tiles of the task into <folder>/<task>; a finished task is kept.

    Layout: manifest.json, <class>/<source slide>__<index>.jpg.
    """
    recipe = RECIPES[name]
    task = folder / recipe.name
    if task.is_dir():
        return
    partial = folder / f".{recipe.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for label in recipe.classes:
        (partial / label).mkdir(parents=True)
    each = max(1, round(tiles / SOURCES / len(recipe.classes)))
    for source in range(SOURCES):
        lab = TILE_LABS[source % len(TILE_LABS)]
        rng = np.random.default_rng([seed, 3, sum(recipe.name.encode()), source])
        labels = [name for name in recipe.classes for _ in range(each)]
        images = _draw(recipe, labels, lab, rng)
        for index, (label, image) in enumerate(zip(labels, images, strict=True)):
            path = partial / label / f"{lab.name}-{source:02d}__{index:04d}.jpg"
            path.write_bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(image), level=90))
    manifest = {"name": recipe.name, "classes": list(recipe.classes), "mpp": TILE_MPP, "tile_px": TILE_PX}
    text = json.dumps(manifest | {"description": recipe.description}, indent=2)
    (partial / "manifest.json").write_text(text + "\n")
    partial.rename(task)


def _draw(recipe: TaskRecipe, labels: Sequence[str], lab: Lab, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """One synthetic slide with a spot for each label, cut into tiles [TILE_PX, TILE_PX, 3]."""
    cols = int(np.ceil(np.sqrt(len(labels))))
    spots = [recipe.classes[label](rng) for label in labels]
    plan = _plan(spots, cols, rng)
    image = paint(plan, lab, rng, STAIN_JITTER)
    pitch = _PITCH * PLAN_PX
    corners = [(i // cols * pitch + PLAN_PX, i % cols * pitch + PLAN_PX) for i in range(len(labels))]
    return [image[y : y + TILE_PX, x : x + TILE_PX] for y, x in corners]


def _plan(spots: Sequence[Spot], cols: int, rng: np.random.Generator) -> Plan:
    shape = (-(-len(spots) // cols) * _PITCH, cols * _PITCH)
    names = sorted({name for spot in spots for name in (spot.base, spot.over) if name})
    base = {name: np.zeros(shape, np.bool_) for name in names}
    over = {name: np.zeros(shape, np.bool_) for name in names}
    # mitoses are drawn last, so that nothing hides what decides the label
    cells: dict[str, list[Points]] = {kind: [np.zeros((0, 3), np.float32)] for kind in ("pyknosis", "mitosis")}
    for i, spot in enumerate(spots):
        row, col = i // cols * _PITCH, i % cols * _PITCH
        square = np.s_[row : row + _PITCH, col : col + _PITCH]
        if spot.base:
            base[spot.base][square] = True
        if spot.over:
            over[spot.over][square] = patches(rng, np.ones((_PITCH, _PITCH), np.bool_), spot.share, 60)
        for kind, count in spot.whole_cells.items():
            cells[kind].append(_central(rng, row, col, count))
    layers = [Layer(name, mask) for masks in (base, over) for name, mask in masks.items() if mask.any()]
    return Plan(
        layers or [Layer("node", np.zeros(shape, np.bool_))],
        whole_cells={kind: np.concatenate(points) for kind, points in cells.items()},
        nucleus_size=float(rng.uniform(0.9, 1.2)),
    )


def _central(rng: np.random.Generator, row: int, col: int, count: int) -> Points:
    """Places in the central half of the tile whose plan corner is (row, col)."""
    xy = rng.uniform(TILE_PX / 4, 3 * TILE_PX / 4, (count, 2)) + (np.array([col, row]) + 1) * PLAN_PX
    return np.concatenate([xy, rng.uniform(0, np.pi, (count, 1))], axis=1).astype(np.float32)
