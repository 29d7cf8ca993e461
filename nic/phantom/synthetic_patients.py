"""Synthetic patients: latent values, noisy labels, and the answers of an oracle that knows the latent values.

Random values are spread evenly over each split: each n-th part of a distribution gives one patient, in random order.
A split of some sixty patients is therefore typical for every seed.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from nic.phantom.breast import BreastSlide
from nic.phantom.labs import EXTERNAL_LABS, TRAIN_LABS, Lab
from nic.phantom.liver import LiverSlide

MAX_MITOSES_PER_MM2 = 120.0
SCORE_NOISE = 0.28
"""Deviation of the proliferation score around the value from mitoses: the oracle has a Spearman of about 0.90."""
RING_FIDELITY = 0.85
"""Share of rings around tumour nests in desmoplastic slides, and around nodules in replacement slides."""
PATTERN_NOISE = 0.02
"""Share of wrong growth patterns in the labels."""
HAZARD = {"encapsulated": -0.78, "lymphocytes": -0.83, "burden": 0.74}
"""Log hazard ratio for one deviation of each latent value: the oracle has a C-index of about 0.80."""
GRADE_CUTS = (-0.3, 0.4)
"""Of the proliferation that mitoses make, from -1 to 1: grade 2 begins above the first, grade 3 above the second."""
GRADE_NOISE = 0.2
"""Deviation of the proliferation that is graded: the oracle has a C-index of about 0.96."""
TUMOUR_PATTERNS = ("desmoplastic", "inflamed", "replacement")
"""Their oracle has a macro AUC of about 0.98."""
INFLAMED_PER_MM2 = 650.0
"""Lymphocytes from which a liver tumour is inflamed, whatever its growth pattern: a third of the patients."""
RADIUS_UM = (75.0, 120.0)
"""Range of the objects' mean radius; tumour burden grows with its square."""
LYMPHOCYTES_PER_MM2 = (60.0, 2200.0)
WEIBULL_SHAPE = 1.4
MEDIAN_MONTHS = 34.0
FOLLOW_UP_MONTHS = (6.0, 66.0)
TWO_SLIDES = 0.1
"""Share of patients with a second slide."""
BREAST_CELLS = 24
"""Side of a breast slide in cells of 64 um."""
SECOND_COUNT = 3
SECOND_CELLS = 18
LIVER_CELLS = {3: 27, 4: 29, 5: 32}
"""Side of a liver slide by its number of nests: the fewest cells with room for all objects."""


@dataclass(frozen=True)
class Patients:
    """labels: one row a slide, as the cohort's CSV; truth: one row a patient."""

    labels: pd.DataFrame
    truth: pd.DataFrame


def breast_patients(seed: int, train: int, external: int) -> tuple[Patients, list[BreastSlide]]:
    """Tables and slides of the breast cohort, without pixels. The same arguments give the same cohort."""
    draw = _Even(np.random.default_rng([seed, 1]), train, external)
    root = draw.uniform(0, 1)
    signal = 2 * root - 1
    score = np.clip(signal + SCORE_NOISE * stats.norm.ppf(draw.uniform(0, 1)), -1, 1)
    latents = pd.DataFrame(
        {
            "mitoses_per_mm2": MAX_MITOSES_PER_MM2 * root**2,
            "pyknoses_per_mm2": draw.uniform(4, 40),
            "lymphocytes_per_mm2": draw.log_uniform(40, 700),
            "tumour_share": draw.uniform(0.5, 0.68),
            "nucleus_size": draw.uniform(0.9, 1.15),
        }
    )
    second = draw.uniform(0, 1) < TWO_SLIDES
    grade = grades(signal, _Even(np.random.default_rng([seed, 6]), train, external))
    rows, slides = [], []
    looks = latents.to_numpy()
    for number in range(train + external):
        patient, split, lab = _patient("B", number, train)
        for which in range(1 + second[number]):
            slide_id, cells = f"{patient}-{which + 1}", SECOND_CELLS if which else BREAST_CELLS
            slides.append(BreastSlide(slide_id, lab.name, cells, *looks[number].tolist()))
            label = {"proliferation": round(score[number], 4), "grade": int(grade[number])}
            rows.append(_row(patient, "breast", slide_id, split, lab) | label)
    truth = _truth("breast", "B", train, latents.assign(oracle_proliferation=signal, oracle_grade=signal))
    return Patients(pd.DataFrame(rows), truth), slides


