"""Layouts `table`, `points` and `boxes`: rows at fault are named as an editor counts them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from nic.errors import TaskError
from nic.tasks.entries import TileTaskEntry
from nic.tasks.read_task import read_task
from nic.tasks.tile_task import TileSet, TileTask, load_tiles


def image(side_px: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3)).astype(np.uint8)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four images of 200 px, two rows each: whole-image labels, and places in them."""
    (tmp_path / "images").mkdir()
    for i in range(4):
        cv2.imwrite(str(tmp_path / "images" / f"TCGA-0{i // 2}_{i}.png"), image(200, i)[..., ::-1])
    rows = [
        (f"images/TCGA-0{i // 2}_{i}.png", x, x + 10, 20, 12, label, f"patient{i // 2}", 0.5 if i < 2 else 0.25)
        for i in (3, 0, 1, 2)
        for x, label in ((80, "cell"), (100, "glass"))
    ]
    pd.DataFrame(rows, columns=["file", "x", "y", "w", "h", "label", "patient", "mpp"]).to_csv(
        tmp_path / "labels.csv", index=False
    )
    return tmp_path / "labels.csv"


def read(path: Path, **changes: object) -> TileTask:
    fields = {"name": "m", "path": path, "layout": "points"} | ({} if "mpp_column" in changes else {"mpp": 0.5})
    return read_task(TypeAdapter(TileTaskEntry).validate_python(fields | changes))


def load(task: TileTask, path: Path, tile_px: int = 32) -> TileSet:
    return load_tiles(task, tile_px, 1.0, path.parent / "cache")


def change(path: Path, row: int, **values: object) -> None:
    """Write other values into a row, counted as in the messages: the header is row 1."""
    rows = pd.read_csv(path, dtype=str)
    for column, value in values.items():
        rows.loc[row - 2, column] = str(value)
    rows.to_csv(path, index=False)


