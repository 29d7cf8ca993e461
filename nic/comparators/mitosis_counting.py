"""Mitosis counting, a comparator of the TUPAC16 winner's kind: patients ranked by their mitoses per mm2.

The encoder's own mitosis head classifies every tile of a compressed slide. Detections are counted in the densest window
of the slide, as pathologists count in the most active area; a patient has the highest count of all slides. What is
fitted, a threshold and a direction, is fitted on training patients.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nic.comparators.mitosis_detections import Detections, MitosisOptions, densest_window, detect_mitoses
from nic.compression.compatibility import TrainingCodes, check_codes
from nic.compression.compressed_slide import CompressedSlide
from nic.encoder.task_heads import TaskHeads
from nic.errors import CodesError, EndpointError
from nic.evaluation.endpoint_figures import deciding_figure
from nic.evaluation.figure import Figure
from nic.patients.cohort import Labelled, Patient
from nic.patients.targets import Categories, Classes, Grades, Survival, Targets, Values

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FittedCount:
    """What training patients decided. sign: 1 where more mitoses go with a higher label (or an earlier death), else -1.

    threshold: least probability of a detection. figure: of the training patients, by the endpoint's deciding figure;
    NaN where no threshold tells patients apart.
    """

    threshold: float
    sign: int
    figure: float


def mitosis_scores(
    train: Labelled, external: Labelled, codes: Path, heads: TaskHeads, options: MitosisOptions
) -> Floats:
    """The score of each external patient, [N]: mitoses per mm2 in the densest window, times the fitted sign.

    Higher = a higher label, or an earlier death. codes: folder of <slide_id>.h5 of both. Raises as `fit_count`.
    """
    fitted = fit_count(train, codes, heads, options)
    return fitted.sign * mitosis_counts(external.patients, codes, heads, options, (fitted.threshold,))[:, 0]


def fit_count(train: Labelled, codes: Path, heads: TaskHeads, options: MitosisOptions) -> FittedCount:
    """The threshold, of options.thresholds, whose counts rank the training patients best in either direction.

    A head learns from as many mitoses as other tiles, while tissue has few: 0.5 would count mostly false ones. Raises
    CodesError where a patient has no codes, ForeignCodes for those of another encoder or tiling, EncoderError where the
    encoder has no such head, EndpointError for classes without an order.
    """
    counts = mitosis_counts(train.patients, codes, heads, options, options.thresholds)
    figures = [ranking_figure(train.targets, column) for column in counts.T]
    gains = [figure.value - (figure.reference or 0.0) for figure in figures]
    best = int(np.argmax(np.abs(np.nan_to_num(gains))))
    return FittedCount(options.thresholds[best], -1 if gains[best] < 0 else 1, figures[best].value)


def mitosis_counts(
    patients: Sequence[Patient], codes: Path, heads: TaskHeads, options: MitosisOptions, thresholds: Sequence[float]
) -> Floats:
    """Mitoses per mm2 in the densest window of each patient at each threshold, [N, thresholds]: the highest of slides.

    A slide without a file is left out. Raises as `fit_count`.
    """
    training: TrainingCodes | None = None
    counts = np.zeros((len(patients), len(thresholds)))
    for place, patient in enumerate(patients):
        for slide in _slides_of(patient, codes):
            training = training or TrainingCodes.like(slide)
            check_codes(slide, training)
            detections = detect_mitoses(slide, heads, options, min(thresholds))
            counts[place] = np.maximum(counts[place], _of_slide(slide, detections, options, thresholds))
    return counts


def _slides_of(patient: Patient, codes: Path) -> Iterator[CompressedSlide]:
    files = [codes / f"{source.slide_id}.h5" for source in patient.slides]
    there = [file for file in files if file.is_file()]
    if not there:
        raise CodesError(f"{patient.patient_id}: none of its {len(files)} slides has codes in {codes}; compress them")
    yield from map(CompressedSlide.load, there)


def _of_slide(
    slide: CompressedSlide, detections: Detections, options: MitosisOptions, thresholds: Sequence[float]
) -> Floats:
    each = (densest_window(slide, detections.at_least(threshold), options.window_mm2) for threshold in thresholds)
    return np.array([window.per_mm2 for window in each])


def ranking_figure(targets: Targets, score: Floats) -> Figure:
    """The deciding figure of an endpoint, of one score a patient. Raises EndpointError for classes without an order."""
    labels = targets.arrays
    match targets:
        case Values():
            return deciding_figure("regression", labels, score)
        case Classes():
            return deciding_figure("classification", labels, score)
        case Grades():
            return deciding_figure("ordinal", labels, score)
        case Survival():
            return deciding_figure("survival", labels, score)
        case Categories(_, names):
            raise EndpointError(
                f"mitosis counting ranks patients by one number, and {', '.join(names)} have no order; leave it out of "
                "this endpoint, or make the endpoint ordinal"
            )
