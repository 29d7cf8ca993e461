"""Files of outlines drawn on slides: XML of ASAP (CAMELYON) and ImageScope, and GeoJSON as QuPath writes it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import cv2
import numpy as np

from nic.errors import TaskError
from nic.tasks.areas import UNLABELLED, Area, Ring, ring_of
from nic.tasks.geojson import geojson_areas

SUFFIXES = (".xml", ".geojson", ".json")
FOREIGN = {".ndpa": "Hamamatsu's NDPA", ".annotations": "HALO's annotations", ".qpdata": "QuPath's own data"}
"""Files of outlines that are not read, by their suffix."""
REMEDY = "open the slide in QuPath and export its annotations as GeoJSON"
WITH_AREA, WITHOUT_AREA = ("Polygon", "Rectangle", "Spline"), ("Dot", "PointSet", "Measurement", "None")
"""Types of ASAP's annotations."""
FREEHAND, RECTANGLE, ELLIPSE, ARROW, RULER = map(str, range(5))
"""Types of ImageScope's regions; arrows and rulers have no area."""
CORNERS = 64
"""Of the polygon that replaces an ellipse: it is at most 0.2% smaller."""


def read_annotations(path: Path, bounds_l0px: tuple[int, int, int, int]) -> tuple[Area, ...]:
    """The areas of a file; marks without an area (points, lines) and empty ones are skipped.

    bounds_l0px: of the slide, or its whole where GeoJSON counts from the slide's corner. QuPath counts from the corner
    of the bounds, ASAP and ImageScope from that of the slide. Raises TaskError naming the file and the annotation.
    """
    content = path.read_bytes()
    if path.suffix.lower() == ".xml" or content.lstrip()[:1] == b"<":
        return tuple(_xml_areas(path.name, content))
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise TaskError(f"{path.name}: not GeoJSON: {error}") from error
    origin, areas = np.array(bounds_l0px[:2], float), geojson_areas(parsed, path.name)
    return tuple(Area(area.label, tuple(ring + origin for ring in area.rings)) for area in areas)


def _xml_areas(file: str, content: bytes) -> list[Area]:
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise TaskError(f"{file}: not XML: {error}") from error
    match root.tag:
        case "ASAP_Annotations":
            return list(_asap_areas(root, file))
        case "Annotations" if root.find("Annotation/Regions/Region/Vertices/V") is not None:
            raise TaskError(f"{file}: HALO's annotations, which are not read; {REMEDY}")
        case "Annotations":
            return list(_imagescope_areas(root, file))
        case "annotations":
            raise TaskError(f"{file}: Hamamatsu's NDPA, which is not read; {REMEDY}")
        case tag:
            raise TaskError(f"{file}: a {tag!r}, wanted ASAP_Annotations, or ImageScope's Annotations; {REMEDY}")


def _asap_areas(root: Element, file: str) -> Iterator[Area]:
    """root: ASAP_Annotations, as in CAMELYON. Corners are level-0 pixels from the slide's corner. Raises TaskError."""
    for annotation in root.iterfind("Annotations/Annotation"):
        name, kind = f"{file}: annotation {annotation.get('Name')!r}", annotation.get("Type")
        if kind not in (*WITH_AREA, *WITHOUT_AREA):
            raise TaskError(f"{name}: of type {kind!r}, wanted one of {', '.join((*WITH_AREA, *WITHOUT_AREA))}")
        corners = annotation.findall("Coordinates/Coordinate")
        if kind in WITH_AREA and corners:
            corners.sort(key=lambda corner: _corner_order(corner, name))
            points = [(corner.get("X"), corner.get("Y")) for corner in corners]
            yield Area(annotation.get("PartOfGroup") or UNLABELLED, (ring_of(points, name),))


def _corner_order(corner: Element, name: str) -> int:
    try:
        return int(corner.get("Order", 0))
    except ValueError as error:
        raise TaskError(f"{name}: a corner of order {corner.get('Order')!r}, wanted a whole number") from error


def _imagescope_areas(root: Element, file: str) -> Iterator[Area]:
    """root: Annotations, which are layers of regions. Vertices are level-0 pixels from the slide's corner.

    A region's label is the name of its layer, else its own text, else the layer's description. A negative region is a
    hole in those regions of its layer that contain it. Raises TaskError naming the region.
    """
    for layer in root.iterfind("Annotation"):
        regions = [region for region in layer.iterfind("Regions/Region") if _has_area(region, file)]
        outlines = [(region, _outline(region, file)) for region in regions]
        holes = [(region, ring) for region, ring in outlines if region.get("NegativeROA") == "1"]
        solid = [(region, ring) for region, ring in outlines if region.get("NegativeROA") != "1"]
        for region, ring in solid:
            inside = [hole for other, hole in holes if _lies_in(hole, ring, _region_name(other, file))]
            yield Area(_layer_label(layer, region), (ring, *inside))


def _has_area(region: Element, file: str) -> bool:
    kind = region.get("Type", FREEHAND)
    if kind not in (FREEHAND, RECTANGLE, ELLIPSE, ARROW, RULER):
        raise TaskError(f"{_region_name(region, file)}: of type {kind!r}, wanted 0 to 4")
    return kind not in (ARROW, RULER) and region.find("Vertices/Vertex") is not None


def _outline(region: Element, file: str) -> Ring:
    name = _region_name(region, file)
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


def _layer_label(layer: Element, region: Element) -> str:
    described = (a.get("Value") for a in layer.iterfind("Attributes/Attribute") if a.get("Name") == "Description")
    candidates = (layer.get("Name"), region.get("Text"), *described)
    return next((text.strip() for text in candidates if text and text.strip()), UNLABELLED)


def _region_name(region: Element, file: str) -> str:
    return f"{file}: region {region.get('Id')!r}"
