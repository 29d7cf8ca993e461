"""Layout `marks`: tiles on marks and away from them, in the right places, classes and groups."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nic.errors import TaskError
from nic.tasks.entries import MarksEntry
from nic.tasks.image_tiles import darkest_spot
from nic.tasks.marked_images import CLEAR_UM, DARK_UM, other_places, read_marked_images
from nic.tasks.tile_source import TileField
from nic.tasks.tile_task import TileTask

SIDE = 1200  # px at 0.25 um/px: 300 um
FIELD = TileField(64, 1.0)


def write_image(path: Path, spots: list[tuple[int, int]]) -> None:
    """A pale image with a black square of 12 px at each (x, y)."""
    pixels = np.full((SIDE, SIDE, 3), 220, np.uint8)
    for x, y in spots:
        pixels[y - 6 : y + 6, x - 6 : x + 6] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Case 01: two fields, the second without a file of marks; case 02: one field, whose file is empty; 03: one."""
    for case, name in (("01", "01"), ("01", "02"), ("02", "01"), ("03", "01")):
        write_image(tmp_path / "images" / case / f"{name}.tif", [(300, 200)])
    for case, text in (("01", "200,300\n400.5,150\n"), ("02", "\n"), ("03", "200,300\n")):
        (tmp_path / "marks" / case).mkdir(parents=True)
        (tmp_path / "marks" / case / "01.csv").write_text(text)
    return tmp_path


def read(folder: Path, **changes: object) -> TileTask:
    fields = {"name": "m", "layout": "marks", "path": folder / "images", "marks": folder / "marks", "mpp": 0.25}
    classes = {"other": ["other"], "mitosis": ["marked"]}
    return read_marked_images(MarksEntry.model_validate(fields | {"classes": classes, "too_small": "pad"} | changes))


def tiles(task: TileTask) -> dict[str, tuple[int, str, object]]:
    """Label, group and pixels by name."""
    rows = {}
    for part in task.source.parts(FIELD):
        for name, label, group, tile in zip(part.names, part.labels, part.groups, part.cut(), strict=True):
            rows[name] = int(label), str(group), tile
    return rows


def test_a_mark_is_in_the_middle_of_its_tile_and_its_case_is_the_group(folder: Path) -> None:
    task = read(folder)
    assert (task.classes, task.mpp) == (("other", "mitosis"), 0.25)
    rows = tiles(task)
    marked = {name: row for name, row in rows.items() if row[0] == 1}
    assert {name: row[1] for name, row in marked.items()} == {
        "01/01 marked 1": "01",
        "01/01 marked 2": "01",
        "03/01 marked 1": "03",
    }
    tile = marked["01/01 marked 1"][2]
    assert isinstance(tile, np.ndarray)
    assert tile[31:33, 31:33].max() < 30  # row 200, column 300
    assert tile[:16].min() == 220


def test_coordinates_may_be_x_and_y(folder: Path) -> None:
    (folder / "marks" / "01" / "01.csv").write_text("300,200\n")
    tile = tiles(read(folder, order="x-y"))["01/01 marked 1"][2]
    assert isinstance(tile, np.ndarray)
    assert tile[31:33, 31:33].max() < 30


def test_other_tiles_show_no_mark_and_are_centred_on_the_darkest_spot_nearby(folder: Path) -> None:
    write_image(
        folder / "images" / "02" / "01.tif", [(x, y) for x in range(60, SIDE, 120) for y in range(60, SIDE, 120)]
    )
    rows = tiles(read(folder))
    others = [name for name, row in rows.items() if row[0] == 0]
    assert len(others) == 4 * 10
    for name in others:
        tile = rows[name][2]
        assert isinstance(tile, np.ndarray)
        if name.startswith("02/"):  # dark nuclei everywhere, no mark: one of them is in the middle
            assert tile[30:34, 30:34].min() < 30
        elif name.startswith("03/"):  # its only dark spot is marked
            assert tile.min() == 220


