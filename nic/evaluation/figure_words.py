"""What people call a figure, what its number says, and which patients it needs to be defined."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class FigureWords(NamedTuple):
    """title: what people call it. meaning: what its number says. needs: the patients without whom it is not defined."""

    title: str
    meaning: str
    needs: str


BOTH, DIFFERENT = "patients of both classes", "labels that differ and answers that differ"
KNOWN_ORDER = "two patients of whom it is known who died first"
OVERLAP = "patients with and without it whose probabilities overlap"
IN_GROUPS = "patients in both risk groups, and a death in each"
OF_SCORE = "deaths that the score does not separate completely from the other patients"
COVARIATES = (
    "several deaths for each covariate, and covariates that differ between patients and do not repeat one another"
)
FOLLOWED = "patients who were followed beyond month {}"
WORDS: Mapping[str, FigureWords] = {
    name: FigureWords(*words)
    for name, words in {
        "spearman": (
            "Spearman's rank correlation",
            "1: answers order patients as their labels do; 0: not at all",
            DIFFERENT,
        ),
        "pearson": (
            "Pearson's correlation",
            "1: answers and labels lie on one rising line; 0: no linear relation",
            DIFFERENT,
        ),
        "mae": ("Mean absolute error", "in the label's unit", "a patient"),
        "r2": (
            "R², variance explained",
            "1: all of it; 0 or less: no better than predicting the mean for everybody",
            "labels that differ",
        ),
        "coverage": ("Coverage of the intervals", "share of labels that lie inside the interval of their answer", ""),
        "auc": ("AUC, area under the ROC curve", "chance that a positive patient scores above a negative one", BOTH),
        "average_precision": (
            "Average precision",
            "precision over all thresholds; guessing gets the share of positives",
            BOTH,
        ),
        "balanced_accuracy": (
            "Balanced accuracy",
            "mean over the classes of the share of their patients who are called correctly",
            "patients of every class",
        ),
        "brier": ("Brier score", "mean squared error of the probability; 0 is perfect", ""),
        "calibration_in_the_large": (
            "Calibration in the large",
            "mean probability minus share of positives; 0 is right",
            "",
        ),
        "calibration_slope": (
            "Calibration slope",
            "below 1: probabilities too extreme; above 1: too moderate",
            "patients of both classes whose probabilities overlap",
        ),
        "macro_auc": (
            "Macro AUC, mean over the classes",
            "chance that a patient of a class scores higher for it than a patient of another class",
            "patients of every class",
        ),
        "multiclass_brier": (
            "Brier score of all classes",
            "squared error of the probabilities, summed over the classes; 0 is perfect, 2 the worst",
            "",
        ),
        "log_loss": ("Log loss", "minus the logarithm of the true class's probability; 0 is perfect", ""),
        "grade_c_index": (
            "C-index of grades",
            "chance that, of two patients of different grades, the one with the higher grade scores higher",
            "patients of two different grades",
        ),
        "quadratic_kappa": (
            "Kappa, quadratic weights",
            "agreement of called and true grade: 1 is full, 0 is chance; two grades apart count four times",
            "patients of two different grades",
        ),
        "grade_error": ("Mean absolute error", "distance of called and true grade, in grades", ""),
        "ranked_probability_score": (
            "Ranked probability score",
            "mean squared error of the probabilities to reach each grade; 0 is perfect",
            "",
        ),
        "c_index": (
            "Harrell's C-index",
            "chance that, of two patients, the one with the higher hazard dies earlier",
            KNOWN_ORDER,
        ),
        "uno_c": ("Uno's C-index", "Harrell's C-index, corrected for the censoring of these patients", KNOWN_ORDER),
        "integrated_brier": (
            "Integrated Brier score",
            "mean squared error of survival probabilities over time; 0 is perfect",
            "patients of different follow-up",
        ),
        "log_rank_z": (
            "Log-rank z",
            "high against low risk; beyond 1.96 the curves differ at p < 0.05",
            "patients in both risk groups, and a death",
        ),
        "hazard_ratio_high_risk": (
            "Hazard ratio, high against low risk",
            "how many times as fast the high group dies",
            IN_GROUPS,
        ),
        "hazard_ratio_per_deviation": ("Hazard ratio per standard deviation", "of the model's log hazard", OF_SCORE),
        "hazard_ratio_adjusted": (
            "Hazard ratio, adjusted",
            "per standard deviation, adjusted for the study's covariates",
            COVARIATES,
        ),
    }.items()
}
"""By the stored name."""
WORDS_WITH_A_PART: Mapping[str, FigureWords] = {
    pattern: FigureWords(*words)
    for pattern, words in {
        r"auc_([\d.]+)m": (
            "AUC of death by month {}",
            "chance that a patient who died by then scores above one still alive",
            f"patients who died by month {{}}, and {FOLLOWED}",
        ),
        r"calibration_([\d.]+)m": (
            "Calibration at month {}",
            "mean predicted survival minus observed survival; 0 is right",
            FOLLOWED,
        ),
        "auc_of_(.+)": (
            "AUC of {}",
            "chance that a patient of this class scores higher for it than a patient of another class",
            "patients of this class and of another one",
        ),
        "recall_of_(.+)": (
            "Recall of {}",
            "share of its patients who are called it",
            "patients of this class",
        ),
        "calibration_of_at_least_(.+)": (
            "Calibration of at least {}",
            "mean probability of this grade or a higher one, minus its share; 0 is right",
            "",
        ),
        "calibration_of_(.+)": ("Calibration of {}", "mean probability minus its share; 0 is right", ""),
        "calibration_slope_of_at_least_(.+)": (
            "Calibration slope of at least {}",
            "below 1: probabilities too extreme; above 1: too moderate",
            OVERLAP,
        ),
        "calibration_slope_of_(.+)": (
            "Calibration slope of {}",
            "below 1: probabilities too extreme; above 1: too moderate",
            OVERLAP,
        ),
    }.items()
}
"""By a pattern of the stored name, the first that fits; {} stands for the part in brackets: a month, or a class."""


def title_of(figure: str) -> str:
    """What people call the figure."""
    return _words_of(figure).title


def meaning_of(figure: str) -> str:
    """What its number says; empty where the figure has no words."""
    meaning = _words_of(figure).meaning
    return meaning[:1].upper() + meaning[1:]


def needs_of(figure: str) -> str:
    """The patients without whom it is not defined; empty where the figure has no words."""
    return _words_of(figure).needs


def slugs(names: Sequence[str]) -> tuple[str, ...]:
    """The names of classes as parts of a figure's stored name: small letters, digits and hyphens.

    Names that would become the same, or nothing, have their number before them.
    """
    plain = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in names]
    if all(plain) and len(set(plain)) == len(plain):
        return tuple(plain)
    return tuple(f"{number}-{name}".strip("-") for number, name in enumerate(plain, start=1))


def _words_of(figure: str) -> FigureWords:
    for pattern, words in WORDS_WITH_A_PART.items():
        if (with_part := re.fullmatch(pattern, figure)) is not None:
            return FigureWords(*(text.format(*with_part.groups() * 2) for text in words))
    return WORDS.get(figure, FigureWords(figure.replace("_", " "), "", ""))
