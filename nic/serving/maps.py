"""Where an answer came from: score maps as GeoJSON or as a picture."""

import base64
import io
import json
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nic.compression.compressed_slide import CompressedSlide
from nic.evaluation.heatmap import overlay

Scores = NDArray[np.float32]
WHITE_PX = 640


def geojson(slide: CompressedSlide, scores: Scores) -> str:
    """One square a tile with its score, in level-0 px (x right, y down); QuPath opens it. scores: [rows, cols]."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [_ring(slide, int(row), int(col))]},
            "properties": {"score": float(scores[row, col])},
        }
        for row, col in zip(slide.row, slide.col, strict=True)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


def png(slide: CompressedSlide, scores: Scores) -> str:
    """The slide's overview tinted by the scores, blue below their mean and red above, as base64 of a PNG."""
    grid = slide.grid
    (x, y), side = grid.origin_l0px, grid.side_l0px
    size_l0px = slide.size_l0px or (round(x + grid.cols * side), round(y + grid.rows * side))
    picture = overlay(scores, grid, _overview(slide, size_l0px), size_l0px)
    return base64.b64encode(cv2.imencode(".png", picture[..., ::-1])[1].tobytes()).decode()


MAPS: Mapping[str, Callable[[CompressedSlide, Scores], str]] = {"geojson": geojson, "png": png}


def _ring(slide: CompressedSlide, row: int, col: int) -> list[tuple[int, int]]:
    (left, top), (right, bottom) = (slide.grid.cell_origin_l0px(row + i, col + i) for i in (0, 1))
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]


def _overview(slide: CompressedSlide, size_l0px: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB [h, w, 3]; white where the codes came without one."""
    if slide.overview is not None:
        with Image.open(io.BytesIO(slide.overview.tobytes()), formats=["JPEG"]) as picture:
            return np.asarray(picture.convert("RGB"))
    scale = WHITE_PX / max(size_l0px)
    return np.full((max(1, round(size_l0px[1] * scale)), max(1, round(size_l0px[0] * scale)), 3), 255, np.uint8)