def test_other_places_keep_away_from_marks_and_follow_the_seed(folder: Path) -> None:
    image, marked = folder / "images" / "01" / "01.tif", np.array([[600.0, 600.0], [300.0, 900.0]])
    places = other_places(image, marked, 0.25, 50, [0, 1])
    apart = np.abs(places[:, None] - marked[None]).max(axis=2)
    assert len(places) == 50
    assert apart.min() * 0.25 >= CLEAR_UM
    assert CLEAR_UM - DARK_UM > 32  # half a tile of 64 um
    assert (places == other_places(image, marked, 0.25, 50, [0, 1])).all()
    assert not (places == other_places(image, marked, 0.25, 50, [1, 1])).all()
    everywhere = np.stack(np.meshgrid(np.arange(0, SIDE, 300.0), np.arange(0, SIDE, 300.0)), -1).reshape(-1, 2)
    assert len(other_places(image, everywhere, 0.25, 50, [0, 1])) == 0


def test_the_darkest_spot_is_searched_in_its_square_alone() -> None:
    image = np.full((200, 200, 3), 200, np.uint8)
    image[60:70, 90:100] = 50
    image[150:170, 150:170] = 0
    assert darkest_spot(image, (100, 80), 30, 8) == pytest.approx((94.5, 64.5), abs=1)
    assert darkest_spot(image, (5, 5), 30, 8) == (0, 0)


def test_the_digest_follows_marks_and_rules(folder: Path) -> None:
    digests = {read(folder).digest, read(folder, others=5).digest, read(folder, seed=1).digest}
    (folder / "marks" / "03" / "01.csv").write_text("210,300\n")
    assert len(digests | {read(folder).digest}) == 4
    assert read(folder).digest == read(folder).digest


def test_marks_may_lie_beside_their_images_and_groups_be_named(folder: Path) -> None:
    for file in (folder / "marks").rglob("*.csv"):
        file.rename(folder / "images" / file.parent.name / file.name)
    with pytest.raises(TaskError, match=r"03/01: group_pattern .* does not match"):
        read(folder, marks=None, group_pattern=r"^0([12])")
    (folder / "images" / "03" / "01.tif").unlink()
    (folder / "images" / "03" / "01.csv").unlink()
    task = read(folder, marks=None, group_pattern=r"^0([12])")
    assert task.source.origins == {"1", "2"}


def test_faults_are_named(folder: Path) -> None:
    (folder / "marks" / "01" / "01.csv").write_text("200,300\n200,x\n")
    with pytest.raises(TaskError, match=r"01\.csv row 2: column is 'x', wanted a finite number"):
        read(folder)
    (folder / "marks" / "01" / "01.csv").write_text("200,300,0.9\n")
    with pytest.raises(TaskError, match=r"m: 01/01\.csv, row 1: 3 cells, the header has 2"):
        read(folder)
    (folder / "marks" / "01" / "01.csv").write_text("5000,300\n")
    with pytest.raises(TaskError, match=r"01/01 marked 1: \(300, 5000\) is outside"):
        tiles(read(folder))
    with pytest.raises(TaskError, match=r"no such folder of marks"):
        read(folder, marks=folder / "gone")
    (folder / "empty").mkdir()
    with pytest.raises(TaskError, match=r"m: no image has its marks in .*/empty, wanted 01/01\.csv"):
        read(folder, marks=folder / "empty")
    with pytest.raises(TaskError, match=r"m: no images in .*/empty"):
        read(folder, path=folder / "empty")


def test_two_files_of_one_name_and_marks_without_an_image_are_reported(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "marks" / "09").mkdir()
    (folder / "marks" / "09" / "01.csv").write_text("1,1\n")
    read(folder)
    assert "1 files of marks belong to no image" in caplog.text
    write_image(folder / "images" / "part_2" / "01" / "01.tif", [])
    with pytest.raises(TaskError, match=r"are both 01/01; keep one of them"):
        read(folder)
