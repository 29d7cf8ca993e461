"""`init_study` writes a study that can be read, and lists what a person has to decide."""

from pathlib import Path

import pytest
from conftest import tissue_image, write_slide

from nic.errors import StudyError, UnknownColumn
from nic.stages.cohort_draft import Sources
from nic.stages.init_study import InitialStudy, file_name, init_study, proposed_endpoints, show_initial_study
from nic.study import read_study
from nic.tables.text import DETECTED

PATIENTS = 16
HEADER = "Patient ID;Age;Grade;Marker;OS months;Status;Ki67\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init")
    (folder / "slides" / "batch 2").mkdir(parents=True)
    for number in range(PATIENTS):
        place = folder / "slides" / ("batch 2" if number % 2 else "") / f"P{number:03d} HE.v1.tif"
        write_slide(place, tissue_image(640, 640, seed=number), mpp=None if number == 0 else 0.5)
    rows = []
    for n in range(PATIENTS):
        marker, status = "pos" if n % 2 else "neg", "Dead" if n % 4 else "Alive"
        rows.append(f"P{n:03d};{60 + n},5;{n % 3 + 1};{marker};{n + 1},25;{status};{n / 7:.3f}")
    (folder / "clinical.csv").write_bytes((HEADER + "\n".join(rows).replace(".", ",") + "\n").encode("utf-8-sig"))
    for label in ("a", "b"):
        (folder / "tiles" / "some task" / label).mkdir(parents=True)
        (folder / "tiles" / "some task" / label / "s__1.png").touch()
    return folder


def begun(folder: Path) -> InitialStudy:
    sources = Sources((folder / "clinical.csv",), folder / "slides", "", "", "", (), DETECTED)
    return init_study(sources, "mine", folder / "studies", (), "", [folder / "tiles"], False)


@pytest.fixture(scope="module")
def begun_study(folder: Path) -> InitialStudy:
    return begun(folder)


def test_the_study_that_is_written_can_be_read(folder: Path, begun_study: InitialStudy) -> None:
    study = read_study(begun_study.study_file)
    assert {entry.name: entry.kind for entry in study.endpoints} == {
        "grade": "ordinal",
        "marker": "classification",
        "ki67": "regression",
        "survival-status": "survival",
    }
    assert study.endpoint("survival-status").covariates == ("Age",)
    assert study.tile_tasks[0].path.resolve() == folder / "tiles" / "some task"
    cohort = study.cohorts["mine"].read()
    assert [len(patient.slides) for patient in cohort.patients] == [1] * PATIENTS
    assert all(slide.path.resolve().is_file() for patient in cohort.patients for slide in patient.slides)
    for entry in study.endpoints:
        assert len(cohort.labelled(entry.endpoint, "train").patients) == PATIENTS


def test_folds_follow_the_rarest_label(begun_study: InitialStudy) -> None:
    assert read_study(begun_study.study_file).folds == 4  # of 16 patients 4 are alive


def test_what_only_a_person_can_decide_is_listed(begun_study: InitialStudy, capsys: pytest.CaptureFixture[str]) -> None:
    question = {question.where: question.there for question in begun_study.undecided}
    assert question["tile task some task"] == "no um/px in its manifest.json"
    assert question["mine.yaml"] == "no gates, so no version would be promoted"
    show_initial_study(begun_study)
    printed = capsys.readouterr().out
    assert "clinical.csv: separator ';', decimal comma, utf-8; patients in column 'Patient ID'" in printed
    assert "To be decided by you" in printed
    assert f"-e check_study -P study={begun_study.study_file}" in printed


def test_hours_and_gigabytes_follow_from_opened_slides(begun_study: InitialStudy) -> None:
    estimate = begun_study.estimate
    assert estimate.hours is not None
    assert 0 < estimate.hours < 1
    assert estimate.gigabytes == pytest.approx(PATIENTS * 20 * 272 / 1e9, rel=0.8)
    assert f"of {PATIENTS} slides were opened" in estimate.how[0]
    assert "read and encoded by nic's own network, untrained" in estimate.how[1]


def test_an_existing_study_is_kept(folder: Path, begun_study: InitialStudy) -> None:
    text = begun_study.study_file.read_text()
    with pytest.raises(StudyError, match=r"mine\.yaml exists; write overwrite=true to replace it, or another name="):
        begun(folder)
    assert begun_study.study_file.read_text() == text


def test_the_table_that_a_study_is_made_of_is_never_replaced(folder: Path) -> None:
    sources = Sources((folder / "clinical.csv",), folder / "slides", "", "", "", (), DETECTED)
    with pytest.raises(StudyError, match=r"clinical\.csv: would replace the table that it is made of"):
        init_study(sources, "clinical", folder, (), "", [], overwrite=True)


def test_named_endpoints_alone_are_proposed(begun_study: InitialStudy) -> None:
    _, endpoints, _ = proposed_endpoints(begun_study.cohort.rows, ("OS months+Status", "Age"))
    assert [(endpoint.keys["kind"], endpoint.column) for endpoint in endpoints] == [
        ("survival", "OS months+Status"),
        ("regression", "Age"),
    ]


@pytest.mark.parametrize(
    ("endpoints", "error", "message"),
    [
        (("Grad",), UnknownColumn, "endpoints: no column 'Grad'; .* did you mean 'Grade'"),
        (("Grade+Marker",), StudyError, "'Grade\\+Marker' is none .* wanted a column of labels, or TIME\\+EVENT"),
        (("Status",), StudyError, "'Status' is none"),
    ],
)
def test_endpoints_that_are_none_are_refused(
    begun_study: InitialStudy, endpoints: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        proposed_endpoints(begun_study.cohort.rows, endpoints)


def test_many_columns_are_a_choice_of_a_person() -> None:
    rows = [{"patient": str(n), "slide": f"{n}.tif", **{f"gene {g}": str(n / 7) for g in range(9)}} for n in range(20)]
    with pytest.raises(
        StudyError, match="9 columns may be endpoints; write those to predict, some of endpoints=gene 0,"
    ):
        proposed_endpoints(rows, ())
    with pytest.raises(StudyError, match="no column may be an endpoint; there are Age"):
        proposed_endpoints([{"patient": "1", "slide": "1.tif", "Age": "60"}], ())


def test_a_folder_without_labelled_tiles_is_refused(folder: Path) -> None:
    sources = Sources((folder / "clinical.csv",), folder / "slides", "", "", "", (), DETECTED)
    for tiles, message in ((folder / "slides", "no two folders of images"), (folder / "gone", "no such folder")):
        with pytest.raises(StudyError, match=message):
            init_study(sources, "tiles", folder / "studies", (), "", [tiles], False)


def test_a_name_becomes_the_name_of_files() -> None:
    assert [file_name(text) for text in ("Clinical data (2)", "mine", "§")] == ["Clinical-data-2", "mine", "study"]
