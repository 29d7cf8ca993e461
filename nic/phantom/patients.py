"""Synthetic patients: latent values, noisy labels, and what a model that knew the latents would answer."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nic.phantom.breast import BreastSlide
from nic.phantom.labs import EXTERNAL_LABS, TRAIN_LABS, Lab
from nic.phantom.liver import LiverSlide

MAX_MITOSES_PER_MM2 = 80.0
SCORE_NOISE = 0.27
"""Deviation of the proliferation score around what the mitoses say: leaves the oracle a Spearman of about 0.90."""
RING_FIDELITY = 0.85
"""Share of rings around tumour nests in desmoplastic slides, and around nodules in replacement slides."""
PATTERN_NOISE = 0.02
"""Share of growth patterns recorded wrongly."""
HAZARD = {"encapsulated": -0.85, "lymphocytes": -0.9, "burden": 0.8}
"""Log hazard ratio per deviation of each latent: leaves the oracle a C-index of about 0.80."""
WEIBULL_SHAPE = 1.4
MEDIAN_MONTHS = 34.0
FOLLOW_UP_MONTHS = (6.0, 66.0)
TWO_SLIDES = 0.1
"""Share of patients with a second slide."""
SECOND_COUNT = 3
SECOND_CELLS = 18
LIVER_CELLS = {3: 27, 4: 29, 5: 32}
"""Side of a liver slide by its number of nests: the fewest cells that give all objects room."""


@dataclass(frozen=True)
class Patients:
    """labels: one row a slide, as the cohort's CSV; truth: one row a patient."""

    labels: pd.DataFrame
    truth: pd.DataFrame


def breast_patients(seed: int, train: int, external: int) -> tuple[Patients, list[BreastSlide]]:
    """The breast cohort without pixels; the same for the same seed and numbers."""
    rng = np.random.default_rng([seed, 1])
    rows, truth, slides = [], [], []
    for number in range(train + external):
        patient, split, lab = _patient("B", number, train)
        mitoses = MAX_MITOSES_PER_MM2 * rng.random() ** 2
        signal = 2 * np.sqrt(mitoses / MAX_MITOSES_PER_MM2) - 1
        score = float(np.clip(signal + SCORE_NOISE * rng.standard_normal(), -1, 1))
        pyknoses, lymphocytes = float(rng.uniform(4, 40)), float(np.exp(rng.uniform(np.log(40), np.log(700))))
        share, size = float(rng.uniform(0.5, 0.68)), float(rng.uniform(0.9, 1.15))
        for which in range(1 + (rng.random() < TWO_SLIDES)):
            slide_id = f"{patient}-{which + 1}"
            cells = SECOND_CELLS if which else 24
            slides.append(BreastSlide(slide_id, lab.name, cells, mitoses, pyknoses, lymphocytes, share, size))
            rows.append(_row(patient, "breast", slide_id, split, lab) | {"proliferation": round(score, 4)})
        truth.append(
            {"cohort": "breast", "patient": patient, "split": split, "mitoses_per_mm2": mitoses}
            | {"pyknoses_per_mm2": pyknoses, "lymphocytes_per_mm2": lymphocytes, "tumour_share": share}
            | {"nucleus_size": size, "oracle_proliferation": signal}
        )
    return Patients(pd.DataFrame(rows), pd.DataFrame(truth)), slides


def liver_patients(seed: int, train: int, external: int) -> tuple[Patients, list[LiverSlide]]:
    """The liver cohort without pixels; the same for the same seed and numbers."""
    rng = np.random.default_rng([seed, 2])
    rows, truth, slides = [], [], []
    # half of each split, so that chance does not starve a class
    patterns = [*rng.permutation(np.arange(train) % 2 == 0), *rng.permutation(np.arange(external) % 2 == 0)]
    for number, desmoplastic in enumerate(patterns):
        patient, split, lab = _patient("L", number, train)
        fidelity = RING_FIDELITY if desmoplastic else 1 - RING_FIDELITY
        counts = [int(rng.integers(3, 6))] + [SECOND_COUNT] * int(rng.random() < TWO_SLIDES)
        encapsulated = [int(rng.binomial(count, fidelity)) for count in counts]
        radius_um, size = float(rng.uniform(75, 120)), float(rng.uniform(0.9, 1.1))
        lymphocytes = float(np.exp(rng.uniform(np.log(60), np.log(2200))))
        share = sum(encapsulated) / sum(counts)
        log_hazard = _log_hazard(share, lymphocytes, radius_um)
        recorded = bool(desmoplastic) != (rng.random() < PATTERN_NOISE)
        months, event = _follow_up(rng, log_hazard)
        label = {
            "growth_pattern": "desmoplastic" if recorded else "replacement",
            "time_months": round(months, 2),
            "event": int(event),
        }
        for which, (count, inside) in enumerate(zip(counts, encapsulated, strict=True)):
            slide_id = f"{patient}-{which + 1}"
            cells = LIVER_CELLS[count]
            slides.append(LiverSlide(slide_id, lab.name, cells, count, inside, radius_um, lymphocytes, size))
            rows.append(_row(patient, "liver", slide_id, split, lab) | label)
        truth.append(
            {"cohort": "liver", "patient": patient, "split": split, "desmoplastic": int(desmoplastic)}
            | {"encapsulated_share": share, "nests": sum(counts), "radius_um": radius_um}
            | {"lymphocytes_per_mm2": lymphocytes, "nucleus_size": size}
            | {"oracle_growth_pattern": 2 * sum(encapsulated) - sum(counts), "oracle_survival": log_hazard}
        )
    return Patients(pd.DataFrame(rows), pd.DataFrame(truth)), slides


def _patient(letter: str, number: int, train: int) -> tuple[str, str, Lab]:
    """Name, split and laboratory; every sixteenth patient of a split comes from its fine-scanning lab."""
    split, labs = ("train", TRAIN_LABS) if number < train else ("external", EXTERNAL_LABS)
    place = number if number < train else number - train
    lab = labs[2] if place % 16 == 7 else labs[place % 2]
    return f"{letter}{number + 1:03d}", split, lab


def _row(patient: str, cohort: str, slide_id: str, split: str, lab: Lab) -> dict[str, str | float | int]:
    return {"patient": patient, "slide": f"slides/{cohort}/{slide_id}.tif", "split": split, "site": lab.name}


def _log_hazard(encapsulated: float, lymphocytes_per_mm2: float, radius_um: float) -> float:
    """Of latents scaled by the deviation they are drawn with; higher = earlier death."""
    uniform = np.sqrt(1 / 12)
    burden = (radius_um - 97.5) / (45 * uniform)
    lymphocytes = (np.log(lymphocytes_per_mm2 / 60) / np.log(2200 / 60) - 0.5) / uniform
    scaled = {"encapsulated": (encapsulated - 0.5) / 0.39, "lymphocytes": lymphocytes, "burden": burden}
    return float(sum(HAZARD[name] * scaled[name] for name in HAZARD))


def _follow_up(rng: np.random.Generator, log_hazard: float) -> tuple[float, bool]:
    """Months until death or, censored, until the end of observation; and whether death was seen."""
    exposure = rng.exponential() / np.log(2)
    death = MEDIAN_MONTHS * (exposure * np.exp(-log_hazard)) ** (1 / WEIBULL_SHAPE)
    end = rng.uniform(*FOLLOW_UP_MONTHS)
    return max(0.1, float(min(death, end))), bool(death <= end)
