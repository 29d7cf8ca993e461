"""The pictures of a report: result, calibration, subgroups, and the maps of single patients."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray

from nic.evaluation import calibration_plots, class_plots, ordinal, plots
from nic.evaluation.figure import Estimate
from nic.evaluation.map_picture import png
from nic.evaluation.report_page import Picture
from nic.evaluation.subgroups import Subgroup
from nic.patients.calibration import Prognosis, ResidualInterval
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values
from nic.stages.draw_maps import map_of
from nic.stages.model_evaluation import Evaluation
from nic.stages.report_words import CALIBRATION_CAPTIONS, CONFUSION_CAPTION, RESULT_CAPTIONS, case_words

PLOT_DPI, MAP_DPI, MOST_MONTHS = 140, 85, 3


def result_plot(
    targets: Targets,
    score: NDArray[np.float64],
    estimate: Estimate,
    title: str,
    median: float | None = None,
    called: NDArray[np.intp] | None = None,
) -> Plot:
    """Scatter, ROC, grades or Kaplan-Meier.

    median: where the log hazard separates risk groups; by default of these scores. called: grades, if they are known.
    """
    match targets:
        case Values(value):
            return plots.scatter(value, score, estimate, title)
        case Classes(positive, _):
            return plots.roc(positive, score, estimate, title)
        case Categories(index, names):
            return class_plots.roc_one_vs_rest(index, score, names, estimate, title)
        case Grades(index, names):
            return class_plots.grade_strips(index, score, called, names, estimate, title)
        case Survival(months, event):
            threshold = float(np.median(score)) if median is None else median
            return plots.kaplan_meier(months, event, score, threshold, estimate, title)


def result_picture(evaluation: Evaluation) -> Picture:
    targets, deciding, spec = evaluation.labelled.targets, evaluation.estimates[0], evaluation.spec
    called = evaluation.called if isinstance(targets, Grades) else None
    plot = result_plot(targets, evaluation.scores, deciding, evaluation.name, spec.median, called)
    return Picture("result.png", png(plot, PLOT_DPI), RESULT_CAPTIONS[spec.kind])


def confusion_picture(evaluation: Evaluation) -> Picture | None:
    """True and called classes; None of an endpoint without several."""
    match evaluation.labelled.targets:
        case Categories(index, names) | Grades(index, names):
            plot = class_plots.confusion_table(index, evaluation.called, names)
            return Picture("confusion.png", png(plot, PLOT_DPI), CONFUSION_CAPTION)
    return None


def calibration_picture(evaluation: Evaluation) -> Picture | None:
    """Predicted against observed; None where the model is not calibrated."""
    match evaluation.labelled.targets, evaluation.spec.calibration:
        case Values(value), ResidualInterval(level, half_width):
            plot = calibration_plots.calibration_of_values(value, evaluation.scores, half_width, level)
        case Classes(positive, names), calibration if calibration is not None:
            plot = calibration_plots.calibration_of_probabilities(positive, evaluation.predictions, names[1])
        case Categories(index, names), calibration if calibration is not None:
            each = evaluation.probabilities.T
            plot = calibration_plots.calibration_of_events(
                {name: (index == place, each[place]) for place, name in enumerate(names)}
            )
        case Grades(index, names), calibration if calibration is not None:
            reached = ordinal.at_least(evaluation.probabilities).T
            plot = calibration_plots.calibration_of_events(
                {f"at least {names[place]}": (index >= place, reached[place - 1]) for place in range(1, len(names))}
            )
        case Survival(months, event), Prognosis(stated_months=stated) if stated:
            survival = {month: evaluation.calibrated[f"survival_{month:g}m"] for month in _spread(stated)}
            plot = calibration_plots.calibration_of_survival(months, event, survival)
        case _:
            return None
    kind = evaluation.spec.kind
    wide = kind in ("multiclass", "ordinal", "survival")
    return Picture("calibration.png", png(plot, PLOT_DPI), CALIBRATION_CAPTIONS[kind], wide)


def _spread(months: tuple[float, ...]) -> list[float]:
    """A few of the stated months, the first and the last among them."""
    chosen = np.linspace(0, len(months) - 1, min(MOST_MONTHS, len(months))).round().astype(int)
    return [months[place] for place in chosen]


def subgroup_picture(groups: Sequence[Subgroup]) -> Picture | None:
    """A forest plot; None where all patients are the only group."""
    named = {f"{g.column}: {g.name}" if g.column else "all patients": g.estimate for g in groups}
    if len(named) == 1:
        return None
    return Picture(
        "subgroups.png", png(plots.forest(named), PLOT_DPI), "The dotted line shows the value of all patients."
    )


def case_picture(evaluation: Evaluation, place: int, name: str) -> Picture:
    """One patient's maps. The name of the file does not hold the patient's."""
    patient, answer = evaluation.labelled.patients[place], evaluation.answers[place]
    plot = map_of(patient, answer, evaluation.spec, evaluation.codes)
    return Picture(f"maps/{name}.png", png(plot, MAP_DPI), f"{patient.patient_id}: {case_words(evaluation, place)}")
