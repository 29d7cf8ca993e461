"""A patient model as it is served: an ONNX graph from codes to score maps, and numpy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nic.compression.compatibility import check_codes
from nic.compression.compressed_slide import CompressedSlide
from nic.errors import CodesError, NoTissue
from nic.graphs.device import AUTO, Device
from nic.graphs.run import OnnxGraph
from nic.patients.cohort import Patient
from nic.patients.model_spec import METADATA, PatientModelSpec


@dataclass(frozen=True)
class PatientPrediction:
    """A patient's answer.

    score: the mean of the score maps: in the endpoint's unit, log odds of the positive class or of a higher grade, or a
    log hazard (higher = dies earlier); of several classes, that of `class_name`. prediction: what a ward reads: the
    score, the expected grade, or the probability of the class, calibrated where the model is. uncertainty: deviation
    over the folds' networks, on the scale of the prediction. score_maps: one [rows, cols] a slide, NaN where there is
    no code; of several classes [C, rows, cols]. tiles: cells behind it. calibrated: what the prediction means, by name:
    an interval `low`, `high`; the probability of each of several classes or grades; a `percentile` and survival at
    stated months. codes_differ: in what the codes differ from those of the training, of what
    nic.compression.compatibility counts.

    class_name: the most probable of several classes or grades; empty of other kinds. class_scores: of several classes
    [C], the mean of each map, log odds counted from the mean of all classes; empty of other kinds.
    """

    score: float
    prediction: float
    uncertainty: float
    score_maps: tuple[NDArray[np.float32], ...]
    tiles: int
    calibrated: Mapping[str, float]
    codes_differ: tuple[str, ...] = ()
    class_name: str = ""
    class_scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class SlideScores:
    """What a slide adds to its patient's answer.

    sums: of each network's scores over the cells, [K], or of several classes [K, C]. cells: the mean of the networks'
    scores at each code, [N] or [C, N]; of those that were asked to be shown.
    """

    sums: NDArray[np.float64]
    cells: NDArray[np.float32]

    @property
    def tiles(self) -> int:
        """N."""
        return int(self.cells.shape[-1])


class PatientModel:
    """An ensemble in one graph; threads may share it. Raises CodesError when the file is no patient model."""

    def __init__(self, path: Path, threads: int | None = None, device: Device = AUTO) -> None:
        self._graph = OnnxGraph(path, threads, device)
        if METADATA not in self._graph.metadata:
            raise CodesError(f"{path.name}: no {METADATA} metadata; wanted a patient model that nic exported")
        self.spec = PatientModelSpec.from_json(self._graph.metadata[METADATA])

    def predict(self, slides: Sequence[CompressedSlide]) -> PatientPrediction:
        """The answer from all slides of one patient. Raises ForeignCodes, or NoTissue when no cell has a code."""
        differ = {name for slide in slides for name in self.check(slide)}
        if not any(len(slide.codes) for slide in slides):
            raise NoTissue(f"{', '.join(slide.slide_id for slide in slides) or 'no slide given'}: no cell has a code")
        scored = [self.scored(slide) for slide in slides]
        return self.joined(scored, tuple(map(score_map, slides, scored)), differ)

    def joined(
        self,
        slides: Sequence[SlideScores],
        score_maps: tuple[NDArray[np.float32], ...] = (),
        codes_differ: Iterable[str] = (),
    ) -> PatientPrediction:
        """The answer from the scores of all slides of one patient. codes_differ: of any of them, as `check` returns.

        Raises NoTissue when no cell has a code.
        """
        tiles = sum(slide.tiles for slide in slides)
        if not tiles:
            raise NoTissue("no cell has a code")
        scores = np.sum([slide.sums for slide in slides], 0) / tiles  # [K], or [K, C]
        mean, differ = np.asarray(scores.mean(0)), tuple(sorted(set(codes_differ)))
        return answered(self.spec, mean, mean, self.spec.deviation(scores), score_maps, tiles, differ)

    def check(self, slide: CompressedSlide) -> tuple[str, ...]:
        """In what a slide's codes differ from those of the training, of what is counted. Raises ForeignCodes.

        By the rule of nic.compression.compatibility: another encoder and another tiling are refused.
        """
        return check_codes(slide, self.spec.training_codes)

    def scored(self, slide: CompressedSlide, shown: NDArray[np.intp] | None = None) -> SlideScores:
        """Of a slide that `check` passed. Glass around the tissue is cut away, as in training, and never made dense: a
        grid may be far larger. shown: numbers of the networks whose scores the cells hold; None for all."""
        if not len(slide.codes):
            none = self._by_network(np.zeros((self.spec.folds * self.spec.outputs, 0), np.float32))
            return SlideScores(none.sum(-1, dtype=np.float64), none.mean(0))
        row, col = slide.row - slide.row.min(), slide.col - slide.col.min()
        shape = int(row.max()) + 1, int(col.max()) + 1
        codes, valid = np.zeros((slide.codes.shape[1], *shape), np.float32), np.zeros(shape, np.float32)
        codes[:, row, col], valid[row, col] = slide.codes.T, 1
        maps = self._by_network(self._graph.run(codes=codes[None], valid=valid[None, None])[0])
        cells = maps[..., row, col] if shown is None else maps[shown][..., row, col]
        return SlideScores(maps.sum((-2, -1), dtype=np.float64), cells.mean(0))

    def _by_network(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """From the graph's [K * C, ...] to [K, ...], or of several classes [K, C, ...]."""
        outputs = self.spec.outputs
        return maps if outputs == 1 else maps.reshape(-1, outputs, *maps.shape[1:])


def answered(
    spec: PatientModelSpec,
    score: NDArray[np.float64],
    calibrated_by: NDArray[np.float64],
    uncertainty: float,
    score_maps: tuple[NDArray[np.float32], ...],
    tiles: int,
    codes_differ: tuple[str, ...],
) -> PatientPrediction:
    """The answer of a patient's score, a number, or of several classes [C].

    calibrated_by: the score that the calibration takes, of the same shape; out of fold it is not the one that is shown.
    """
    place, prediction = spec.class_of(calibrated_by), calibrated_by if spec.classes else score
    return PatientPrediction(
        score=float(score if score.ndim == 0 else score[place]),
        prediction=float(spec.predictions(prediction)),
        uncertainty=uncertainty,
        score_maps=score_maps,
        tiles=tiles,
        calibrated=spec.meaning(calibrated_by),
        codes_differ=codes_differ,
        class_name="" if place is None else spec.classes[place],
        class_scores=tuple(score.tolist()) if score.ndim else (),
    )


def stacked_scores(answers: Sequence[PatientPrediction]) -> NDArray[np.float64]:
    """The scores of patients, [N], or of several classes [N, C]."""
    return np.array([answer.class_scores or answer.score for answer in answers])


def score_map(slide: CompressedSlide, scores: SlideScores) -> NDArray[np.float32]:
    """The scores on the slide's grid, [rows, cols], or of several classes [C, rows, cols]; NaN without a code."""
    shown = np.full((*scores.cells.shape[:-1], slide.grid.rows, slide.grid.cols), np.nan, np.float32)
    shown[..., slide.row, slide.col] = scores.cells
    return shown


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
