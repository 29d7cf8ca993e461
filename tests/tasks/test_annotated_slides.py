"""Layout `slides`: the right pixels under the right class, capped, seeded, and grouped by patient."""

import json
import re
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from conftest import tissue_image, write_slide
from leica import OFFSET_PX, write_scn

from nic.errors import MissingResolution, TaskError, UnreadableSlide
from nic.slides.grid import TileGrid
from nic.slides.reader import TileReader
from nic.slides.slide import Slide, SlideSource
from nic.tasks.annotated_slides import read_annotated_slides
from nic.tasks.entries import SlidesEntry
from nic.tasks.tile_source import TileField
from nic.tasks.tile_task import TileTask, load_tiles

SIZE = 1024  # px at 0.5 um/px: 8 x 8 tiles of 64 um, tissue in the middle 6 x 6


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


def write_asap(path: Path, *annotations: tuple[str, list[list[float]]]) -> None:
    body = "".join(
        f'<Annotation Name="{i}" Type="Polygon" PartOfGroup="{group}"><Coordinates>'
        + "".join(f'<Coordinate Order="{k}" X="{x}" Y="{y}" />' for k, (x, y) in enumerate(corners))
        + "</Coordinates></Annotation>"
        for i, (group, corners) in enumerate(annotations)
    )
    path.write_text(f"<ASAP_Annotations><Annotations>{body}</Annotations></ASAP_Annotations>")


@pytest.fixture(scope="module")
def unannotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slides of two patients."""
    folder = tmp_path_factory.mktemp("unannotated")
    for i, name in enumerate(("patient_0_node_0", "patient_0_node_1", "patient_1_node_0")):
        write_slide(folder / f"{name}.tif", tissue_image(SIZE, SIZE, i), compression="deflate")
    return folder


@pytest.fixture
def slides(unannotated: Path, tmp_path: Path) -> Path:
    """A copy of them, with ASAP's XML, QuPath's GeoJSON, and no annotations of the third."""
    copytree(unannotated, tmp_path / "slides")
    (tmp_path / "outlines").mkdir()
    write_asap(
        tmp_path / "outlines" / "patient_0_node_0.xml",
        ("_0", square(256, 256, 512)),
        ("_2", square(256, 256, 128)),
    )
    ring = square(384, 384, 256)
    feature = {
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {"classification": {"name": "Tumor"}},
    }
    (tmp_path / "outlines" / "patient_0_node_1.geojson").write_text(json.dumps({"features": [feature]}))
    return tmp_path


def read(folder: Path, **changes: object) -> TileTask:
    fields = {
        "name": "m",
        "layout": "slides",
        "path": folder / "slides",
        "annotations": folder / "outlines",
        "classes": {"tumour": ["_0", "Tumor"]},
        "background": "normal",
    }
    return read_annotated_slides(SlidesEntry.model_validate(fields | changes))


def cells(task: TileTask) -> dict[str, dict[tuple[int, int], int]]:
    """slide -> (row, col) -> label."""
    by_slide: dict[str, dict[tuple[int, int], int]] = {}
    for part in task.source.parts(TileField(64, 1.0)):
        for name, label in zip(part.names, part.labels, strict=True):
            slide, row, col = re.fullmatch(r"(\S+) tile \((\d+), (\d+)\)", name).groups()  # type: ignore[union-attr]
            by_slide.setdefault(slide, {})[int(row), int(col)] = int(label)
    return by_slide


def test_tiles_lie_inside_their_outlines(slides: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_asap(slides / "outlines" / "patient_7.xml")
    task = read(slides)
    assert (task.classes, task.mpp) == (("tumour", "normal"), pytest.approx(0.5))
    assert "1 of 3 slides have no annotations" in caplog.text
    assert "1 annotations belong to no slide, patient_7.xml first" in caplog.text
    by_slide = cells(task)
    tissue = {(row, col) for row in range(1, 7) for col in range(1, 7)}
    tumour = {(row, col) for row in range(2, 6) for col in range(2, 6)}
    assert by_slide["patient_0_node_0"] == {
        **dict.fromkeys(tissue - tumour, 1),
        **dict.fromkeys(tumour - {(2, 2)}, 0),  # _2 is cut out, and is no background either
    }
    inner = {(row, col) for row in (3, 4) for col in (3, 4)}
    assert by_slide["patient_0_node_1"] == {**dict.fromkeys(tissue - inner, 1), **dict.fromkeys(inner, 0)}


def test_pixels_are_those_of_the_slide(slides: Path) -> None:
    task = read(slides)
    tile_set = load_tiles(task, 64, 1.0, slides / "cache")
    images = {f"patient_0_node_{i}": tissue_image(SIZE, SIZE, i) for i in range(2)}
    places = [(slide, place) for slide, labelled in cells(task).items() for place in labelled]
    assert len(places) == len(tile_set.tiles)
    for tile, (slide, (row, col)) in zip(tile_set.tiles, places, strict=True):
        window = images[slide][row * 128 : row * 128 + 128, col * 128 : col * 128 + 128]
        assert np.abs(tile - window.reshape(64, 2, 64, 2, 3).mean((1, 3))).max() <= 1
    assert set(tile_set.groups) == set(images)


def test_an_odd_resolution_is_cut_at_exact_um(slides: Path) -> None:
    """At 0.37 um/px a tile's side is 172.97 px: 5 x 5 whole ones, none over the edge."""
    write_asap(slides / "outlines" / "patient_0_node_0.xml", ("_0", square(366, 366, 306)))
    labels = cells(read(slides, mpp=0.37, least_share=0.7))["patient_0_node_0"]
    assert max(max(place) for place in labels) == 4
    assert {place for place, label in labels.items() if label == 0} == {(2, 2), (2, 3), (3, 2), (3, 3)}


