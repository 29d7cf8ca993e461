"""Outlines as Aperio's ImageScope writes them: layers of regions, some of them negative."""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from nic.errors import TaskError
from nic.tasks.areas import UNLABELLED, Area, Ring, ring_of

FREEHAND, RECTANGLE, ELLIPSE, ARROW, RULER = map(str, range(5))
"""Type of a region; arrows and rulers have no area."""
CORNERS = 64
"""Of the polygon that stands for an ellipse: it is at most 0.2% smaller."""


def imagescope_areas(root: Element, file: str) -> Iterator[Area]:
    """root: Annotations. Vertices are level-0 pixels from the slide's corner.

    A region is of its layer's name; where the layer has none, of its own text or the layer's description. A negative
    region is a hole in those of its layer that it lies in. Raises TaskError naming the region.
    """
    for layer in root.iterfind("Annotation"):
        regions = [region for region in layer.iterfind("Regions/Region") if _has_area(region, file)]
        outlines = [(region, _outline(region, file)) for region in regions]
        holes = [(region, ring) for region, ring in outlines if region.get("NegativeROA") == "1"]
        solid = [(region, ring) for region, ring in outlines if region.get("NegativeROA") != "1"]
        for region, ring in solid:
            inside = [hole for other, hole in holes if _lies_in(hole, ring, _name(other, file))]
            yield Area(_label(layer, region), (ring, *inside))


def _has_area(region: Element, file: str) -> bool:
    kind = region.get("Type", FREEHAND)
    if kind not in (FREEHAND, RECTANGLE, ELLIPSE, ARROW, RULER):
        raise TaskError(f"{_name(region, file)}: of type {kind!r}, wanted 0 to 4")
    return kind not in (ARROW, RULER) and region.find("Vertices/Vertex") is not None


def _outline(region: Element, file: str) -> Ring:
    name = _name(region, file)
    points = [(vertex.get("X"), vertex.get("Y")) for vertex in region.iterfind("Vertices/Vertex")]
    if region.get("Type") not in (RECTANGLE, ELLIPSE):
        return ring_of(points, name)
    corners = ring_of([*points, points[0], points[0]], name)  # two opposite ones are enough
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    if region.get("Type") == RECTANGLE:
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ellipse: Ring = np.array([left + right, top + bottom]) / 2 + circle * np.array([right - left, bottom - top]) / 2
    return ellipse


def _lies_in(hole: Ring, ring: Ring, name: str) -> bool:
    """Raises TaskError for a hole that crosses the outline."""
    inside = [cv2.pointPolygonTest(ring.astype(np.float32), corner, False) >= 0 for corner in _points(hole)]
    if any(inside) and not all(inside):
        raise TaskError(f"{name}: a negative region crosses the outline of a region; draw it within, or as a region")
    return all(inside)


def _points(ring: Ring) -> Sequence[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in ring]


def _label(layer: Element, region: Element) -> str:
    described = (a.get("Value") for a in layer.iterfind("Attributes/Attribute") if a.get("Name") == "Description")
    candidates = (layer.get("Name"), region.get("Text"), *described)
    return next((text.strip() for text in candidates if text and text.strip()), UNLABELLED)


def _name(region: Element, file: str) -> str:
    return f"{file}: region {region.get('Id')!r}"
