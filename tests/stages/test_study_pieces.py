"""`check_study` on made files of each public layout: complete, and with each piece missing in turn."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import tissue_image, write_slide
from PIL import Image

from nic.stages.check_study import problems_of
from nic.stages.study_pieces import Piece, table_of
from nic.stages.study_problems import Problems
from nic.tasks.entries import About

ROOT = Path(__file__).resolve().parents[2]
GATES = ROOT / "registry" / "promotion.yaml"
TISSUES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
TUPAC, CAMELYON, NCT = "tupac.grand-challenge.org", "camelyon17.grand-challenge.org", "zenodo.org/records/1214456"
OUTLINE = (
    '<ASAP_Annotations><Annotations><Annotation Name="0" Type="Polygon" PartOfGroup="_0"><Coordinates>'
    '<Coordinate Order="0" X="300" Y="300"/><Coordinate Order="1" X="700" Y="300"/>'
    '<Coordinate Order="2" X="700" Y="700"/></Coordinates></Annotation></Annotations></ASAP_Annotations>'
)
PESO = "zenodo.org/records/1485967"
PATIENTS = 18


def make_mitoses(folder: Path) -> None:
    """Two cases of one field with one mitosis each."""
    for case in ("01", "02"):
        (folder / "mitoses_image_data" / case).mkdir(parents=True)
        (folder / "mitoses_ground_truth" / case).mkdir(parents=True)
        Image.new("RGB", (1000, 1000), (200, 150, 190)).save(folder / "mitoses_image_data" / case / "01.tif")
        (folder / "mitoses_ground_truth" / case / "01.csv").write_text("120,80\n")


def make_camelyon(folder: Path, slide: Path) -> None:
    for name in ("normal", "tumor", "lesion_annotations"):
        (folder / name).mkdir(parents=True)
    for number in (1, 2):
        for name in ("normal", "tumor"):
            (folder / name / f"{name}_00{number}.tif").hardlink_to(slide)
        (folder / "lesion_annotations" / f"tumor_00{number}.xml").write_text(OUTLINE)


def make_peso(folder: Path, slide: Path) -> None:
    (folder / "slides").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in (6, 8):
        (folder / "slides" / f"pds_{number}_HE.tif").hardlink_to(slide)
        Image.new("L", (1000, 1000), 2).save(folder / "masks" / f"pds_{number}_HE_training_mask_corrected.tif")


def make_tissues(folder: Path) -> None:
    for name in TISSUES:
        (folder / name).mkdir(parents=True)
        for letter in "ABC":
            (folder / name / f"{name}-{letter}.tif").touch()  # no tile is decoded


def make_breast(folder: Path, slide: Path) -> None:
    """The ground truth has no header: the number of a row is that of its slide."""
    (folder / "training_image_data").mkdir()
    rows = [(number % 3 + 1, f"{-0.5 + number / 20:.4f}") for number in range(PATIENTS)]
    for number in range(1, PATIENTS + 1):
        (folder / "training_image_data" / f"TUPAC-TR-{number:03}.svs").hardlink_to(slide)
    with (folder / "training_ground_truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def make_liver(folder: Path, slide: Path) -> None:
    (folder / "slides").mkdir(parents=True)
    rows = [["patient", "slide", "split", "growth_pattern", "months", "status", "age"]]
    for number in range(20):
        (folder / "slides" / f"L{number}.tif").hardlink_to(slide)
        pattern, status = ("desmoplastic", "dead") if number % 2 else ("replacement", "alive")
        split = "external" if number > 13 else "train"
        rows.append([f"P{number}", f"slides/L{number}.tif", split, pattern, str(number + 1), status, str(50 + number)])
    with (folder / "liver.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pieces of studies/tupac16.yaml and studies/liver.yaml, tiny."""
    folder = tmp_path_factory.mktemp("data")
    slide = write_slide(folder / "slide.tif", tissue_image(1000, 1000))
    make_mitoses(folder / "TUPAC16")
    make_camelyon(folder / "CAMELYON16" / "training", slide)
    make_peso(folder / "PESO", slide)
    make_tissues(folder / "NCT-CRC-HE-100K")
    make_tissues(folder / "CRC-VAL-HE-7K")
    make_breast(folder / "TUPAC16", slide)
    make_liver(folder / "liver", slide)
    return folder


def checked(study: str, root: Path, sample: int = 0) -> Problems:
    """The study of the repository with its root moved."""
    text = (ROOT / "studies" / f"{study}.yaml").read_text()
    file = root.parent / f"{study}.yaml"
    file.write_text(text.replace("root: ../data", f"root: {root}"))
    return problems_of(file, root.parent / "work", GATES, sample)


def rows_of(problems: Problems) -> dict[tuple[str, str], tuple[str, str]]:
    """What is there and where to get it, by data and piece."""
    assert problems.data is not None
    return {(data, piece): (there, source) for data, piece, there, _, source in problems.data.rows}


@contextmanager
def without(path: Path) -> Iterator[None]:
    away = path.with_name(f".away-{path.name}")
    path.rename(away)
    yield
    away.rename(path)


