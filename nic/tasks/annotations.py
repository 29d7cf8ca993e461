"""Outlines drawn on slides: ASAP's XML (CAMELYON) and QuPath's GeoJSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from nic.errors import TaskError

SUFFIXES = (".xml", ".geojson", ".json")
UNLABELLED = "None"
"""What ASAP calls an annotation of no group; so do we for both."""


@dataclass(frozen=True, eq=False)
class Area:
    """label: the annotation's group or class. rings: float [n, 2] (x, y) l0px, its outline and then its holes."""

    label: str
    rings: tuple[NDArray[np.float64], ...]


def read_annotations(path: Path, bounds_l0px: tuple[int, int, int, int]) -> tuple[Area, ...]:
    """The areas of a file; marks without an area (points, lines) are passed over.

    bounds_l0px: of the slide. QuPath counts from their corner, ASAP from the slide's.
    Raises TaskError naming the file and the annotation.
    """
    if path.suffix == ".xml":
        return tuple(_asap(path))
    return tuple(_geojson(path, np.array(bounds_l0px[:2], float)))


def _asap(path: Path) -> Iterator[Area]:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise TaskError(f"{path.name}: not XML: {error}") from error
    if root.tag != "ASAP_Annotations":
        raise TaskError(f"{path.name}: a {root.tag!r}, wanted ASAP_Annotations")
    for annotation in root.iterfind("Annotations/Annotation"):
        if annotation.get("Type") in ("Polygon", "Rectangle", "Spline"):
            corners = sorted(annotation.iterfind("Coordinates/Coordinate"), key=lambda c: int(c.get("Order", 0)))
            points = [(corner.get("X"), corner.get("Y")) for corner in corners]
            name = f"{path.name}: annotation {annotation.get('Name')!r}"
            yield Area(annotation.get("PartOfGroup") or UNLABELLED, (_ring(points, name),))


def _geojson(path: Path, origin_l0px: NDArray[np.float64]) -> Iterator[Area]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        features = found if isinstance(found, list) else found.get("features", [found])
        for number, feature in enumerate(_with_children(features)):
            name = f"{path.name}: feature {number}"
            for polygon in _polygons(feature["geometry"]):
                rings = tuple(_ring(ring, name) + origin_l0px for ring in polygon)
                yield Area(_label(feature.get("properties") or {}), rings)
    except TaskError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TaskError(f"{path.name}: not GeoJSON as QuPath writes it: {error!r}") from error


def _with_children(features: list[Any]) -> Iterator[Any]:
    """QuPath can write a hierarchy: annotations inside annotations."""
    for feature in features:
        yield feature
        yield from _with_children((feature.get("properties") or {}).get("childObjects", []))


def _polygons(geometry: dict[str, Any]) -> list[Any]:
    match geometry["type"]:
        case "Polygon":
            return [geometry["coordinates"]]
        case "MultiPolygon":
            return list(geometry["coordinates"])
        case _:
            return []


def _label(properties: dict[str, Any]) -> str:
    """QuPath writes a class as {name, color}, a derived one as {names, color}; some write text."""
    found = properties.get("classification") or UNLABELLED
    if not isinstance(found, dict):
        return str(found)
    return str(found["name"]) if "name" in found else ": ".join(found["names"])


def _ring(points: Any, name: str) -> NDArray[np.float64]:
    try:
        ring = np.array(points, np.float64)
    except (ValueError, TypeError) as error:
        raise TaskError(f"{name}: a corner is no pair of numbers: {error}") from error
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
        raise TaskError(f"{name}: corners {list(ring.shape)}, wanted three or more pairs of finite numbers")
    return ring