def liver_patients(seed: int, train: int, external: int) -> tuple[Patients, list[LiverSlide]]:
    """Tables and slides of the liver cohort, without pixels. The same arguments give the same cohort."""
    draw = _Even(np.random.default_rng([seed, 2]), train, external)
    desmoplastic = draw.uniform(0, 1) < 0.5
    fidelity = np.where(desmoplastic, RING_FIDELITY, 1 - RING_FIDELITY)
    second = draw.uniform(0, 1) < TWO_SLIDES
    # [slide of the patient, patient]; the second counts only where there is one
    counts = np.stack([np.floor(draw.uniform(3, 6)), SECOND_COUNT * second]).astype(int)
    encapsulated = np.asarray(stats.binom.ppf([draw.uniform(0, 1), draw.uniform(0, 1)], counts, fidelity), dtype=int)
    latents = pd.DataFrame(
        {
            "desmoplastic": desmoplastic.astype(int),
            "encapsulated_share": encapsulated.sum(axis=0) / counts.sum(axis=0),
            "nests": counts.sum(axis=0),
            "radius_um": draw.uniform(*RADIUS_UM),
            "lymphocytes_per_mm2": draw.log_uniform(*LYMPHOCYTES_PER_MM2),
            "nucleus_size": draw.uniform(0.9, 1.1),
        }
    )
    log_hazard = _log_hazard(latents)
    months, event = _follow_up(draw, log_hazard)
    recorded = desmoplastic ^ (draw.uniform(0, 1) < PATTERN_NOISE)
    pattern = tumour_patterns(latents, _Even(np.random.default_rng([seed, 7]), train, external))
    rows, slides = [], []
    looks = latents[["radius_um", "lymphocytes_per_mm2", "nucleus_size"]].to_numpy()
    for number in range(train + external):
        patient, split, lab = _patient("L", number, train)
        label = {"growth_pattern": "desmoplastic" if recorded[number] else "replacement"}
        follow_up = {"time_months": round(months[number], 2), "event": int(event[number])}
        label_of_three = {"tumour_pattern": pattern[number]}
        for which in range(1 + second[number]):
            slide_id, count = f"{patient}-{which + 1}", int(counts[which, number])
            inside = int(encapsulated[which, number])
            slides.append(LiverSlide(slide_id, lab.name, LIVER_CELLS[count], count, inside, *looks[number].tolist()))
            rows.append(_row(patient, "liver", slide_id, split, lab) | label | follow_up | label_of_three)
    pattern_odds = 2 * encapsulated.sum(axis=0) - counts.sum(axis=0)
    oracles = latents.assign(oracle_growth_pattern=pattern_odds, oracle_survival=log_hazard)
    desmoplastic_odds = pattern_odds * np.log(RING_FIDELITY / (1 - RING_FIDELITY))
    oracles = oracles.assign(**pattern_probabilities(latents["lymphocytes_per_mm2"].to_numpy(), desmoplastic_odds))
    return Patients(pd.DataFrame(rows), _truth("liver", "L", train, oracles)), slides


def grades(signal: NDArray[np.float64], draw: "_Even") -> NDArray[np.intp]:
    """Grades from 1 to 3 of the proliferation that mitoses make, with the noise of whoever grades."""
    graded = signal + GRADE_NOISE * stats.norm.ppf(draw.uniform(0, 1))
    return np.asarray(1 + np.searchsorted(GRADE_CUTS, graded))


def tumour_patterns(latents: pd.DataFrame, draw: "_Even") -> NDArray[np.str_]:
    """Inflamed where lymphocytes are many, else the growth pattern; a few are recorded as one of the other two."""
    inflamed, desmoplastic = latents["lymphocytes_per_mm2"] >= INFLAMED_PER_MM2, latents["desmoplastic"] == 1
    true = np.select([inflamed, desmoplastic], [1, 0], 2)
    noise = draw.uniform(0, 1)
    wrong_by = np.where(noise < PATTERN_NOISE / 2, 1, np.where(noise < PATTERN_NOISE, 2, 0))
    return np.asarray(np.array(TUMOUR_PATTERNS)[(true + wrong_by) % len(TUMOUR_PATTERNS)])


