"""Outlines in GeoJSON: QuPath's exports, collections of other tools, and single geometries."""

import logging
from collections.abc import Iterator
from typing import Any

from nic.errors import TaskError
from nic.tasks.areas import UNLABELLED, Area, Ring, ring_of

WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
GEOMETRIES = ("Polygon", "MultiPolygon", "GeometryCollection", *WITHOUT_AREA)
LOG = logging.getLogger(__name__)


def geojson_areas(content: Any, file: str) -> list[Area]:
    """content: the parsed file. Rings have its coordinates. Raises TaskError naming the file and the feature."""
    areas: list[Area] = []
    by_name: list[str] = []
    for number, feature in enumerate(_features(content, file)):
        where = f"{file}: feature {number}"
        try:
            polygons = [_rings(polygon, where) for polygon in _polygons(_geometry(feature, where), where)]
            label, is_class = _label(feature.get("properties") or {})
        except (KeyError, TypeError, AttributeError) as error:
            raise TaskError(f"{where}: not GeoJSON as QuPath writes it: {error!r}") from error
        areas += [Area(label, rings) for rings in polygons if rings]
        by_name += [] if is_class or not any(polygons) else [label]
    if by_name:
        LOG.warning("%s: %d annotations have no class; their names are used: %s", file, len(by_name), by_name[0])
    return areas


def _features(content: Any, file: str) -> Iterator[Any]:
    """All features, also nested ones: QuPath can write a hierarchy."""
    match content:
        case list():
            features = content
        case {"features": list(features)}:
            pass
        case {"type": str()} | {"geometry": _}:
            features = [content]
        case _:
            keys = f"keys {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) else repr(content)[:40]
            raise TaskError(f"{file}: not GeoJSON but {keys}; wanted features, as QuPath exports them")
    for feature in features:
        yield feature
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if isinstance(properties, dict) and properties.get("childObjects"):
            yield from _features(properties["childObjects"], file)


def _geometry(feature: Any, where: str) -> Any:
    if "geometry" in feature:
        return feature["geometry"]
    if feature.get("type") in GEOMETRIES:
        return feature
    raise TaskError(f"{where}: not GeoJSON: {feature.get('type')!r} without a geometry")


def _polygons(geometry: Any, where: str) -> Iterator[Any]:
    """Coordinates of all polygons of a geometry; none for null."""
    if geometry is None:
        return
    match geometry["type"]:
        case "Polygon":
            yield geometry["coordinates"]
        case "MultiPolygon":
            yield from geometry["coordinates"]
        case "GeometryCollection":
            for member in geometry["geometries"]:
                yield from _polygons(member, where)
        case kind if kind not in WITHOUT_AREA:
            raise TaskError(f"{where}: geometry of type {kind!r}, which GeoJSON does not have")


def _rings(polygon: Any, where: str) -> tuple[Ring, ...]:
    """Empty for an empty polygon; a third number of each corner, its height, is dropped."""
    rings = [_flat(ring) for ring in polygon]
    return tuple(ring_of(ring, where) for ring in rings if len(ring)) if rings and len(rings[0]) else ()


def _flat(ring: Any) -> Any:
    return [corner[:2] for corner in ring] if all(isinstance(c, list) and len(c) == 3 for c in ring) else ring


def _label(properties: Any) -> tuple[str, bool]:
    """The class and True, or the annotation's name and False where it has no class.

    QuPath writes a class as {name, color}, a derived one as {names, color}; some write text.
    """
    classification = properties.get("classification")
    if isinstance(classification, dict):
        classification = classification.get("name") or ": ".join(classification.get("names") or [])
    if classification:
        return str(classification), True
    name = str(properties.get("name") or "").strip()
    return (name, False) if name else (UNLABELLED, True)