@pytest.mark.parametrize("study", ["tupac16", "liver"])
def test_a_complete_set_has_no_problem_and_its_pieces_are_counted(data: Path, study: str) -> None:
    problems = checked(study, data, sample=2)
    assert problems.stopping == []
    rows = rows_of(problems)
    assert rows["tile task mitosis", "files of marks"] == ("2 files of marks", "")
    assert rows["tile task metastasis", "slides of background"] == ("2 slides of background", "")
    assert rows["tile task epithelium", "masks"] == ("2 masks", "")
    assert rows["tile task tissue", "images of validation"] == ("27 images of validation", "")
    cohort, patients = ("cohort breast", PATIENTS) if study == "tupac16" else ("cohort liver", 20)
    assert rows[cohort, "slides"] == (f"{patients} slides", "")


def test_a_set_that_is_there_in_part_is_a_warning(data: Path) -> None:
    problems = checked("tupac16", data)
    there, source = rows_of(problems)["tile task mitosis", "images"]
    assert there == "2 of 656 images"
    assert TUPAC in source
    assert any(not p.stops and p.there == "only 2 of 656 images" and TUPAC in p.write for p in problems.rows)


MISSING = [
    ("tupac16", "TUPAC16/mitoses_image_data", "tile task mitosis", "images", TUPAC),
    ("tupac16", "TUPAC16/mitoses_ground_truth", "tile task mitosis", "files of marks", TUPAC),
    ("tupac16", "CAMELYON16/training/normal", "tile task metastasis", "slides of background", CAMELYON),
    ("tupac16", "CAMELYON16/training/tumor", "tile task metastasis", "other slides", CAMELYON),
    ("tupac16", "CAMELYON16/training/lesion_annotations", "tile task metastasis", "files of outlines", CAMELYON),
    ("tupac16", "PESO/slides", "tile task epithelium", "slides", PESO),
    ("tupac16", "PESO/masks", "tile task epithelium", "masks", PESO),
    ("tupac16", "NCT-CRC-HE-100K", "tile task tissue", "images", NCT),
    ("tupac16", "CRC-VAL-HE-7K", "tile task tissue", "images of validation", NCT),
    ("tupac16", "TUPAC16/training_ground_truth.csv", "cohort breast", "table", TUPAC),
    ("tupac16", "TUPAC16/training_image_data", "cohort breast", "slides", TUPAC),
    ("liver", "CAMELYON16", "tile task metastasis", "slides", CAMELYON),
    ("liver", "liver/liver.csv", "cohort liver", "table", "relative to the root"),
    ("liver", "liver/slides", "cohort liver", "slides", "relative to the root"),
]


@pytest.mark.parametrize(("study", "path", "of", "piece", "source"), MISSING, ids=[case[1] for case in MISSING])
def test_a_missing_piece_is_named_with_where_to_get_it_and_stops_the_study(
    data: Path, study: str, path: str, of: str, piece: str, source: str
) -> None:
    with without(data / path):
        problems = checked(study, data)
    rows = rows_of(problems)
    missing = {key: row for key, row in rows.items() if row[0].startswith("missing")}
    assert missing[of, piece][1] in ("the same", rows[of, piece][1])
    assert any(source in said for (name, _), (_, said) in rows.items() if name == of)
    assert {name for name, _ in missing} == {of}
    assert problems.stopping


def test_one_missing_slide_is_counted_and_may_be_left_out(data: Path, tmp_path: Path) -> None:
    with without(data / "TUPAC16/training_image_data/TUPAC-TR-007.svs"):
        problems = checked("tupac16", data)
        assert rows_of(problems)["cohort breast", "slides"][0] == f"{PATIENTS - 1} of {PATIENTS} slides"
        (problem,) = problems.stopping
        assert (problem.file, problem.row) == ("training_ground_truth.csv", "7")
        assert TUPAC in problem.write
        assert "leave_out" in problem.write
        text = (ROOT / "studies" / "tupac16.yaml").read_text().replace("root: ../data", f"root: {data}")
        (tmp_path / "study.yaml").write_text(text.replace("split: null", "leave_out: [TUPAC-TR-007]\n    split: null"))
        assert problems_of(tmp_path / "study.yaml", tmp_path, GATES, 0).stopping == []


@pytest.mark.parametrize("study", ["tupac16", "liver"])
def test_an_empty_folder_lists_all_that_is_needed(tmp_path: Path, study: str) -> None:
    problems = checked(study, tmp_path / "empty")
    rows = rows_of(problems)
    assert len(rows) == 12
    assert all(there.startswith(("missing", "not known")) and source for there, source in rows.values())
    needed = {p.key for p in problems.stopping}
    cohort = "cohorts, breast" if study == "tupac16" else "cohorts, liver"
    assert needed == {f"tile_tasks, {task}" for task in ("mitosis", "metastasis", "epithelium", "tissue")} | {cohort}


def test_the_table_names_a_source_once(tmp_path: Path) -> None:
    about = About(url="https://example.org/set", size="2 GB", licence="CC0", note="unpack it")
    pieces = [Piece("cohort c", what, tmp_path / what, count, about=about) for what, count in (("a", 0), ("b", 0))]
    rows = table_of([*pieces, Piece("cohort c", "d", Path("/d"), 3)], tmp_path).rows
    assert rows == [
        ("cohort c", "a", "missing", "a", "https://example.org/set, 2 GB, CC0; unpack it"),
        ("cohort c", "b", "missing", "b", "the same"),
        ("cohort c", "d", "3 d", "/d", ""),
    ]