def pattern_probabilities(
    lymphocytes_per_mm2: NDArray[np.float64], desmoplastic_odds: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """What an oracle that sees every lymphocyte and every ring expects, by the name of its column in truth.csv.

    desmoplastic_odds: log odds by the rings that are around nests and around nodules.
    """
    inflamed = lymphocytes_per_mm2 >= INFLAMED_PER_MM2
    desmoplastic = np.where(inflamed, 0.0, 1 / (1 + np.exp(-desmoplastic_odds)))
    true = np.stack([desmoplastic, inflamed, 1 - inflamed - desmoplastic], axis=1)
    recorded = true * (1 - PATTERN_NOISE) + (1 - true) * PATTERN_NOISE / 2
    return {f"oracle_tumour_pattern_{name}": recorded[:, place] for place, name in enumerate(TUMOUR_PATTERNS)}


@dataclass(frozen=True)
class _Even:
    """Random values for all patients, the training part first, spread evenly over each part."""

    rng: np.random.Generator
    train: int
    external: int

    def uniform(self, low: float, high: float) -> NDArray[np.float64]:
        parts = [(self.rng.permutation(n) + self.rng.random(n)) / n for n in (self.train, self.external) if n]
        return np.asarray(low + (high - low) * np.concatenate(parts))

    def log_uniform(self, low: float, high: float) -> NDArray[np.float64]:
        return np.asarray(np.exp(self.uniform(np.log(low), np.log(high))))


def _patient(letter: str, number: int, train: int) -> tuple[str, str, Lab]:
    """Name, split and laboratory; every sixteenth patient of a split comes from its fine-scanning lab."""
    split, labs = ("train", TRAIN_LABS) if number < train else ("external", EXTERNAL_LABS)
    place = number if number < train else number - train
    lab = labs[2] if place % 16 == 7 else labs[place % 2]
    return f"{letter}{number + 1:03d}", split, lab


def _row(patient: str, cohort: str, slide_id: str, split: str, lab: Lab) -> dict[str, str | float | int]:
    return {"patient": patient, "slide": f"slides/{cohort}/{slide_id}.tif", "split": split, "site": lab.name}


def _truth(cohort: str, letter: str, train: int, values: pd.DataFrame) -> pd.DataFrame:
    who = [(cohort, *_patient(letter, number, train)[:2]) for number in range(len(values))]
    return pd.concat([pd.DataFrame(who, columns=["cohort", "patient", "split"]), values], axis=1)


def _log_hazard(latents: pd.DataFrame) -> NDArray[np.float64]:
    """Of latents scaled by the deviation they are drawn with; higher = earlier death."""
    scaled = {
        "encapsulated": (latents["encapsulated_share"].to_numpy() - 0.5) / 0.39,
        "lymphocytes": _standard(np.log(latents["lymphocytes_per_mm2"].to_numpy()), *np.log(LYMPHOCYTES_PER_MM2)),
        "burden": _standard(latents["radius_um"].to_numpy(), *RADIUS_UM),
    }
    return np.asarray(sum(HAZARD[name] * values for name, values in scaled.items()), dtype=np.float64)


def _standard(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Uniform values between low and high, moved and scaled to mean 0 and deviation 1."""
    return np.asarray(((values - low) / (high - low) - 0.5) * np.sqrt(12))


def _follow_up(draw: _Even, log_hazard: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Months until death or, censored, until the end of observation; and whether death was seen."""
    exposure = -np.log2(draw.uniform(0, 1))
    death = MEDIAN_MONTHS * (exposure * np.exp(-log_hazard)) ** (1 / WEIBULL_SHAPE)
    end = draw.uniform(*FOLLOW_UP_MONTHS)
    return np.maximum(0.1, np.minimum(death, end)), np.asarray(death <= end)
