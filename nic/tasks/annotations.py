"""Outlines drawn on slides: ASAP's (CAMELYON) and ImageScope's XML, and GeoJSON as QuPath writes it."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from nic.errors import TaskError
from nic.tasks.areas import Area
from nic.tasks.asap import asap_areas
from nic.tasks.geojson import geojson_areas
from nic.tasks.imagescope import imagescope_areas

SUFFIXES = (".xml", ".geojson", ".json")
FOREIGN = {".ndpa": "Hamamatsu's NDPA", ".annotations": "HALO's annotations", ".qpdata": "QuPath's own data"}
"""Files of outlines that are not read, by their suffix."""
REMEDY = "open the slide in QuPath and export its annotations as GeoJSON"


def read_annotations(path: Path, bounds_l0px: tuple[int, int, int, int]) -> tuple[Area, ...]:
    """The areas of a file; marks without an area (points, lines) and empty ones are passed over.

    bounds_l0px: of the slide, or where GeoJSON counts from: QuPath does from the corner of the bounds, ASAP and
    ImageScope from the slide's. Raises TaskError naming the file and the annotation.
    """
    content = path.read_bytes()
    if path.suffix.lower() == ".xml" or content.lstrip()[:1] == b"<":
        return tuple(_of_xml(path.name, content))
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise TaskError(f"{path.name}: not GeoJSON: {error}") from error
    origin, areas = np.array(bounds_l0px[:2], float), geojson_areas(parsed, path.name)
    return tuple(Area(area.label, tuple(ring + origin for ring in area.rings)) for area in areas)


def _of_xml(file: str, content: bytes) -> list[Area]:
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise TaskError(f"{file}: not XML: {error}") from error
    match root.tag:
        case "ASAP_Annotations":
            return list(asap_areas(root, file))
        case "Annotations" if root.find("Annotation/Regions/Region/Vertices/V") is not None:
            raise TaskError(f"{file}: HALO's annotations, which are not read; {REMEDY}")
        case "Annotations":
            return list(imagescope_areas(root, file))
        case "annotations":
            raise TaskError(f"{file}: Hamamatsu's NDPA, which is not read; {REMEDY}")
        case tag:
            raise TaskError(f"{file}: a {tag!r}, wanted ASAP_Annotations, or ImageScope's Annotations; {REMEDY}")
