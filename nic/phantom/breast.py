"""Slides of the breast cohort: carcinomas. Their density of mitoses decides the label."""

from dataclasses import dataclass

import numpy as np

from nic.phantom.plan import CELL_PLAN, Layer, Plan, patches, places, section_outline


@dataclass(frozen=True)
class BreastSlide:
    """cells: side in cells of 64 um. mitoses_per_mm2: in tumour; the other values do not depend on the label."""

    slide_id: str
    site: str
    cells: int
    mitoses_per_mm2: float
    pyknoses_per_mm2: float
    lymphocytes_per_mm2: float
    tumour_share: float
    nucleus_size: float


def breast_plan(slide: BreastSlide, rng: np.random.Generator) -> Plan:
    """Nests of tumour in collagen with fat, ducts, lymphocytes and a little necrosis."""
    section = section_outline(rng, slide.cells * CELL_PLAN)
    tumour = patches(rng, section, slide.tumour_share, rng.uniform(160, 340))
    rest = section & ~tumour
    fat = patches(rng, rest, rng.uniform(0.0, 0.25), 400)
    aggregates = patches(rng, rest & ~fat, rng.uniform(0.0, 0.2), 160)
    ducts = patches(rng, rest & ~fat & ~aggregates, rng.uniform(0.0, 0.15), 300)
    necrosis = patches(rng, tumour, rng.uniform(0.0, 0.06), 200)
    living = tumour & ~necrosis
    return Plan(
        layers=(
            Layer("collagen", section),
            Layer("adipose", fat),
            Layer("lymphocytes", aggregates),
            Layer("breast ducts", ducts),
            Layer("breast tumour", tumour),
            Layer("necrosis", necrosis),
        ),
        scattered={"lymphocyte": places(rng, section & ~fat, slide.lymphocytes_per_mm2)},
        whole_cells={
            "pyknosis": places(rng, living, slide.pyknoses_per_mm2),
            "mitosis": places(rng, living, slide.mitoses_per_mm2),
        },
        nucleus_size=slide.nucleus_size,
    )
