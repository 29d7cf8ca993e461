"""The tissues of the phantom, by name."""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from nic.phantom.materials import Material, adipose, debris, glands, lymphoid, mucus, sheet, strands

DrawTissue = Callable[[np.random.Generator], Material]

TISSUES: dict[str, DrawTissue] = {
    # the cohorts' organs
    "breast tumour": partial(sheet, kind="breast carcinoma", cell_um=12.0, hematoxylin=36, eosin=44),
    "collagen": partial(
        strands,
        hematoxylin=6,
        eosin=66,
        width_px=4.5,
        curl_px=30,
        contrast=0.22,
        clefts=0.1,
        kind="spindle",
        per_mm2=420,
        lymphocytes_per_mm2=60,
    ),
    "breast ducts": partial(glands, spacing_um=74, gland_um=30, lumen_um=14, goblets=False),
    "liver tumour": partial(sheet, kind="liver metastasis", cell_um=10.2, hematoxylin=40, eosin=48, lumens_per_mm2=40),
    "hepatocytes": partial(
        sheet, kind="hepatocyte", cell_um=18.0, hematoxylin=16, eosin=84, border=0.25, clefts=0.35, empty=0.12
    ),
    "capsule": partial(
        strands,
        hematoxylin=7,
        eosin=80,
        width_px=3.5,
        curl_px=18,
        contrast=0.2,
        clefts=0.05,
        kind="spindle",
        per_mm2=900,
    ),
    "loose": partial(
        strands,
        hematoxylin=13,
        eosin=36,
        width_px=2.6,
        curl_px=34,
        contrast=0.3,
        clefts=0.08,
        kind="spindle",
        per_mm2=520,
    ),
    "adipose": adipose,
    "necrosis": debris,
    "lymphocytes": lymphoid,
    # the tile tasks' organs
    "colon tumour": partial(sheet, kind="colon carcinoma", cell_um=9.6, hematoxylin=44, eosin=50, lumens_per_mm2=55),
    "colon mucosa": partial(glands, spacing_um=66, gland_um=30, lumen_um=7, goblets=True),
    "colon stroma": partial(
        strands,
        hematoxylin=10,
        eosin=58,
        width_px=4.0,
        curl_px=36,
        contrast=0.28,
        clefts=0.12,
        kind="spindle",
        per_mm2=800,
        lymphocytes_per_mm2=420,
    ),
    "muscle": partial(
        strands,
        hematoxylin=15,
        eosin=80,
        width_px=6.0,
        curl_px=16,
        contrast=0.12,
        clefts=0.04,
        kind="smooth muscle",
        per_mm2=750,
    ),
    "mucus": mucus,
    "debris": debris,
    "node": partial(lymphoid, spacing_um=7.2),
    "node sinus": partial(
        strands,
        hematoxylin=10,
        eosin=34,
        width_px=4.0,
        curl_px=40,
        contrast=0.35,
        clefts=0.15,
        kind="spindle",
        per_mm2=350,
        lymphocytes_per_mm2=2200,
    ),
    "node metastasis": partial(sheet, kind="node carcinoma", cell_um=13.0, hematoxylin=34, eosin=50, empty=0.08),
    "other tumour": partial(sheet, kind="other carcinoma", cell_um=12.6, hematoxylin=36, eosin=52, empty=0.08),
    "prostate glands": partial(glands, spacing_um=72, gland_um=33, lumen_um=15, goblets=False),
    "prostate stroma": partial(
        strands,
        hematoxylin=10,
        eosin=74,
        width_px=5.0,
        curl_px=26,
        contrast=0.2,
        clefts=0.08,
        kind="smooth muscle",
        per_mm2=600,
    ),
}


@lru_cache(maxsize=32)
def material(name: str) -> Material:
    """The tissue of this name; the same one at every call."""
    return TISSUES[name](np.random.default_rng([sum(name.encode()), len(name)]))
