"""The score maps of an answer, as GeoJSON or as a picture."""

import base64
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nic.compression.compressed_slide import CompressedSlide
from nic.errors import OverLimit, RequestRefused
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

    def take(self, drawn_bytes: int) -> None:
        """Count a map. Raises OverLimit when it does not fit."""
        if self._taken + drawn_bytes > self.most_bytes:
            raise OverLimit(
                f"maps of one request may take {self.most_bytes >> 20} MB; ask for fewer slides at a time, or map=png"
            )
        self._taken += drawn_bytes


def check_map_class(name: str, classes: Sequence[str]) -> None:
    """Raises RequestRefused where a class is named that has no map. classes: those that have one."""
    if name and name not in classes:
        remedy = f"wanted one of {', '.join(classes)}" if classes else "this model has one map; leave map_class out"
        raise RequestRefused(f"map_class: {remedy}")


def score_maps(
    answer: PatientPrediction, slides: Sequence[CompressedSlide], spec: PatientModelSpec, class_name: str = ""
) -> list[ScoreMap]:
    """One a slide. slides: those of the answer, in its order. class_name: of several classes the one that is shown; by
    default the one that is answered."""
    shown = class_name or (answer.class_name if spec.outputs > 1 else "")
    maps = zip(slides, answer.score_maps, strict=True)
    return [score_map_of(slide, scores, spec, shown) for slide, scores in maps]


def score_map_of(
    slide: CompressedSlide, scores: NDArray[np.float32], spec: PatientModelSpec, class_name: str = ""
) -> ScoreMap:
    """scores: [rows, cols] of the slide's grid; of several classes [C, rows, cols], of which that of `class_name` is
    shown."""
    if spec.outputs > 1:
        scores = scores[spec.classes.index(class_name)]
    return ScoreMap(slide.slide_id, scores, slide.grid, size_l0px(slide), map_unit(spec, class_name))


def map_unit(spec: PatientModelSpec, class_name: str = "") -> str:
    """What a score of a map is, in words."""
    match spec.kind:
        case "classification":
            return f"log odds of {spec.classes[-1] if spec.classes else ''}"
        case "multiclass":
            return f"log odds of {class_name} against the mean class"
        case "ordinal":
            return "log odds of a higher grade"
        case "survival":
            return "log hazard"
        case "regression":
            return spec.unit or "score"


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
