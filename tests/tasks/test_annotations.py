"""Outlines as ASAP and QuPath write them, and which cells lie in them; held against matplotlib's paths."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from nic.errors import TaskError
from nic.slides.tiling import TileGrid
from nic.tasks.annotated_cells import annotated_cells
from nic.tasks.annotations import Area, read_annotations

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
        ("a.geojson", '{"features": [{}]}', r"a\.geojson: not GeoJSON as QuPath writes it: KeyError\('geometry'\)"),
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


def test_what_is_ignored_is_of_no_class_but_hides_nothing_smaller() -> None:
    grid = TileGrid(64, 1.0, 1.0, (0, 0), 10, 10)
    region = area("Region*", [(0, 0), (640, 0), (640, 640), (0, 640)])
    tumour = area("tumour", [(128, 128), (256, 128), (256, 256), (128, 256)])
    labels, free = annotated_cells([tumour, region], [0, -1], [], grid, 1.0)
    assert np.argwhere(labels == 0).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert not free.any()