def test_points_are_the_centres_of_tiles(table: Path) -> None:
    tile_set = load(read(table), table)
    assert tile_set.task.classes == ("cell", "glass")
    assert tile_set.labels.tolist() == [0, 1] * 4
    assert tile_set.groups[:2].tolist() == ["images/TCGA-00_0.png"] * 2  # an image, by default
    for i, (x, y) in enumerate([(80, 90), (100, 110)] * 4):
        expected = image(200, i // 2)[y - 32 : y + 32, x - 32 : x + 32].reshape(32, 2, 32, 2, 3).mean((1, 3))
        assert np.abs(tile_set.tiles[i] - expected).max() <= 0.5


def test_boxes_are_tiles_around_their_centre(table: Path) -> None:
    tile_set = load(read(table, layout="boxes"), table)
    expected = image(200, 0)[96 - 32 : 96 + 32, 90 - 32 : 90 + 32].reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(tile_set.tiles[0] - expected).max() <= 0.5


def test_boxes_without_context_show_nothing_beyond(table: Path) -> None:
    tile_set = load(read(table, layout="boxes", context=False, too_small="pad"), table, tile_px=16)
    box = image(200, 0)[90:102, 80:100]
    mirrored = np.pad(box, ((10, 10), (6, 6), (0, 0)), mode="symmetric")
    assert np.abs(tile_set.tiles[0] - mirrored.reshape(16, 2, 16, 2, 3).mean((1, 3))).max() <= 0.5
    with pytest.raises(TaskError, match=r"labels\.csv row 4 \(images/TCGA-00_0\.png\): 20 x 12 px"):
        load(read(table, layout="boxes", context=False), table)


def test_whole_images_and_their_own_resolution(table: Path) -> None:
    task = read(table, layout="table", mpp_column="mpp", group_column="patient")
    tile_set = load(task, table)
    assert task.mpp == 0.5
    assert tile_set.groups.tolist() == ["patient0"] * 4 + ["patient1"] * 4
    fine, coarse = image(200, 3)[36:164, 36:164], image(200, 0)[68:132, 68:132]
    assert np.abs(tile_set.tiles[6] - fine.reshape(32, 4, 32, 4, 3).mean((1, 3))).max() <= 0.5
    assert np.abs(tile_set.tiles[0] - coarse.reshape(32, 2, 32, 2, 3).mean((1, 3))).max() <= 0.5


def test_groups_come_from_a_column_or_from_names(table: Path) -> None:
    assert set(load(read(table, group_column="patient"), table).groups) == {"patient0", "patient1"}
    assert set(load(read(table, group_pattern=r"TCGA-\d\d"), table).groups) == {"TCGA-00", "TCGA-01"}


def test_the_digest_knows_which_image_a_place_is_in(table: Path) -> None:
    """The second point of the first image moves to the same place of the second, before its others."""
    first = read(table).digest
    change(table, 5, file="images/TCGA-00_1.png")
    assert read(table).digest != first


def test_labels_are_gathered_into_classes_and_left_out(table: Path) -> None:
    for row, label in ((2, 3), (3, 4), (4, 5)):
        change(table, row, label=label)
    task = read(table, classes={"dull": ["glass", 4], "cell": ["cell", 5]}, ignore=[3])
    assert load(task, table).labels.tolist() == [1, 0, 1, 0, 1, 0, 0]


def test_a_field_that_leaves_the_image_is_refused_padded_or_dropped(
    table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(table, 5, x=10)
    with pytest.raises(TaskError, match=r"labels\.csv row 5 .*around \(10, 110\); a tile is never stretched"):
        load(read(table), table)
    assert len(load(read(table, too_small="pad"), table).tiles) == 8
    assert not caplog.text
    assert len(load(read(table, too_small="drop"), table).tiles) == 7
    assert "1 tiles left out" in caplog.text


@pytest.mark.parametrize(
    ("change_to", "changes", "message"),
    [
        ({"file": "images/gone.png"}, {}, r"labels\.csv row 6: no such file images/gone\.png; 1 of 5"),
        ({"x": ""}, {}, r"row 6: x is '', wanted a finite number"),
        ({"x": "inf"}, {}, r"row 6: x is 'inf', wanted a finite number"),
        ({"y": "12,5"}, {}, r"row 6: y is '12,5', wanted a finite number"),
        ({"mpp": ""}, {"mpp_column": "mpp"}, r"row 6: mpp is '', wanted a finite number"),
        ({"mpp": "0"}, {"mpp_column": "mpp"}, r"row 6: mpp is 0, wanted um/px above 0"),
        ({"w": "0"}, {"layout": "boxes"}, r"row 6: a box of 0 x 12 px"),
        ({"label": "stroma"}, {"classes": {"a": ["cell"], "b": ["glass"]}}, r"label 'stroma' belongs to no class"),
        ({}, {"label_column": "class"}, r"labels\.csv: no column 'class'; it has file, x, y"),
        ({}, {"group_column": "slide"}, r"labels\.csv: no column 'slide'"),
        ({}, {"layout": "boxes", "w_column": "width"}, r"labels\.csv: no column 'width'"),
        ({}, {"classes": {"a": ["cell"], "b": ["glass"], "c": ["rare"]}}, r"class 'c' has no tile"),
        ({}, {"ignore": ["glass"]}, r"1 class \(cell\), wanted at least two"),
        ({}, {"group_pattern": r"(\d{7})"}, r"group_pattern .* does not match"),
    ],
)
def test_faults_are_named(table: Path, change_to: dict[str, object], changes: dict[str, object], message: str) -> None:
    change(table, 6, **change_to)
    with pytest.raises(TaskError, match=message):
        read(table, **changes)


@pytest.mark.parametrize("place", [{"x": 200}, {"x": -3}, {"y": 1000}])
def test_a_place_outside_of_its_image_is_named_whatever_is_padded(table: Path, place: dict[str, object]) -> None:
    change(table, 6, **place)
    with pytest.raises(TaskError, match=r"row 6 .*is outside of an image of 200 x 200 px"):
        load(read(table, too_small="pad"), table)


def test_a_box_may_hang_over_the_border_where_it_is_padded(table: Path) -> None:
    change(table, 4, x=-8, w=20)
    tile_set = load(read(table, layout="boxes", context=False, too_small="pad"), table, tile_px=8)
    mirrored = np.pad(image(200, 0)[90:102, :12], ((2, 2), (6, 0), (0, 0)), mode="symmetric")[:, :16]
    assert np.abs(tile_set.tiles[0] - mirrored.reshape(8, 2, 8, 2, 3).mean((1, 3))).max() <= 0.5


@pytest.mark.parametrize(("text", "message"), [("", "no rows"), ("file,label\n", "no rows"), ('a"b\n"', "labels.csv")])
def test_a_file_that_is_not_a_table_is_refused(table: Path, text: str, message: str) -> None:
    table.write_text(text)
    with pytest.raises(TaskError, match=message):
        read(table, layout="table")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"gone\.csv: no such table"):
        read(tmp_path / "gone.csv")


def rewrite(path: Path, change_line: Callable[[int, str], str], encoding: str = "utf-8") -> None:
    lines = enumerate(path.read_text().splitlines(), start=1)
    path.write_bytes("\n".join(change_line(n, line) for n, line in lines).encode(encoding))


@pytest.mark.parametrize(
    ("change_line", "encoding"),
    [
        (lambda n, line: f"{line},", "utf-8"),
        (lambda n, line: line if n == 1 else f"{line},,", "utf-8"),
        (lambda n, line: line.replace("cell", "cell "), "utf-8"),
        (lambda n, line: line.replace("cell", "\u200bcell\xa0"), "utf-8"),
        (lambda n, line: line.replace(",", ", "), "utf-8"),
        (lambda n, line: line.replace(",", ";"), "utf-16"),
        (lambda n, line: line.replace(",", ";").replace("0.5", "0,5").replace("0.25", "0,25"), "cp1252"),
        (lambda n, line: line.replace(",", "\t"), "utf-8-sig"),
        (lambda n, line: line.replace("images/", "images\\"), "utf-8"),
    ],
)
def test_a_table_as_a_spreadsheet_saves_it_gives_the_same_tiles(
    table: Path, change_line: Callable[[int, str], str], encoding: str
) -> None:
    plain = load(read(table, mpp_column="mpp", group_column="patient"), table)
    rewrite(table, change_line, encoding)
    saved = load(read(table, mpp_column="mpp", group_column="patient"), table)
    assert saved.task.classes == plain.task.classes == ("cell", "glass")
    assert saved.labels.tolist() == plain.labels.tolist()
    assert saved.groups.tolist() == plain.groups.tolist()
    np.testing.assert_array_equal(saved.tiles, plain.tiles)


@pytest.mark.parametrize("word", ["", "NA", "?", "#N/A", "[Not Available]"])
def test_a_missing_value_is_neither_class_nor_group(table: Path, word: str) -> None:
    change(table, 6, label=word, patient=word)
    with pytest.raises(
        TaskError, match=r"labels\.csv row 6: label is .*, no label; label the tile, or put .* under ignore"
    ):
        read(table)
    assert len(load(read(table, ignore=[word]), table).tiles) == 7
    with pytest.raises(TaskError, match=r"labels\.csv row 6: patient is .*; fill the cell"):
        read(table, ignore=[word], group_column="patient")


def test_a_label_that_reads_as_missing_may_be_named_in_a_class(table: Path) -> None:
    change(table, 6, label="unknown")
    task = read(table, classes={"cell": ["cell"], "other": ["glass", "unknown"]})
    assert load(task, table).labels.tolist().count(1) == 5


def test_a_doubled_header_is_refused(table: Path) -> None:
    rewrite(table, lambda n, line: f"{line},{'label' if n == 1 else 'glass'}")
    with pytest.raises(TaskError, match=r"labels\.csv: column 'label' stands twice"):
        read(table)