def test_without_a_background_only_annotated_tissue_has_tiles(slides: Path) -> None:
    classes = {"tumour": ["_0"], "other": ["Tumor"]}
    by_slide = cells(read(slides, background=None, classes=classes))
    assert set(by_slide["patient_0_node_0"].values()) == {0}
    assert set(by_slide["patient_0_node_1"].values()) == {1}


def test_a_cap_holds_for_a_slide_and_a_class_and_follows_the_seed(slides: Path) -> None:
    first, again, other = (cells(read(slides, most=3, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
    for labelled in first.values():
        assert sorted(labelled.values()) == [0, 0, 0, 1, 1, 1]


def test_slides_of_a_patient_share_a_group(slides: Path) -> None:
    task = read(slides, group_pattern=r"(patient_\d+)_node")
    assert set(load_tiles(task, 64, 1.0, slides / "cache").groups) == {"patient_0"}


def test_the_digest_follows_outlines_slides_and_rules(slides: Path) -> None:
    digests = {read(slides).digest, read(slides, most=5).digest, read(slides, least_share=0.9).digest}
    write_asap(slides / "outlines" / "patient_0_node_0.xml", ("_0", square(256, 256, 256)))
    assert len(digests | {read(slides).digest}) == 4
    assert read(slides).digest == read(slides).digest


def test_faults_are_named(slides: Path) -> None:
    with pytest.raises(TaskError, match=r"label 'Tumor' belongs to no class, wanted '_0'"):
        read(slides, classes={"tumour": ["_0"]})
    with pytest.raises(TaskError, match=r"one class is annotated \(tumour\), wanted two; name a background"):
        read(slides, background=None)
    with pytest.raises(TaskError, match=r"none of 3 slides has its annotations.*patient_0_node_0\.xml"):
        read(slides, annotations=slides / "slides")
    with pytest.raises(TaskError, match=r"m: images at 2 um/px, wanted 1 or finer"):
        load_tiles(read(slides, mpp=2.0), 64, 1.0, slides / "cache")
    with pytest.raises(TaskError, match="class 'tumour' has no tile"):
        load_tiles(read(slides, mpp=0.1, least_share=1.0), 2000, 1.0, slides / "cache")


def test_faults_of_slides_are_named(slides: Path) -> None:
    write_slide(slides / "slides" / "patient_0_node_0.tif", tissue_image(SIZE, SIZE), mpp=None)
    with pytest.raises(MissingResolution, match="patient_0_node_0"):
        read(slides)
    (slides / "slides" / "patient_0_node_0.tif").write_bytes(b"no slide")
    with pytest.raises(UnreadableSlide, match="patient_0_node_0"):
        read(slides)


def test_tiles_of_a_slide_wider_than_a_band_keep_their_labels(tmp_path: Path) -> None:
    """The reader goes through a wide slide band by band; tiles must come in the order of their labels all the same."""
    (tmp_path / "slides").mkdir()
    (tmp_path / "outlines").mkdir()
    image = tissue_image(9216, 768)  # 6 x 72 tiles
    write_slide(tmp_path / "slides" / "wide.tif", image, compression="deflate")
    write_asap(tmp_path / "outlines" / "wide.xml", ("_0", square(4096, 0, 4096)))
    parts = list(read(tmp_path, most=1000).source.parts(TileField(64, 1.0)))
    for name, tile in [pair for part in parts for pair in zip(part.names, part.cut(), strict=True)]:
        row, col = (int(v) for v in re.findall(r"\d+", name))
        window = image[row * 128 : (row + 1) * 128, col * 128 : (col + 1) * 128]
        assert isinstance(tile, np.ndarray)
        assert np.abs(window.reshape(64, 2, 64, 2, 3).mean((1, 3)) - tile).max() <= 0.5


def test_tiles_are_read_at_the_same_resolution_as_in_compression(slides: Path) -> None:
    """At 1.0 um/px from the slide's own second level, whose JPEG is not the first one's averaged."""
    for number, path in enumerate(sorted((slides / "slides").glob("*.tif"))):
        write_slide(path, tissue_image(SIZE, SIZE, number))
    read_at = {mpp: load_tiles(read(slides), 64, 1.0, slides / "cache", mpp).tiles for mpp in (0, 0.5, 1.0)}
    with Slide.open(SlideSource("s", slides / "slides" / "patient_0_node_0.tif")) as slide:
        grid = TileGrid.covering(slide.bounds_l0px, slide.mpp, 64, 1.0)
        for mpp in (0.5, 1.0):
            with TileReader(slide, grid, mpp) as reader:
                [batch] = reader.batches(np.array([3]), np.array([3]))
            there = {at: any(np.array_equal(batch.tiles[0], tile) for tile in tiles) for at, tiles in read_at.items()}
            assert there == {0: mpp == 0.5, 0.5: mpp == 0.5, 1.0: mpp == 1.0}


@pytest.mark.parametrize("second", [".json", ".GeoJSON", ".tif.geojson"])
def test_two_files_of_one_slide_are_refused(slides: Path, second: str) -> None:
    (slides / "outlines" / f"patient_0_node_0{second}").write_text(json.dumps({"features": []}))
    with pytest.raises(TaskError, match=r"slide patient_0_node_0 has two files of annotations, .*_0\..* and .*_0\."):
        read(slides)


@pytest.mark.parametrize("name", ["patient_1_node_0.ndpa", "patient_1_node_0.tif.ndpa", "patient_1_node_0.annotations"])
def test_outlines_that_are_not_read_are_refused_by_name(slides: Path, name: str) -> None:
    (slides / "outlines" / name).write_text("<annotations/>")
    with pytest.raises(TaskError, match=rf"m: {name}: .*, not read; open the slide in QuPath"):
        read(slides)


def test_outlines_are_named_as_their_slide_with_or_without_its_suffix(slides: Path) -> None:
    expected = cells(read(slides))
    (slides / "outlines" / "._patient_0_node_0.xml").write_bytes(b"\0")
    (slides / "outlines" / "patient_0_node_1.geojson").rename(slides / "outlines" / "patient_0_node_1.tif.GeoJSON")
    assert cells(read(slides)) == expected


def test_bounds_decides_where_geojson_counts_from(slides: Path) -> None:
    (slides / "scanned").mkdir()
    write_scn(slides / "scanned" / "patient_0_node_1.scn", tissue_image(SIZE, SIZE))
    tasks = {bounds: read(slides, path=slides / "scanned", bounds=bounds) for bounds in (True, False)}
    corners = {
        bounds: task.source.slides[0].areas[0].rings[0][0].tolist()  # type: ignore[attr-defined]
        for bounds, task in tasks.items()
    }
    assert corners[True] == pytest.approx([384 + OFFSET_PX[0], 384 + OFFSET_PX[1]], abs=1)  # the file counts in nm
    assert corners[False] == [384, 384]
    assert tasks[True].digest != tasks[False].digest


def test_a_missing_folder_of_outlines_is_named(slides: Path) -> None:
    with pytest.raises(TaskError, match="no such folder of annotations"):
        read(slides, annotations=slides / "gone")


def test_the_background_may_come_from_slides_without_outlines(slides: Path) -> None:
    """As in CAMELYON16: normal slides have no file, and tumour slides are not outlined completely."""
    task = read(slides, background_from="patient_1")
    by_slide = cells(task)
    assert set(by_slide["patient_1_node_0"].values()) == {1}
    assert set(by_slide["patient_0_node_0"].values()) == set(by_slide["patient_0_node_1"].values()) == {0}
    assert len(by_slide["patient_1_node_0"]) == 36
    groups = {str(group) for part in task.source.parts(TileField(64, 1.0)) for group in part.groups}
    assert groups == set(by_slide)
    assert task.digest != read(slides).digest
    with pytest.raises(TaskError, match=r"m: background_from 'normal' fits none of 3 slides, such as patient_0_node_0"):
        read(slides, background_from="normal")
    with pytest.raises(TaskError, match=r"none of 3 slides has its annotations.*wanted patient_0_node_0\.xml"):
        read(slides, background_from="patient_1", annotations=slides / "slides")
    with pytest.raises(ValueError, match="background_from is set, and no background"):
        read(slides, background_from="patient_1", background=None)
