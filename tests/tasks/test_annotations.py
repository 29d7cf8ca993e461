"""Outlines as ASAP and QuPath write them, and which cells lie in them; held against matplotlib's paths."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from nic.errors import TaskError
from nic.slides.grid import TileGrid
from nic.tasks.annotations import read_annotations
from nic.tasks.areas import Area, annotated_cells

BOUNDS = (100, 50, 2000, 2000)
TRIANGLE = ((10.5, 20.0), (110.0, 20.0), (10.5, 220.25))


def asap(path: Path, annotations: Sequence[tuple[str, str, Sequence[tuple[object, object]]]]) -> Path:
    """(group, type, corners) each."""
    body = "".join(
        f'<Annotation Name="Annotation {i}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58"><Coordinates>'
        + "".join(f'<Coordinate Order="{k}" X="{x}" Y="{y}" />' for k, (x, y) in reversed(list(enumerate(corners))))
        + "</Coordinates></Annotation>"
        for i, (group, kind, corners) in enumerate(annotations)
    )
    path.write_text(f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{body}</Annotations></ASAP_Annotations>')
    return path


def feature(kind: str, coordinates: object, label: object = None) -> dict[str, object]:
    properties = {"objectType": "annotation"} | ({} if label is None else {"classification": label})
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def test_asap_counts_from_the_slide_and_orders_its_corners(tmp_path: Path) -> None:
    path = asap(
        tmp_path / "a.xml", [("_0", "Polygon", TRIANGLE), ("None", "Rectangle", TRIANGLE), ("_0", "Dot", [(1, 2)])]
    )
    first, second = read_annotations(path, BOUNDS)
    assert (first.label, second.label) == ("_0", "None")
    assert first.rings[0].tolist() == [list(corner) for corner in TRIANGLE]


@pytest.mark.parametrize("wrapped", [True, False])
def test_qupath_counts_from_the_bounds_and_has_holes(tmp_path: Path, wrapped: bool) -> None:
    hole = [(20, 30), (30, 30), (20, 40)]
    features = [
        feature("Polygon", [TRIANGLE, hole], {"name": "Tumor", "color": [200, 0, 0]}),
        feature("MultiPolygon", [[TRIANGLE], [hole]], "Stroma"),
        feature("Point", [3, 4], {"name": "Tumor"}),
        feature("Polygon", [TRIANGLE]),
    ]
    content = {"type": "FeatureCollection", "features": features} if wrapped else features
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    areas = read_annotations(tmp_path / "a.geojson", BOUNDS)
    assert [(area.label, len(area.rings)) for area in areas] == [
        ("Tumor", 2),
        ("Stroma", 1),
        ("Stroma", 1),
        ("None", 1),
    ]
    assert areas[0].rings[1].tolist() == [[120, 80], [130, 80], [120, 90]]


def test_qupath_derives_classes_and_nests_annotations(tmp_path: Path) -> None:
    child = feature("Polygon", [TRIANGLE], {"names": ["Tumor", "Positive"], "color": [200, 0, 0]})
    parent = feature("Polygon", [TRIANGLE], {"name": "Region*"})
    parent["properties"]["childObjects"] = [child]  # type: ignore[index]
    (tmp_path / "a.geojson").write_text(json.dumps(parent))
    assert [area.label for area in read_annotations(tmp_path / "a.geojson", BOUNDS)] == ["Region*", "Tumor: Positive"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xml", "<ASAP", r"a\.xml: not XML"),
        ("a.xml", "<Regions/>", r"a\.xml: a 'Regions', wanted ASAP_Annotations"),
        ("a.geojson", "{", r"a\.geojson: not GeoJSON"),
        ("a.geojson", '{"features": [{}]}', r"a\.geojson: feature 0: not GeoJSON: None without a geometry"),
        ("a.geojson", "3", r"a\.geojson: not GeoJSON"),
        (
            "a.geojson",
            json.dumps([feature("Polygon", [[(1, 2), (3, 4)]])]),
            r"feature 0: corners \[2, 2\], wanted three",
        ),
        (
            "a.geojson",
            json.dumps([feature("Polygon", [[(1, 2), (3, 4), (5, 6, 7)]])]),
            "feature 0: a corner is no pair",
        ),
        ("a.geojson", json.dumps([feature("Polygon", [[(1, 2), (3, 4), (5, 1e999)]])]), "feature 0: .*finite numbers"),
    ],
)
def test_faults_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TaskError, match=message):
        read_annotations(tmp_path / name, BOUNDS)


SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
MIXED = {
    "type": "GeometryCollection",
    "geometries": [
        {"type": "Polygon", "coordinates": [SQUARE]},
        {"type": "LineString", "coordinates": [[1, 1], [9, 9]]},
        {"type": "GeometryCollection", "geometries": [{"type": "MultiPolygon", "coordinates": [[SQUARE], [SQUARE]]}]},
    ],
}


def labels_of(folder: Path, content: object) -> list[str]:
    (folder / "a.geojson").write_text(json.dumps(content))
    return [area.label for area in read_annotations(folder / "a.geojson", BOUNDS)]


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ([feature("Polygon", [SQUARE], "T") | {"geometry": MIXED}], ["T"] * 3),
        (MIXED, ["None"] * 3),
        ({"type": "Polygon", "coordinates": [SQUARE]}, ["None"]),
        ([{"type": "MultiPolygon", "coordinates": [[SQUARE], [SQUARE]]}], ["None"] * 2),
        ({"type": "FeatureCollection", "features": []}, []),
        ([feature("Polygon", [SQUARE], "T") | {"geometry": None}], []),
        ([feature("Polygon", [], "T"), feature("Polygon", [[]], "T"), feature("MultiPolygon", [], "T")], []),
        ([feature("Polygon", [SQUARE, []], "T"), feature("MultiPolygon", [[SQUARE], []], "T")], ["T", "T"]),
        ([{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [SQUARE]}, "properties": None}], ["None"]),
        ([feature("Polygon", [SQUARE], {"name": None, "color": [1, 2, 3]})], ["None"]),
        ([feature(kind, [[1, 2], [3, 4]]) for kind in ("MultiPoint", "LineString")], []),
    ],
)
def test_areas_are_found_in_each_kind_of_geometry(tmp_path: Path, content: object, labels: list[str]) -> None:
    assert labels_of(tmp_path, content) == labels


def test_the_name_replaces_a_missing_class_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    named, classed, bare = (feature("Polygon", [SQUARE]) for _ in range(3))
    named["properties"] = {"name": "Stroma"}
    classed["properties"] = {"name": "Region 1", "classification": {"name": "Tumor"}}
    assert labels_of(tmp_path, [named, classed, bare]) == ["Stroma", "Tumor", "None"]
    assert "a.geojson: 1 annotations have no class; their names are used: Stroma" in caplog.text


def test_heights_and_byte_order_marks_do_no_harm(tmp_path: Path) -> None:
    high = [[x, y, 0.5] for x, y in SQUARE]
    (tmp_path / "a.json").write_text(json.dumps(feature("Polygon", [high], "T")), encoding="utf-8-sig")
    (area,) = read_annotations(tmp_path / "a.json", BOUNDS)
    assert area.rings[0].tolist() == [[x + 100, y + 50] for x, y in SQUARE]


def imagescope(path: Path, regions: str, layer: str = 'Name="Tumor"', within: str = "") -> Path:
    path.write_text(
        f'<Annotations MicronsPerPixel="0.25"><Annotation Id="1" {layer}>{within}<Regions>{regions}</Regions>'
        "</Annotation></Annotations>"
    )
    return path


def region(corners: Sequence[tuple[float, float]], **attributes: str) -> str:
    own = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners)
    return f'<Region Id="7" {own}><Vertices>{vertices}</Vertices></Region>'


BOX = ((0, 0), (100, 0), (100, 100), (0, 100))
HOLE = ((20, 20), (40, 20), (40, 40), (20, 40))
FAR = ((500, 500), (600, 500), (600, 600))


def test_imagescope_counts_from_the_slide_and_its_negative_regions_are_holes(tmp_path: Path) -> None:
    regions = region(BOX, Type="0", NegativeROA="0") + region(HOLE, Type="0", NegativeROA="1")
    regions += region(FAR, Type="0") + region(BOX[:2], Type="3") + region(BOX[:2], Type="4") + region((), Type="0")
    box, far = read_annotations(imagescope(tmp_path / "a.xml", regions), BOUNDS)
    assert [ring.tolist() for ring in box.rings] == [[list(c) for c in BOX], [list(c) for c in HOLE]]
    assert [ring.tolist() for ring in far.rings] == [[list(c) for c in FAR]]
    labels, free = annotated_cells([box], [0], [], TileGrid(10, 1.0, 1.0, (0, 0), 12, 12), 0.9)
    assert (labels[1, 1], labels[2, 3], labels[11, 11]) == (0, -1, -1)
    assert free[11, 11]


def area_of(ring: np.ndarray) -> float:
    x, y = ring.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def test_imagescope_draws_rectangles_and_ellipses_by_their_corners(tmp_path: Path) -> None:
    regions = region(((0, 0), (100, 50)), Type="1") + region(((0, 0), (100, 50)), Type="2")
    rectangle, ellipse = read_annotations(imagescope(tmp_path / "a.xml", regions), BOUNDS)
    assert area_of(rectangle.rings[0]) == 5000
    assert area_of(ellipse.rings[0]) == pytest.approx(np.pi * 50 * 25, rel=2e-3)
    assert (ellipse.rings[0][:, 0].min(), ellipse.rings[0][:, 0].max()) == (0, 100)


@pytest.mark.parametrize(
    ("layer", "within", "attributes", "label"),
    [
        ('Name="Tumor"', "", {"Text": "first"}, "Tumor"),
        ('Name=""', "", {"Text": "Stroma"}, "Stroma"),
        ("", '<Attributes><Attribute Name="Description" Value="Necrosis"/></Attributes>', {"Text": ""}, "Necrosis"),
        ("", "", {}, "None"),
    ],
)
def test_imagescope_labels(tmp_path: Path, layer: str, within: str, attributes: dict[str, str], label: str) -> None:
    (area,) = read_annotations(imagescope(tmp_path / "a.xml", region(BOX, **attributes), layer, within), BOUNDS)
    assert area.label == label


def layers(*regions: str) -> str:
    return f"<Annotations><Annotation><Regions>{''.join(regions)}</Regions></Annotation></Annotations>"


def one_asap(annotation: str) -> str:
    return f"<ASAP_Annotations><Annotations>{annotation}</Annotations></ASAP_Annotations>"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.geojson", json.dumps([feature("polygon", [SQUARE])]), "feature 0: geometry of type 'polygon', which"),
        ("a.geojson", json.dumps([feature("Curve", [SQUARE])]), "feature 0: geometry of type 'Curve'"),
        ("a.geojson", json.dumps([feature("Polygon", None)]), "feature 0: not GeoJSON as QuPath"),
        ("a.geojson", json.dumps(["x"]), "feature 0: not GeoJSON as QuPath"),
        ("a.json", json.dumps({"type": "GeometryCollection"}), "feature 0: not GeoJSON as QuPath"),
        (
            "a.json",
            json.dumps({"annotations": [], "version": 2}),
            r"a\.json: not GeoJSON but keys annotations, version",
        ),
        ("a.json", json.dumps({"type": "Topology"}), "feature 0: not GeoJSON: 'Topology' without a geometry"),
        ("a.xml", "<annotations><ndpviewstate/></annotations>", "Hamamatsu's NDPA, which is not read; open the slide"),
        (
            "a.xml",
            layers("<Region><Vertices><V X='1' Y='2'/></Vertices></Region>"),
            "HALO's annotations, which are",
        ),
        ("a.xml", layers(region(BOX, Type="9")), r"a\.xml: region '7': of type '9'"),
        ("a.xml", layers(region(BOX), region(FAR[:2])), r"a\.xml: region '7': corners \[2, 2\]"),
        (
            "a.xml",
            layers(region(BOX), region(((50, 50), (150, 50), (60, 60)), NegativeROA="1")),
            r"a\.xml: region '7': a negative region crosses the outline",
        ),
        ("a.xml", one_asap("<Annotation Name='x' Type='Blob'/>"), "annotation 'x': of type 'Blob'"),
        (
            "a.xml",
            one_asap(
                "<Annotation Name='x' Type='Polygon'><Coordinates><Coordinate Order='a' X='1' Y='1'/></Coordinates>"
                "</Annotation>"
            ),
            "annotation 'x': a corner of order 'a'",
        ),
    ],
)
def test_unsupported_formats_are_refused_by_name(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TaskError, match=message):
        read_annotations(tmp_path / name, BOUNDS)


@pytest.mark.parametrize("corner", [("nan", 3), ("", 3), ("1,5", 3)])
def test_a_corner_that_is_no_number_is_named(tmp_path: Path, corner: tuple[object, object]) -> None:
    path = asap(tmp_path / "a.xml", [("_0", "Polygon", TRIANGLE), ("_0", "Polygon", [(1, 2), (3, 4), corner])])
    with pytest.raises(TaskError, match=r"a\.xml: annotation 'Annotation 1'"):
        read_annotations(path, BOUNDS)


def area(label: str, *rings: Sequence[tuple[float, float]]) -> Area:
    return Area(label, tuple(np.array(ring, float) for ring in rings))


def blob(x: float, y: float, radius: float, seed: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radii = radius * rng.uniform(0.8, 1.2, 60)
    return list(zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True))


def test_cells_agree_with_outlines_sampled_point_by_point() -> None:
    """Two blobs with a hole, a smaller one inside a larger one, and an excluded part."""
    grid = TileGrid(64, 1.0, 0.37, (130, 40), 20, 24)
    outer, hole = blob(2000, 1700, 1300, 1), blob(2000, 1700, 500, 2)
    nested, cut_out = blob(1200, 1700, 450, 3), blob(3000, 1700, 400, 4)
    areas = [area("nested", nested), area("outer", outer, hole)]
    labels, free = annotated_cells(areas, [1, 0], [area("x", cut_out)], grid, 0.5)

    fractions = (np.arange(40) + 0.5) / 40
    x = (130 + (np.arange(24)[:, None] + fractions) * grid.side_l0px).ravel()
    y = (40 + (np.arange(20)[:, None] + fractions) * grid.side_l0px).ravel()
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    inside = {
        n: Outline(ring).contains_points(points) for n, ring in zip("ohnc", (outer, hole, nested, cut_out), strict=True)
    }
    value = np.select([inside["c"], inside["n"], inside["o"] & ~inside["h"]], [9, 1, 0], -1)
    cells = value.reshape(20, 40, 24, 40).transpose(0, 2, 1, 3)
    centre = cells[:, :, 20, 20]
    share = (cells == centre[..., None, None]).mean((2, 3))
    expected = np.where((centre < 9) & (centre >= 0) & (share >= 0.5), centre, -1)
    near = np.abs(share - 0.5) < 0.05  # decided by the width of a dot
    edge = cells[:, :, 17:23, 17:23].reshape(20, 24, 36)
    near |= (edge != edge[..., :1]).any(2)
    assert (labels == expected)[~near].all()
    assert near.mean() < 0.1
    assert {0, 1} <= set(labels[~near])
    assert free[(cells == -1).all((2, 3))].all()
    assert not free[(cells != -1).mean((2, 3)) > 0.1].any()


def test_excluded_areas_have_no_class_but_do_not_hide_smaller_ones() -> None:
    grid = TileGrid(64, 1.0, 1.0, (0, 0), 10, 10)
    region = area("Region*", [(0, 0), (640, 0), (640, 640), (0, 640)])
    tumour = area("tumour", [(128, 128), (256, 128), (256, 256), (128, 256)])
    labels, free = annotated_cells([tumour, region], [0, -1], [], grid, 1.0)
    assert np.argwhere(labels == 0).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert not free.any()
