"""A patient model as it is served: an ONNX graph from codes to score maps, and numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError, ForeignCodes, NoTissue
from nic.onnx.runtime import OnnxGraph
from nic.patients.cohort import Patient
from nic.patients.spec import METADATA, PatientModelSpec


@dataclass(frozen=True)
class PatientPrediction:
    """A patient's answer.

    score: the mean of the score maps: in the endpoint's unit, log odds of the positive class, or a log hazard (higher =
    dies earlier). prediction: what a ward reads: the score, or of a class its probability, calibrated where the model
    is. uncertainty: deviation over the folds' networks, on the scale of the prediction. score_maps: one [rows, cols] a
    slide, NaN where there is no code. tiles: cells behind it. calibrated: what the prediction means, by name: an
    interval `low`, `high`; a `percentile` and survival at stated months.
    """

    score: float
    prediction: float
    uncertainty: float
    score_maps: tuple[NDArray[np.float32], ...]
    tiles: int
    calibrated: Mapping[str, float]


class PatientModel:
    """An ensemble in one graph; threads may share it. Raises CodesError when the file is no patient model."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._graph = OnnxGraph(path, threads)
        if METADATA not in self._graph.metadata:
            raise CodesError(f"{path.name}: no {METADATA} metadata; wanted a patient model that nic exported")
        self.spec = PatientModelSpec.from_json(self._graph.metadata[METADATA])

    def predict(self, slides: Sequence[CompressedSlide]) -> PatientPrediction:
        """The answer from all slides of one patient. Raises ForeignCodes, or NoTissue when no cell has a code."""
        for slide in slides:
            self.check(slide)
        tiles = sum(len(slide.codes) for slide in slides)
        if not tiles:
            raise NoTissue(f"{', '.join(slide.slide_id for slide in slides) or 'no slide given'}: no cell has a code")
        maps = [self._score_maps(slide) for slide in slides]  # [K, rows, cols] each
        scores = sum(m.sum((1, 2), dtype=np.float64) for m in maps) / tiles  # [K]
        score = float(scores.mean())
        prediction = float(self.spec.predictions(np.array(score)))
        deviation = float(self.spec.predictions(scores).std())
        calibrated = self.spec.calibration.of(score) if self.spec.calibration else {}
        shown = tuple(np.where(s.valid, m.mean(0), np.nan) for s, m in zip(slides, maps, strict=True))
        return PatientPrediction(score, prediction, deviation, shown, tiles, calibrated)

    def check(self, slide: CompressedSlide) -> None:
        """Raises ForeignCodes when the slide's codes are not of the kind that the model was trained on.

        Another encoder made them, or the slide was cut otherwise: the score is a mean over other tiles then, and where
        tiles overlap otherwise, what lies beside a cell is another distance away. Training refuses such a mix as well.
        """
        if slide.encoder.sha256 != self.spec.encoder_sha256:
            raise ForeignCodes(
                f"{slide.slide_id}: codes of encoder {slide.encoder.sha256[:12]}, the model takes those of "
                f"{self.spec.encoder_version} ({self.spec.encoder_sha256[:12]}); compress the slide with that one"
            )
        wanted = self.spec.cutting
        names = slide.cutting.unlike(wanted)
        if not self.spec.cutting_recorded:  # before there was a record, tiles did not overlap
            names = tuple(name for name in names if name == "overlap_px")
        if names:
            raise ForeignCodes(
                f"{slide.slide_id}: compressed with {slide.cutting.words(names)}; the model was trained on slides "
                f"compressed with {wanted.words(names)}; compress this slide so, or ask a model for such slides"
            )

    def _score_maps(self, slide: CompressedSlide) -> NDArray[np.float32]:
        """One map a network, [K, rows, cols]; glass around the tissue is cut away, as in training."""
        maps = np.zeros((self.spec.folds, *slide.valid.shape), np.float32)
        if len(slide.codes):
            tissue = _extent(slide.row), _extent(slide.col)
            codes, valid = slide.dense()[:, *tissue], slide.valid[tissue].astype(np.float32)
            maps[:, *tissue] = self._graph.run(codes=codes[None], valid=valid[None, None])[0]
        return maps


def _extent(place: NDArray[np.int32]) -> slice:
    return slice(int(place.min()), int(place.max()) + 1)


def predict_cohort(model: PatientModel, patients: Sequence[Patient], codes: Path) -> list[PatientPrediction | None]:
    """Answers in the order of the patients, from `codes`/<slide_id>.h5; None for a patient without a file.

    A patient of whom some slides have no file is answered from the others.
    """
    answers: list[PatientPrediction | None] = []
    for patient in tqdm(patients, desc="predict", unit="patient"):
        files = [codes / f"{slide.slide_id}.h5" for slide in patient.slides]
        slides = [CompressedSlide.load(file) for file in files if file.is_file()]
        answers.append(model.predict(slides) if slides else None)
    return answers
