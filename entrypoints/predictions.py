"""Predictions of a cohort's patients as the table and the picture that both training and evaluation log."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nic.compression.compressed_slide import CompressedSlide
from nic.evaluation import figures
from nic.evaluation.metrics import Estimate
from nic.patients.cohort import Labelled, Patient
from nic.patients.predictor import PatientPrediction
from nic.patients.targets import Classes, Survival, Targets, Values
from nic.slides.slide import Slide, SlideSource
from nic.slides.tiling import TileGrid

Floats = NDArray[np.float64]


def table_of(labelled: Labelled, prediction: Floats) -> pd.DataFrame:
    """One row a patient: site, labels and prediction."""
    match labelled.targets:
        case Values(value):
            labels: dict[str, Any] = {"label": value}
        case Classes(positive, _):
            labels = {"label": positive.astype(int)}
        case Survival(time_months, event):
            labels = {"time_months": time_months, "event": event.astype(int)}
    patients = {"patient": [p.patient_id for p in labelled.patients], "site": [p.site for p in labelled.patients]}
    return pd.DataFrame({**patients, **labels, "prediction": prediction})


def figure_of(
    targets: Targets, prediction: Floats, estimate: Estimate, title: str, median: float | None = None
) -> Figure:
    """Scatter, ROC or Kaplan-Meier. median: of the training patients, where risk groups part; else of these."""
    match targets:
        case Values(value):
            return figures.scatter(value, prediction, estimate, title)
        case Classes(positive, _):
            return figures.roc(positive, prediction, estimate, title)
        case Survival(months, event):
            threshold = float(np.median(prediction)) if median is None else median
            return figures.kaplan_meier(months, event, prediction, threshold, estimate, title)


def map_of(patient: Patient, answer: PatientPrediction, codes: Path) -> Figure:
    """The patient's first compressed slide beside the map whose mean is the prediction; on white without the slide."""
    source = next(s for s in patient.slides if (codes / f"{s.slide_id}.h5").is_file())
    grid = CompressedSlide.load(codes / f"{source.slide_id}.h5").grid
    thumbnail, size_l0px = _overview(source) if source.path.exists() else _white(grid)
    title = f"{patient.patient_id}: {answer.prediction:.2f}"
    return figures.score_map(thumbnail, answer.score_maps[0], grid, size_l0px, title)


def _overview(source: SlideSource) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    with Slide.open(source) as slide:
        return slide.thumbnail(1200), slide.size_l0px


def _white(grid: TileGrid) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Paper as large as the grid: imported codes may come without their slide."""
    (x, y), side = grid.origin_l0px, grid.side_l0px
    size_l0px = (round(x + grid.cols * side), round(y + grid.rows * side))
    scale = 1200 / max(size_l0px)
    return np.full((round(size_l0px[1] * scale), round(size_l0px[0] * scale), 3), 255, np.uint8), size_l0px
