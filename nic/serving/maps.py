"""Where an answer came from: score maps as GeoJSON or as a picture."""

import base64
from collections.abc import Callable, Mapping, Sequence

from PIL import Image

from nic.compression.compressed_slide import CompressedSlide
from nic.evaluation.heatmap import overlay
from nic.evaluation.map_picture import overview
from nic.evaluation.maps import ScoreMap, geojson
from nic.patients.predictor import PatientPrediction
from nic.patients.spec import PatientModelSpec
from nic.serving.map_files import png_of


def score_maps(answer: PatientPrediction, slides: Sequence[CompressedSlide], spec: PatientModelSpec) -> list[ScoreMap]:
    """One a slide. slides: those the answer was given for, in their order."""
    unit = {"classification": f"log odds of {spec.classes[-1] if spec.classes else ''}", "survival": "log hazard"}
    return [
        ScoreMap(slide.slide_id, scores, slide.grid, size_l0px(slide), unit.get(spec.kind, spec.unit or "score"))
        for slide, scores in zip(slides, answer.score_maps, strict=True)
    ]


def size_l0px(slide: CompressedSlide) -> tuple[int, int]:
    """Of level 0; of the grid alone where the codes came without it."""
    return slide.size_l0px or slide.grid.cell_origin_l0px(slide.grid.rows, slide.grid.cols)


def as_geojson(slide: CompressedSlide, score_map: ScoreMap) -> str:
    """In level-0 px from the slide's corner on."""
    return geojson(score_map)


def as_png(slide: CompressedSlide, score_map: ScoreMap) -> str:
    """The slide's overview tinted by the scores, blue below their mean and red above, as base64 of a PNG."""
    thumbnail = overview(slide.overview, score_map.size_l0px)
    picture = overlay(score_map.scores, score_map.grid, thumbnail, score_map.size_l0px)
    return base64.b64encode(png_of(Image.fromarray(picture), score_map.slide_id)).decode()


MAPS: Mapping[str, Callable[[CompressedSlide, ScoreMap], str]] = {"geojson": as_geojson, "png": as_png}
