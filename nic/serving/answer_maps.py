"""The score maps of an answer, as GeoJSON or as a picture."""

import base64
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import OverLimit
from nic.evaluation.map_picture import overlay, overview
from nic.evaluation.score_map import ScoreMap, geojson
from nic.patients.model_spec import PatientModelSpec
from nic.patients.predictor import PatientPrediction
from nic.serving.map_files import png_of


class MapsBudget:
    """The bytes that the maps of one request may take together."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._taken = 0

    def take(self, drawn: str) -> str:
        """The map, counted. Raises OverLimit when it does not fit."""
        if self._taken + len(drawn) > self.most_bytes:
            raise OverLimit(
                f"maps of one request may take {self.most_bytes >> 20} MB; ask for fewer slides at a time, or map=png"
            )
        self._taken += len(drawn)
        return drawn


def score_maps(answer: PatientPrediction, slides: Sequence[CompressedSlide], spec: PatientModelSpec) -> list[ScoreMap]:
    """One a slide. slides: those of the answer, in its order."""
    return [score_map_of(slide, scores, spec) for slide, scores in zip(slides, answer.score_maps, strict=True)]


def score_map_of(slide: CompressedSlide, scores: NDArray[np.float32], spec: PatientModelSpec) -> ScoreMap:
    """scores: [rows, cols] of the slide's grid."""
    unit = {"classification": f"log odds of {spec.classes[-1] if spec.classes else ''}", "survival": "log hazard"}
    return ScoreMap(slide.slide_id, scores, slide.grid, size_l0px(slide), unit.get(spec.kind, spec.unit or "score"))


def size_l0px(slide: CompressedSlide) -> tuple[int, int]:
    """Width and height at level 0; of the grid alone where the codes do not state it."""
    return slide.size_l0px or slide.grid.cell_origin_l0px(slide.grid.rows, slide.grid.cols)


def as_geojson(slide: CompressedSlide, drawn: ScoreMap) -> str:
    """In level-0 px, counted from the slide's corner."""
    return geojson(drawn)


def as_png(slide: CompressedSlide, drawn: ScoreMap) -> str:
    """The slide's overview tinted by the scores, blue below their mean and red above, as base64 of a PNG."""
    thumbnail = overview(slide.overview, drawn.size_l0px)
    picture = overlay(drawn.scores, drawn.grid, thumbnail, drawn.size_l0px)
    return base64.b64encode(png_of(Image.fromarray(picture), drawn.slide_id)).decode()


MAPS: Mapping[str, Callable[[CompressedSlide, ScoreMap], str]] = {"geojson": as_geojson, "png": as_png}
