"""Outlines as ASAP writes them; CAMELYON's are."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from nic.errors import TaskError
from nic.tasks.areas import UNLABELLED, Area, ring_of

WITH_AREA, WITHOUT = ("Polygon", "Rectangle", "Spline"), ("Dot", "PointSet", "Measurement", "None")


def asap_areas(root: Element, file: str) -> Iterator[Area]:
    """root: ASAP_Annotations. Corners are level-0 pixels from the slide's corner. Raises TaskError."""
    for annotation in root.iterfind("Annotations/Annotation"):
        name, kind = f"{file}: annotation {annotation.get('Name')!r}", annotation.get("Type")
        if kind not in (*WITH_AREA, *WITHOUT):
            raise TaskError(f"{name}: of type {kind!r}, wanted one of {', '.join((*WITH_AREA, *WITHOUT))}")
        corners = annotation.findall("Coordinates/Coordinate")
        if kind in WITH_AREA and corners:
            points = [(corner.get("X"), corner.get("Y")) for corner in sorted(corners, key=lambda c: _order(c, name))]
            yield Area(annotation.get("PartOfGroup") or UNLABELLED, (ring_of(points, name),))


def _order(corner: Element, name: str) -> int:
    try:
        return int(corner.get("Order", 0))
    except ValueError as error:
        raise TaskError(f"{name}: a corner of order {corner.get('Order')!r}, wanted a whole number") from error
