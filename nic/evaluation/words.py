"""Figures in words: what each is called where people read it, and what its number says."""

import re

FIGURES = {
    "spearman": ("Spearman's rank correlation", "1: answers order patients as their labels do; 0: not at all"),
    "pearson": ("Pearson's correlation", "1: answers and labels lie on one rising line; 0: no linear relation"),
    "mae": ("Mean absolute error", "in the label's unit"),
    "r2": ("R², variance explained", "1: all of it; 0 or less: no better than saying the mean for everybody"),
    "coverage": ("Coverage of the intervals", "share of labels inside the interval that their answer states"),
    "auc": ("AUC, area under the ROC curve", "chance that a positive patient is placed above a negative one"),
    "average_precision": ("Average precision", "precision over all thresholds; guessing gets the share of positives"),
    "balanced_accuracy": ("Balanced accuracy", "mean of sensitivity and specificity at the training threshold"),
    "brier": ("Brier score", "mean squared error of the probability; 0 is perfect"),
    "calibration_in_the_large": ("Calibration in the large", "mean probability minus share of positives; 0 is right"),
    "calibration_slope": ("Calibration slope", "below 1: probabilities too extreme; above 1: too timid"),
    "c_index": ("Harrell's C-index", "chance that of two patients the one with the higher hazard dies earlier"),
    "uno_c": ("Uno's C-index", "the same, corrected for the censoring of these patients"),
    "integrated_brier": (
        "Integrated Brier score",
        "mean squared error of survival probabilities over time; 0 is perfect",
    ),
    "log_rank_z": ("Log-rank z", "high against low risk; beyond 1.96 the curves differ at p < 0.05"),
    "hazard_ratio_high_risk": ("Hazard ratio, high against low risk", "how many times as fast the high group dies"),
    "hazard_ratio_per_deviation": ("Hazard ratio per standard deviation", "of the model's log hazard"),
    "hazard_ratio_adjusted": ("Hazard ratio, adjusted", "per standard deviation, the study's covariates held"),
}
AT_A_MONTH = {
    "auc": ("AUC of death by month {}", "chance that one who died by then is placed above one alive"),
    "calibration": ("Calibration at month {}", "mean predicted survival minus observed survival; 0 is right"),
}


def name_of(figure: str) -> str:
    """What the figure is called."""
    return _entry(figure)[0]


def meaning_of(figure: str) -> str:
    """What its number says; empty of a figure that is not described."""
    meaning = _entry(figure)[1]
    return meaning[:1].upper() + meaning[1:]


def _entry(figure: str) -> tuple[str, str]:
    if (found := re.fullmatch(r"(auc|calibration)_([\d.]+)m", figure)) is not None:
        name, meaning = AT_A_MONTH[found[1]]
        return name.format(found[2]), meaning
    return FIGURES.get(figure, (figure.replace("_", " "), ""))
